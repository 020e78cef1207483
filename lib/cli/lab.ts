/**
 * `deno task lab`: JupyterLab on this machine, with the Interlens kernel.
 *
 * It listens on the loopback address only and asks for a token, which is in the address it prints.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { jupyterEnvironment, NOTEBOOKS, program } from "./environment.ts";
import { requireJupyter } from "./notebooks.ts";
import { setup } from "./setup.ts";
import { ROOT } from "../files/mod.ts";

const HOST = "127.0.0.1";
const ATTEMPTS = 50;

/**
 * The first free port of this machine from a given one on.
 *
 * ```ts
 * import { assertNotEquals } from "@std/assert";
 * import { freePort } from "./lab.ts";
 *
 * using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * assertNotEquals(freePort(taken.addr.port), taken.addr.port);
 * ```
 *
 * @param from Where to begin, 1 to 65535.
 * @throws {RangeError} If that is no port.
 * @throws {Error} If none of the next fifty is free.
 */
export function freePort(from: number): number {
  if (!Number.isInteger(from) || from < 1 || from > 65535) {
    throw new RangeError(`There is no port ${from}: --port takes a whole number from 1 to 65535`);
  }
  const last = Math.min(from + ATTEMPTS - 1, 65535);
  for (let port = from; port <= last; port++) {
    try {
      Deno.listen({ hostname: HOST, port }).close();
      return port;
    } catch (error) {
      const busy = error instanceof Deno.errors.AddrInUse ||
        error instanceof Deno.errors.PermissionDenied;
      if (!busy) throw error;
    }
  }
  throw new Error(`Every port from ${from} to ${last} is in use: choose another one with --port`);
}

/**
 * Runs JupyterLab until it is stopped.
 *
 * @param port Where to listen, free.
 * @returns Its exit code; 0 if it was stopped from here.
 */
export async function runLab(port: number): Promise<number> {
  const token = crypto.getRandomValues(new Uint8Array(24)).toHex();
  const hasNotebooks = await Deno.stat(NOTEBOOKS).catch(() => undefined);
  const lab = new Deno.Command(program("jupyter-lab"), {
    args: [
      "--no-browser",
      `--ServerApp.ip=${HOST}`,
      `--ServerApp.port=${port}`,
      // The port was free a moment ago; another one would not be the one that is printed.
      "--ServerApp.port_retries=0",
      `--ServerApp.root_dir=${ROOT}`,
      `--LabApp.default_url=/lab${hasNotebooks ? "/tree/notebooks" : ""}`,
      "--LabApp.news_url=None",
      "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
      "--ServerApp.log_level=WARN",
      "--LabApp.log_level=WARN",
      ...Deno.uid() === 0 ? ["--allow-root"] : [],
    ],
    cwd: ROOT,
    // The token goes through the environment: a command line can be read by everybody.
    env: { ...jupyterEnvironment(), JUPYTER_TOKEN: token },
    stdin: "null",
  }).spawn();
  // Ctrl-C reaches JupyterLab too; this process stays until it has ended its kernels.
  let stopped = false;
  const stop = () => {
    stopped = true;
    try {
      lab.kill("SIGTERM");
    } catch {
      // It has ended already.
    }
  };
  Deno.addSignalListener("SIGINT", stop);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", stop);
  const address = `http://${HOST}:${port}/lab?token=${token}`;
  console.log(await answers(port, lab) ? `JupyterLab: ${address}\nCtrl-C stops it` : "");
  const { code } = await lab.status;
  return stopped ? 0 : code;
}

/** True as soon as the server answers, false if it ended before. */
async function answers(port: number, lab: Deno.ChildProcess): Promise<boolean> {
  let ended = false;
  lab.status.then(() => ended = true);
  while (!ended) {
    const response = await fetch(`http://${HOST}:${port}/api`).catch(() => undefined);
    await response?.body?.cancel();
    if (response?.ok) return true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return false;
}

if (import.meta.main) {
  try {
    const { values } = parseArgs({
      args: Deno.args,
      options: { port: { type: "string", default: "8888" } },
    });
    const wanted = Number(values.port);
    const port = freePort(wanted);
    await setup({ quiet: true });
    await requireJupyter();
    if (port !== wanted) console.log(`Port ${wanted} is in use, taking ${port}`);
    Deno.exit(await runLab(port));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
