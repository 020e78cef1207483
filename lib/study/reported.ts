/**
 * What the study reported, number by number.
 *
 * @module
 */
import { join } from "node:path";
import { ROOT } from "../files/mod.ts";

/** One number of the study. */
export interface ReportedResult {
  /** `R1` … `R10`. */
  readonly id: string;
  /** The notebook that reproduces it. */
  readonly notebook: string;
  readonly quantity: string;
  readonly value: number;
  readonly unit: string;
  readonly note: string;
}

/**
 * The study's results by id, from `data/reported/study.json`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { reportedResults } from "interlens";
 *
 * const { R1 } = await reportedResults();
 * assertEquals(R1.value, 26.6);
 * ```
 */
export async function reportedResults(): Promise<Record<string, ReportedResult>> {
  const text = await Deno.readTextFile(join(ROOT, "data", "reported", "study.json"));
  const { results } = JSON.parse(text) as { results: ReportedResult[] };
  return Object.fromEntries(results.map((result) => [result.id, result]));
}
