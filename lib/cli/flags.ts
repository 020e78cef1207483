/**
 * Flags of commands, and what a command says of them.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { wrap } from "../display/figure.ts";

/** One flag. */
export interface Flag {
  /** What stands behind it, such as `"N"`; absent where nothing does. */
  readonly value?: string;
  /** What it is for. */
  readonly help: string;
}

/** Flags by name. */
export type Flags = Readonly<Record<string, Flag>>;

/** Values of flags. */
export type FlagValues = Record<string, string | boolean | undefined>;

/** Columns that a line of help takes at most. */
const WIDTH = 100;

/**
 * What a command does and what its flags are for.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { usage } from "./flags.ts";
 *
 * const flags = { shard: { value: "I/N", help: "which part of how many" }, merge: { help: "all parts" } };
 * assertEquals(usage("harvest", "a part of a store.", flags).split("\n"), [
 *   "deno task harvest: a part of a store.",
 *   "",
 *   "  --shard I/N  which part of how many",
 *   "  --merge      all parts",
 * ]);
 * ```
 */
export function usage(task: string, purpose: string, flags: Flags): string {
  const names = Object.entries(flags).map(([name, { value }]) =>
    `--${name}${value === undefined ? "" : ` ${value}`}`
  );
  const width = Math.max(...names.map((name) => name.length));
  const lines = Object.values(flags).flatMap(({ help }, i) =>
    wrap(help, WIDTH - width - 4).map((line, part) =>
      `  ${(part === 0 ? names[i] : "").padEnd(width)}  ${line}`
    )
  );
  return [`deno task ${task}: ${purpose}`, "", ...lines].join("\n");
}

/**
 * Reads the flags of a command.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { readFlags } from "./flags.ts";
 *
 * const flags = { shard: { value: "I/N", help: "which part of how many" } };
 * assertEquals(readFlags("harvest", ["--shard", "1/2"], flags).shard, "1/2");
 * assertThrows(() => readFlags("harvest", ["--shrad", "1/2"], flags), RangeError, "knows --shard");
 * ```
 *
 * @throws {RangeError} With all flags of the command, if one is unknown or lacks its value.
 */
export function readFlags(task: string, args: string[], flags: Flags): FlagValues {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { value }]) =>
      [name, { type: value === undefined ? "boolean" : "string" }] as const
    ),
  );
  try {
    return { ...parseArgs({ args, options }).values } as FlagValues;
  } catch (cause) {
    const [problem] = (cause as Error).message.split(/\. |\n/);
    const names = Object.keys(flags).map((name) => `--${name}`);
    throw new RangeError(
      `${problem}: deno task ${task} knows ${names.join(", ")} (--help tells more)`,
      { cause },
    );
  }
}

/** Prints what a command does if that is what is asked for. */
export function helped(
  task: string,
  purpose: string,
  args: readonly string[],
  flags: Flags,
): boolean {
  const asked = args.includes("--help") || args.includes("-h");
  if (asked) console.log(usage(task, purpose, flags));
  return asked;
}
