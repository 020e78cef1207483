/**
 * Real servers that tests start on this machine: an S3 server, and the Python environment with Ray.
 *
 * @module
 */
import { join } from "node:path";
import { run } from "../lib/cli/command.ts";
import { lines } from "../lib/cli/lines.ts";
import { Lock } from "../lib/cli/lock.ts";
import { findPython } from "../lib/cli/python.ts";
import { runStep } from "../lib/cli/step.ts";
import { cacheDir } from "../lib/files/mod.ts";

const PACKAGES = ["ray[default]==2.60.0", "moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];
const HOME = cacheDir("services");

/** What the services need on this machine; see {@linkcode services}. */
export interface Services {
  /** Interpreter of the environment. */
  readonly python: string;
  /** Path of a program of the environment, such as `"ray"`. */
  program(name: string): string;
}

let installed: Promise<Services | undefined> | undefined;

/**
 * The environment of the services, made by whoever asks first. Undefined, after one line that says
 * why, where it cannot be installed; tests then register as ignored. To be awaited at the top of a
 * file of tests, before its first one.
 */
export function services(): Promise<Services | undefined> {
  return installed ??= install();
}

async function install(): Promise<Services | undefined> {
  using lock = await Lock.acquire(
    `${HOME}.lock`,
    (pid) => console.log(`Waiting for process ${pid}, which installs Ray and an S3 server`),
  );
  const folder = Deno.build.os === "windows" ? "Scripts" : "bin";
  const ending = Deno.build.os === "windows" ? ".exe" : "";
  const program = (name: string) => join(HOME, folder, name + ending);
  const python = program("python");
  const started = (pid: number, ended: Promise<unknown>) => lock.track(pid, ended);
  const { outcome, detail } = await runStep({
    name: "Services of the tests",
    inputs: { packages: PACKAGES, home: HOME },
    stamp: join(HOME, "interlens.json"),
    files: [python, program("ray"), program("moto_server")],
    async make() {
      const { path } = await findPython();
      console.log(`Installing what tests of clusters need (${PACKAGES.join(", ")})`);
      await Deno.remove(HOME, { recursive: true }).catch(() => {});
      await run(path, ["-m", "venv", HOME], { started });
      const quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"];
      const patience = ["--retries", "1", "--timeout", "30"];
      await run(
        python,
        ["-m", "pip", "install", ...quiet, ...patience, "--only-binary=:all:", ...PACKAGES],
        { started },
      );
      return PACKAGES.join(", ");
    },
  });
  if (outcome === "done" || outcome === "already there") return { python, program };
  // Of Python that is missing the first line says so, of pip the last one.
  const reason = detail.trim().split("\n").at(outcome === "skipped" ? 0 : -1);
  const line = `Not tested here: clusters and object stores, which need Ray and moto (${reason})`;
  console.log(line);
  // What is printed before the first test does not show in a quiet run; an ignored test does.
  Deno.test({ name: line, ignore: true, fn() {} });
}

/** A running S3 server; see {@linkcode startS3}. */
export interface S3Server extends AsyncDisposable {
  /** Address, `"http://127.0.0.1:…"`. */
  readonly endpoint: string;
  /** Name of an empty bucket. */
  readonly bucket: string;
  /** Variables by which a program finds the server and may use it. */
  readonly env: Record<string, string>;
  /** Ends it; what it holds is lost. */
  stop(): Promise<void>;
}

/** Ends with this process, however that ends: its standard input closes then. */
const SERVER = `
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
`;

/**
 * Starts an S3 server on a free port of this machine and waits until it answers.
 *
 * @throws {Error} If the services are not installed or the server ends, with what it said.
 */
export async function startS3(): Promise<S3Server> {
  const found = await services();
  if (!found) throw new Error("An S3 server cannot be started here: moto is not installed");
  const child = new Deno.Command(found.python, {
    args: ["-u", "-c", SERVER],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const said: string[] = [];
  const { promise: endpoint, resolve, reject } = Promise.withResolvers<string>();
  const reading = (async () => {
    for await (const line of lines(child.stderr)) {
      // Its log of requests grows with the test; its start is what can go wrong.
      if (said.length < 100) said.push(line);
      const address = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (address) resolve(address);
    }
    reject(new Error(`The S3 server ended:\n${said.slice(-20).join("\n")}`));
  })();
  let stopped: Promise<void> | undefined;
  const stop = () =>
    stopped ??= (async () => {
      await child.stdin.close();
      await Promise.all([child.status, reading]);
    })();
  endpoint.catch(() => {});
  try {
    const bucket = "interlens-test";
    const answer = await fetch(`${await endpoint}/${bucket}`, { method: "PUT" });
    await answer.body?.cancel();
    if (!answer.ok) throw new Error(`The S3 server makes no bucket: status ${answer.status}`);
    return {
      endpoint: await endpoint,
      bucket,
      env: {
        AWS_ENDPOINT_URL_S3: await endpoint,
        AWS_ACCESS_KEY_ID: "test",
        AWS_SECRET_ACCESS_KEY: "test",
        AWS_REGION: "us-east-1",
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
