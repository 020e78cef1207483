/**
 * Running other programs.
 *
 * @module
 */
import { delimiter, join } from "node:path";
import { ROOT } from "../files/mod.ts";

/** How to run a program. */
export interface CommandOptions {
  /** Variables on top of this process's own. */
  env?: Record<string, string>;
  /** Told the process id and a promise of its end. */
  started?: (pid: number, ended: Promise<unknown>) => void;
}

/**
 * Runs a program in the root of the repository and returns what it printed.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { run } from "./command.ts";
 *
 * assertEquals(await run(Deno.execPath(), ["eval", "console.log(6 * 7)"]), "42\n");
 * ```
 *
 * @throws {Error} If it cannot be started or does not end with 0, with the end of what it printed.
 */
export async function run(
  program: string,
  args: string[],
  options: CommandOptions = {},
): Promise<string> {
  const command = new Deno.Command(program, {
    args,
    cwd: ROOT,
    env: options.env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  let child: Deno.ChildProcess;
  try {
    child = command.spawn();
  } catch (error) {
    throw new Error(`Cannot start "${program}"`, { cause: error });
  }
  const output = child.output();
  options.started?.(child.pid, output);
  const { code, stdout, stderr } = await output;
  const text = new TextDecoder();
  if (code !== 0) {
    const printed = (text.decode(stdout) + text.decode(stderr)).trim().split("\n").slice(-20);
    throw new Error(`"${program} ${args[0] ?? ""}" ended with ${code}:\n${printed.join("\n")}`);
  }
  return text.decode(stdout);
}

/** Path of a program on the search path, or undefined. */
export async function which(name: string): Promise<string | undefined> {
  const endings = Deno.build.os === "windows" ? [".exe", ".cmd"] : [""];
  for (const folder of (Deno.env.get("PATH") ?? "").split(delimiter).filter(Boolean)) {
    for (const ending of endings) {
      const path = join(folder, name + ending);
      const stat = await Deno.stat(path).catch(() => undefined);
      if (stat?.isFile && (ending || ((stat.mode ?? 0o111) & 0o111))) return path;
    }
  }
}
