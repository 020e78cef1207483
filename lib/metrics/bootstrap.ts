/**
 * Intervals that respect documents: the bootstrap draws whole documents, because
 * tokens of one document are not independent.
 *
 * Intervals are bias-corrected and accelerated (BCa; Efron, 1987), the acceleration
 * by leaving out one document at a time. The unit that varies is the document, so an
 * interval speaks about other documents of the same kind, not about another training.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";
import { normalCdf, normalQuantile } from "./normal.ts";
import { quantile } from "./sorted.ts";

/** A number with its interval. */
export interface Interval {
  /** The value on all documents. */
  estimate: number;
  /** Lower end. */
  low: number;
  /** Upper end. */
  high: number;
}

/** How to make an interval. */
export interface BootstrapOptions {
  /** Draws of the documents. Default 2000. */
  resamples?: number;
  /** Names the draws. Default 0. */
  seed?: number;
  /** Coverage, 0 to 1. Default 0.95. */
  level?: number;
}

/** The sums of each document that a ratio is made of. */
export interface DocumentErrors {
  /** Σ‖x − x̂‖² of each document. */
  readonly squaredError: ArrayLike<number>;
  /** Σ‖x − x̄‖² of each document. */
  readonly variation: ArrayLike<number>;
}

/**
 * Interval of a ratio of sums over documents, such as an FVU.
 *
 * ```ts
 * import { assert, assertAlmostEquals } from "@std/assert";
 * import { bootstrapRatio } from "interlens";
 *
 * const fvu = bootstrapRatio([1, 2, 3, 2, 1, 2], [10, 11, 9, 10, 12, 10]);
 * assertAlmostEquals(fvu.estimate, 11 / 62);
 * assert(fvu.low < fvu.estimate && fvu.estimate < fvu.high);
 * ```
 *
 * @param numerator One number a document.
 * @param denominator One number a document, in the same order.
 * @throws {RangeError} If there are fewer than two documents or the lengths differ.
 */
export function bootstrapRatio(
  numerator: ArrayLike<number>,
  denominator: ArrayLike<number>,
  options: BootstrapOptions = {},
): Interval {
  return clusterBootstrap([numerator, denominator], ([n, d]) => n / d, options);
}

/**
 * Interval of what `b` improves on `a` over the same documents: both are computed on
 * the same draws, so the variation that they share cancels.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { pairedBootstrap } from "interlens";
 *
 * const variation = [10, 20, 30];
 * const sae = { squaredError: [4, 8, 12], variation };
 * const withPairs = { squaredError: [3, 6, 9], variation };
 * const reduction = pairedBootstrap(sae, withPairs);
 * assertAlmostEquals(reduction.estimate, 0.25); // the same in each document: no spread
 * assertAlmostEquals(reduction.low, reduction.high);
 * ```
 *
 * @param a Sums by document of the baseline.
 * @param b Sums by document of the contender, same documents in the same order.
 * @param options `statistic`: `"relativeReduction"` (default) is 1 − Σerror_b / Σerror_a;
 * `"difference"` is FVU_a − FVU_b.
 * @throws {RangeError} If there are fewer than two documents or the lengths differ.
 */
export function pairedBootstrap(
  a: DocumentErrors,
  b: DocumentErrors,
  options: BootstrapOptions & { statistic?: "relativeReduction" | "difference" } = {},
): Interval {
  const sums = [a.squaredError, b.squaredError, a.variation, b.variation];
  return clusterBootstrap(
    sums,
    options.statistic === "difference"
      ? ([errorA, errorB, variationA, variationB]) => errorA / variationA - errorB / variationB
      : ([errorA, errorB]) => 1 - errorB / errorA,
    options,
  );
}

/**
 * BCa interval of any function of sums over documents.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { clusterBootstrap } from "interlens";
 *
 * const constant = clusterBootstrap([[2, 2, 2]], ([total]) => total / 3);
 * assertEquals(constant, { estimate: 2, low: 2, high: 2 });
 * ```
 *
 * @param columns Arrays of one number a document.
 * @param statistic From the sums of the columns to a number.
 * @throws {RangeError} If there are fewer than two documents, the lengths differ, or an option is
 * impossible.
 */
export function clusterBootstrap(
  columns: ArrayLike<number>[],
  statistic: (sums: number[]) => number,
  options: BootstrapOptions = {},
): Interval {
  const { resamples = 2000, seed = 0, level = 0.95 } = options;
  const documents = columns[0].length;
  if (documents < 2 || columns.some((column) => column.length !== documents)) {
    throw new RangeError(
      `Cannot bootstrap over columns of ${columns.map((c) => c.length).join(", ")} documents: ` +
        "expected the same number in each, at least 2",
    );
  }
  if (!Number.isInteger(resamples) || resamples < 100 || !(level > 0 && level < 1)) {
    throw new RangeError(
      `Cannot bootstrap with ${resamples} resamples at level ${level}: expected at least 100 and ` +
        "a level between 0 and 1",
    );
  }
  const totals = columns.map((column) => Array.from(column).reduce((all, x) => all + x, 0));
  const estimate = statistic(totals);

  const rng = new Rng(seed, "bootstrap");
  const draws = new Float64Array(resamples);
  const sums = columns.map(() => 0);
  for (let r = 0; r < resamples; r++) {
    sums.fill(0);
    for (let i = 0; i < documents; i++) {
      const document = rng.integer(documents);
      for (let c = 0; c < columns.length; c++) sums[c] += columns[c][document];
    }
    draws[r] = statistic(sums);
  }
  draws.sort();

  // Ties count half, so that a statistic without spread has no bias. They differ by rounding only.
  const tolerance = 1e-12 * Math.max(Math.abs(estimate), Math.abs(draws[0]));
  let below = 0;
  for (const draw of draws) {
    if (draw < estimate - tolerance) below++;
    else if (draw <= estimate + tolerance) below += 0.5;
  }
  const clamped = Math.min(Math.max(below, 0.5), resamples - 0.5) / resamples;
  const bias = normalQuantile(clamped);
  const acceleration = jackknifeAcceleration(columns, totals, statistic);
  const end = (probability: number) => {
    const z = bias + normalQuantile(probability);
    return quantile(draws, normalCdf(bias + z / (1 - acceleration * z)));
  };
  return { estimate, low: end((1 - level) / 2), high: end((1 + level) / 2) };
}

function jackknifeAcceleration(
  columns: ArrayLike<number>[],
  totals: number[],
  statistic: (sums: number[]) => number,
): number {
  const left = Array.from(
    { length: columns[0].length },
    (_, i) => statistic(totals.map((total, c) => total - columns[c][i])),
  );
  const mean = left.reduce((all, x) => all + x, 0) / left.length;
  const deviations = left.map((x) => mean - x);
  const squares = deviations.reduce((all, d) => all + d * d, 0);
  const cubes = deviations.reduce((all, d) => all + d * d * d, 0);
  return squares > 0 ? cubes / (6 * squares ** 1.5) : 0;
}
