/**
 * What the study reported, number by number.
 *
 * @module
 */
import { join } from "node:path";
import { ROOT } from "../files/mod.ts";

/** One number of the study. */
export interface ReportedResult {
  /** `R1` … `R10`; a prime marks another number for the same result. */
  readonly id: string;
  /** The notebook that reproduces it. */
  readonly notebook: string;
  readonly quantity: string;
  readonly value: number;
  readonly unit: string;
  readonly note: string;
  /** Further numbers of the same result, such as the errors before and after. */
  readonly values?: Readonly<Record<string, number>>;
}

/** One claim of the study that is no single number, in our words. */
export interface ReportedClaim {
  /** `Q1` … `Q5`. */
  readonly id: string;
  /** The notebook that judges it. */
  readonly notebook: string;
  /** The run that it was read from, by name. */
  readonly run: string;
  /** The measure of that run, by name. */
  readonly measure: string;
  readonly claim: string;
}

/** One feature that the study inspected. */
export interface ReportedFeature {
  readonly feature: number;
  /** Label of its highest tokens. */
  readonly highest: string;
  /** Label of its lowest. */
  readonly lowest: string;
  /** Label of the texts of lowest mean, where one was given. */
  readonly lowestMean?: string;
  /** Largest activation of a token. */
  readonly maximum: number;
  /** Mean activation. */
  readonly mean: number;
  /** Share of the tokens on which it is active, in %; special tokens left out. */
  readonly activeTokens: number;
  /** The tokens of the 20 texts of highest activation, counted. */
  readonly topTokens: Readonly<Record<string, number>>;
}

/** Published weights of one embedding dimension. */
export interface ReportedDimension {
  readonly K: number;
  readonly selectedBy: string;
  /** Rank of the first weight among 50,000, by absolute value. */
  readonly rank: number;
  /** Weight by feature: first the selecting one, then the five largest by absolute value. */
  readonly weights: Readonly<Record<string, number>>;
}

/** How a run chose an embedding dimension. */
export interface ReportedSelection {
  readonly run: string;
  readonly method: "combined" | "difference" | "variance";
  readonly K: number;
  /** Combined weight, difference of mean weights, or variance of the condition means. */
  readonly value: number;
  /** Features that it was chosen for, of both factors. */
  readonly features: number;
}

/** Features that a run discovered for a factor. */
export interface ReportedDiscovery {
  readonly factor: string;
  readonly run: string;
  readonly features: readonly number[];
  /** |t| of each. */
  readonly t: readonly number[];
  readonly smallestP?: number;
}

/** One measure of a run. */
export interface ReportedMeasure {
  /** `x32806`: a feature; `K140`: a dimension; `allK`: their mean; `linear`, `interaction`: the rows. */
  readonly name: string;
  readonly kind: "feature" | "linear" | "interaction" | "dimension";
  /** Means of the conditions in the order [1,1] [1,0] [0,1] [0,0]. */
  readonly cells: readonly [number, number, number, number];
  /** F of the factors and permutation p, recomputed from the published values of each text. */
  readonly recomputed?: Readonly<
    Partial<Record<"F_a" | "F_b" | "F_interaction" | "p_interaction", number>>
  >;
}

/** One 2×2 run of the study. */
export interface ReportedRun {
  readonly run: string;
  /** The notebook that reproduces it. */
  readonly notebook: string;
  /** Levels of factor A, high and low. */
  readonly a: readonly [string, string];
  /** Levels of factor B, high and low. */
  readonly b: readonly [string, string];
  /** Texts of a condition. */
  readonly perCell: number;
  /** Mean words of the texts of each condition, in the order of the cells. */
  readonly words?: readonly [number, number, number, number];
  readonly note?: string;
  readonly measures: readonly ReportedMeasure[];
}

/** Everything the study reported that is used here. */
export interface ReportedStudy {
  /** Where the numbers are from. */
  readonly provenance: string;
  readonly model: string;
  readonly results: readonly ReportedResult[];
  readonly claims: readonly ReportedClaim[];
  readonly features: readonly ReportedFeature[];
  readonly dimensions: readonly ReportedDimension[];
  readonly selections: readonly ReportedSelection[];
  readonly discoveries: readonly ReportedDiscovery[];
  readonly runs: readonly ReportedRun[];
}

/**
 * The study's results, claims, features and condition means, from `data/reported/`.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { reportedStudy } from "interlens";
 *
 * const { runs } = await reportedStudy();
 * const { measures } = runs.find(({ run }) => run === "paris_folk")!;
 * const [m11, m10, m01, m00] = measures.find(({ name }) => name === "K140")!.cells;
 * assertAlmostEquals(m11 - m10 - m01 + m00, 0.0036);
 * ```
 */
export async function reportedStudy(): Promise<ReportedStudy> {
  const read = async (name: string) =>
    JSON.parse(await Deno.readTextFile(join(ROOT, "data", "reported", name)));
  const { provenance: _, ...runs } = await read("runs.json");
  return { ...runs, ...await read("study.json") };
}

/**
 * The study's results by id.
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
  const { results } = await reportedStudy();
  return Object.fromEntries(results.map((result) => [result.id, result]));
}

/**
 * One 2×2 run of the study by name, with its measures by name.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { reportedRun } from "interlens";
 *
 * const { a, measures } = await reportedRun("paris_folk");
 * assertEquals(a, ["Paris", "@-@"]);
 * assertEquals(measures.x23360.cells, [0.61948, 0.61948, 0.61948, 0.61948]);
 * ```
 *
 * @throws {RangeError} If there is no such run.
 */
export async function reportedRun(
  name: string,
): Promise<Omit<ReportedRun, "measures"> & { measures: Record<string, ReportedMeasure> }> {
  const { runs } = await reportedStudy();
  const run = runs.find((candidate) => candidate.run === name);
  if (run === undefined) {
    throw new RangeError(
      `Cannot find the run "${name}" of the study: expected one of ${
        runs.map((candidate) => candidate.run).join(", ")
      }`,
    );
  }
  return { ...run, measures: Object.fromEntries(run.measures.map((m) => [m.name, m])) };
}
