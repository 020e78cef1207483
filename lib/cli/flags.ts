/**
 * Flags of commands, and what a command says of them.
 *
 * @module
 */
import { parseArgs, type ParseArgsConfig } from "node:util";

/** Flags by name. */
export type Flags = NonNullable<ParseArgsConfig["options"]>;

/** Values of flags. */
export type FlagValues = Record<string, string | boolean | undefined>;

/**
 * A line with all flags of a command.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { usage } from "./flags.ts";
 *
 * assertEquals(
 *   usage("harvest", { shard: { type: "string" }, merge: { type: "boolean" } }),
 *   "deno task harvest knows --shard VALUE, --merge",
 * );
 * ```
 */
export function usage(task: string, flags: Flags): string {
  const names = Object.entries(flags).map(([name, { type }]) =>
    type === "string" ? `--${name} VALUE` : `--${name}`
  );
  return `deno task ${task} knows ${names.join(", ")}`;
}

/**
 * Reads the flags of a command.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { readFlags } from "./flags.ts";
 *
 * const flags = { shard: { type: "string" } } as const;
 * assertEquals(readFlags("harvest", ["--shard", "1/2"], flags).shard, "1/2");
 * assertThrows(() => readFlags("harvest", ["--shrad", "1/2"], flags), RangeError, "knows --shard");
 * ```
 *
 * @throws {RangeError} With all flags of the command, if one is unknown or lacks its value.
 */
export function readFlags(task: string, args: string[], flags: Flags): FlagValues {
  try {
    return { ...parseArgs({ args, options: flags }).values } as FlagValues;
  } catch (cause) {
    const [problem] = (cause as Error).message.split(/\. |\n/);
    throw new RangeError(`${problem}: ${usage(task, flags)}`, { cause });
  }
}

/** Prints the flags of a command if that is what is asked for. */
export function helped(task: string, args: readonly string[], flags: Flags): boolean {
  const asked = args.includes("--help") || args.includes("-h");
  if (asked) console.log(usage(task, flags));
  return asked;
}
