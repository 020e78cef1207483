/**
 * What the end of a job's log tells.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";

/**
 * How far a job is, 0 to 1, from the last line of progress in its log; undefined if there is none.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fractionIn } from "./job_log.ts";
 *
 * const log = 'ensuring\n{"interlens":"progress","label":"Harvest","done":1,"total":4}\nhalf a li';
 * assertEquals(fractionIn(log), 0.25);
 * assertEquals(fractionIn("no progress"), undefined);
 * ```
 */
export function fractionIn(log: string): number | undefined {
  for (const line of log.split("\n").reverse()) {
    const said = machineLine(line);
    if (said?.interlens !== "progress") continue;
    const fraction = Number(said.done) / Number(said.total);
    if (fraction >= 0) return Math.min(1, fraction);
  }
  return undefined;
}

/**
 * The last lines of a log that are meant for people.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readableTail } from "./job_log.ts";
 *
 * const log = 'a\n{"interlens":"progress","done":1,"total":4}\n\x1b[31merror\x1b[0m: no model\n\n';
 * assertEquals(readableTail(log, 5), "a\nerror: no model");
 * ```
 *
 * @param lines How many at most.
 */
export function readableTail(log: string, lines: number): string {
  return stripVTControlCharacters(log).split("\n")
    // A line that was rewritten in place shows what it was last.
    .map((line) => line.trimEnd().split("\r").at(-1)!)
    .filter((line) => line !== "" && !machineLine(line))
    .slice(-lines).join("\n");
}

function machineLine(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{"interlens"')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
