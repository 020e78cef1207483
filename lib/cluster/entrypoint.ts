/**
 * The shell command that runs a job on a node.
 *
 * @module
 */
import type { Versions } from "./versions.ts";

/**
 * A word that a POSIX shell reads as exactly this text.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { shellQuote } from "./entrypoint.ts";
 *
 * assertEquals(shellQuote("it's $HOME"), `'it'\\''s $HOME'`);
 * ```
 *
 * @throws {TypeError} If it holds a NUL character, which no argument of a program can.
 */
export function shellQuote(text: string): string {
  if (text.includes("\0")) {
    throw new TypeError(
      `Cannot pass ${JSON.stringify(text.slice(0, 60))} to a program: it holds a NUL character`,
    );
  }
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Stands for "$" in a variable on its way through Ray, which would expand it. */
const DOLLAR = "\u0001";

/** Variables as they reach a job unchanged: what to hand to Ray, and what the job's shell does first. */
export interface PassedEnvironment {
  readonly variables: Record<string, string>;
  readonly script: string;
}

/**
 * Makes variables safe from Ray, which replaces `$NAME` and `${NAME}` in their values. Values never
 * stand in the shell command: Ray writes that into the log.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { passEnvironment } from "./entrypoint.ts";
 *
 * assertEquals(passEnvironment({ A: "b" }), { variables: { A: "b" }, script: "" });
 * assertEquals(passEnvironment({ A: "$b" }).variables, { A: "\u0001b" });
 * ```
 *
 * @throws {TypeError} If a name is none of a variable, or a value holds a NUL character.
 */
export function passEnvironment(env: Readonly<Record<string, string>>): PassedEnvironment {
  const variables: Record<string, string> = {};
  let script = "";
  for (const [name, value] of Object.entries(env)) {
    const dollars = value.includes("$");
    if (
      !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || value.includes("\0") ||
      dollars && value.includes(DOLLAR)
    ) {
      throw new TypeError(
        `Cannot pass the environment variable "${name}": a name holds letters, digits and "_", ` +
          "a value no NUL character, nor U+0001 beside a dollar sign",
      );
    }
    variables[name] = value.replaceAll("$", DOLLAR);
    // The dot keeps line feeds at the end, which the shell would drop.
    if (dollars) {
      script +=
        `${name}=$(printf %s. "$${name}" | tr '\\001' '$'); export ${name}="\${${name}%.}"\n`;
    }
  }
  return { variables, script };
}

/** What a command needs around it. */
export interface EntrypointOptions {
  /** Folder of the project on the node. Default: the folder that the job starts in. */
  project?: string;
  /** What the driver has. */
  versions: Versions;
  /** Names the set-up of the project; see `lib/cli/node.sh`. */
  mark?: string;
}

/**
 * The shell command for a program with its arguments. The program `"deno"` is the Deno of the
 * driver's version in the project, which is set up before where that was not done; every other one
 * is run as it is.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { entrypoint } from "./entrypoint.ts";
 *
 * const versions = { interlens: "0.1.0", sources: "1f2e", deno: "2.9.6" };
 * assertEquals(
 *   entrypoint(["deno", "task", "train"], { project: "/shared/interlens", versions, mark: "a" }),
 *   "cd '/shared/interlens' && exec sh lib/cli/node.sh run 2.9.6 1f2e a 'task' 'train'",
 * );
 * assertEquals(entrypoint(["echo", "a b"], { versions }), "exec 'echo' 'a b'");
 * ```
 */
export function entrypoint(
  command: readonly string[],
  { project, versions, mark = "-" }: EntrypointOptions,
): string {
  const enter = project === undefined ? "" : `cd ${shellQuote(project)} && `;
  const [program, ...args] = command;
  if (program !== "deno") return `${enter}exec ${command.map(shellQuote).join(" ")}`;
  // What was unpacked from a package is named by its hash already.
  const sources = project === undefined ? "-" : versions.sources;
  const runner = ["exec", "sh", "lib/cli/node.sh", "run", versions.deno, sources, mark];
  return enter + [...runner, ...args.map(shellQuote)].join(" ");
}

/** The shell command that prints what a node has; see `lib/cli/versions.ts`. */
export function probeEntrypoint({ project, versions }: EntrypointOptions): string {
  const enter = project === undefined ? "" : `cd ${shellQuote(project)} && `;
  return `${enter}exec sh lib/cli/node.sh probe ${versions.deno}`;
}
