/**
 * Verdicts: what a notebook says about a claim of the study, in a file that the notebook of all
 * verdicts and the site's index read.
 *
 * @module
 */
import { cacheDir, writeFileAtomic } from "../files/mod.ts";
import { readRecords } from "./headline.ts";
import { profile } from "./profile.ts";

/** What an interval allows to say. */
export type Judgement = "supported" | "contradicted" | "undecided";

/** A claim of the study and what was found about it. */
export interface VerdictRow {
  /** `R1` … `R10`, `Q1` … `Q5`. */
  readonly id: string;
  /** What is claimed, in a few words. */
  readonly claim: string;
  /** What the study reports, with its unit. */
  readonly reported: string;
  /** What the study's own procedure gives here, with its unit; "not run" where it was not. */
  readonly faithful: string;
  /** What the corrected procedure gives here, with its unit and its interval. */
  readonly corrected: string;
  /** What the same measure gives where there is nothing to find. */
  readonly control: string;
  /** What the interval allows to say. */
  readonly judgement: Judgement;
  /** A sentence that is no stronger than the interval. */
  readonly verdict: string;
}

/** A verdict with the notebook that it comes from. */
export interface RecordedVerdict extends VerdictRow {
  readonly notebook: string;
}

const ID = /^(?:R(?:[1-9]|10)|Q[1-5])$/;

/**
 * What an interval allows to say about the claim that a quantity exceeds a value.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { judge } from "interlens";
 *
 * assertEquals(judge({ low: 0.1, high: 0.4 }), "supported");
 * assertEquals(judge({ low: -0.1, high: 0.4 }), "undecided");
 * assertEquals(judge({ low: 0.1, high: 0.4 }, { above: 2 }), "contradicted");
 * ```
 *
 * @param interval Of the quantity; both ends in its unit.
 * @param options `above`: the value that the claim says is exceeded, by default 0.
 * @throws {RangeError} If an end is not finite or they are in the wrong order.
 */
export function judge(
  { low, high }: { readonly low: number; readonly high: number },
  { above = 0 }: { above?: number } = {},
): Judgement {
  if (!(Number.isFinite(low) && Number.isFinite(high) && low <= high)) {
    throw new RangeError(`Cannot judge by the interval [${low}, ${high}]: expected low ≤ high`);
  }
  return low > above ? "supported" : high <= above ? "contradicted" : "undecided";
}

/**
 * Stores a notebook's verdicts as `verdicts/<profile>/<notebook>.json` in the cache.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { recordVerdict } from "interlens";
 *
 * const row = {
 *   id: "S1", // neither R nor Q
 *   claim: "pairs explain what features leave",
 *   reported: "5 %",
 *   faithful: "not run",
 *   corrected: "1 % [0.5, 1.5]",
 *   control: "0 %",
 *   judgement: "supported",
 *   verdict: "Pairs explain a little.",
 * } as const;
 * await assertRejects(() => recordVerdict("example", [row]), RangeError, "S1");
 * ```
 *
 * @param notebook Name of the notebook without its extension, for example `"02_sae"`.
 * @throws {RangeError} If an id is none of the study's, or a field is empty or holds no number where
 * it says "NaN".
 */
export async function recordVerdict(notebook: string, rows: readonly VerdictRow[]): Promise<void> {
  for (const row of rows) {
    if (!ID.test(row.id)) {
      throw new RangeError(`Cannot record a verdict on "${row.id}": expected R1 to R10, Q1 to Q5`);
    }
    for (const [name, value] of Object.entries(row)) {
      if (value.trim() === "" || /\b(NaN|Infinity|undefined)\b/.test(value)) {
        throw new RangeError(
          `Cannot record the verdict on ${row.id}: its "${name}" is "${value}"; say what was found`,
        );
      }
    }
  }
  const path = cacheDir("verdicts", profile(), `${notebook}.json`);
  await writeFileAtomic(path, JSON.stringify({ notebook, rows }, null, 2) + "\n");
}

/**
 * All verdicts that were recorded in the profile in force, in the order of ids (R before Q).
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { readVerdicts } from "interlens";
 *
 * assert((await readVerdicts()).every(({ notebook }) => notebook.length > 0));
 * ```
 *
 * @throws {Error} If a file is not JSON.
 */
export async function readVerdicts(): Promise<RecordedVerdict[]> {
  const records = await readRecords<{ notebook: string; rows: VerdictRow[] }>(
    cacheDir("verdicts", profile()),
  );
  const found = records.flatMap(({ notebook, rows }) => rows.map((row) => ({ ...row, notebook })));
  const order = ({ id }: VerdictRow) => (id[0] === "R" ? 0 : 100) + Number(id.slice(1));
  return found.sort((a, b) => order(a) - order(b) || (a.notebook < b.notebook ? -1 : 1));
}
