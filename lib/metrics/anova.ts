/**
 * Analysis of variance of a 2×2 design whose cells hold different items, as in the study.
 *
 * Where the same frame stands in all four cells, `factorialTest` is the better test: it takes what
 * frames differ in out of the error.
 *
 * @module
 */
import { fTail } from "./f_distribution.ts";
import type { CrossedCells } from "./factorial.ts";
import { requireFinite } from "./sign_flip.ts";

/** One effect of an analysis of variance. */
export interface AnovaEffect {
  /** Mean square of the effect / mean square within cells, with 1 and `residualDf` degrees. */
  readonly F: number;
  readonly p: number;
  /** SS_effect / (SS_effect + SS_residual), 0 to 1. */
  readonly partialEtaSquared: number;
  readonly sumOfSquares: number;
}

/** A 2×2 analysis of variance. */
export interface Anova {
  readonly factorA: AnovaEffect;
  readonly factorB: AnovaEffect;
  readonly interaction: AnovaEffect;
  /** Items − 4. */
  readonly residualDf: number;
  readonly residualSumOfSquares: number;
}

/**
 * Two-way analysis of variance with interaction; sums of squares of type III where cells differ in size.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { twoWayAnova } from "interlens";
 *
 * const anova = twoWayAnova({ a1b1: [5, 7], a1b0: [3, 5], a0b1: [1, 3], a0b0: [1, 3] });
 * assertEquals(anova.residualDf, 4);
 * assertAlmostEquals(anova.factorA.F, 9);
 * assertAlmostEquals(anova.interaction.F, 1);
 * ```
 *
 * @param cells At least one item a cell, and five in all.
 * @param options `noiseFloor`: numbers that all lie within this share of the largest have F = 0.
 * Default 1e-5, for measures made in float32.
 * @throws {RangeError} If there are too few items or one is not finite.
 */
export function twoWayAnova(
  cells: CrossedCells,
  { noiseFloor = 1e-5 }: { noiseFloor?: number } = {},
): Anova {
  const groups = [cells.a1b1, cells.a1b0, cells.a0b1, cells.a0b0]
    .map((cell) => requireFinite(cell, "a cell"));
  const sizes = groups.map((group) => group.length);
  const items = sizes.reduce((sum, n) => sum + n, 0);
  const residualDf = items - 4;
  if (sizes.includes(0) || residualDf < 1) {
    throw new RangeError(
      `Cannot analyse cells of ${sizes.join(", ")} items: expected one in each and five in all`,
    );
  }
  const all = groups.flatMap((group) => [...group]);
  const largest = all.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
  const range = all.reduce((max, x) => Math.max(max, x), -Infinity) -
    all.reduce((min, x) => Math.min(min, x), Infinity);
  const constant = range <= noiseFloor * largest;

  const means = groups.map((group) => group.reduce((sum, x) => sum + x, 0) / group.length);
  const residualSumOfSquares = groups.reduce(
    (sum, group, g) => group.reduce((s, x) => s + (x - means[g]) ** 2, sum),
    0,
  );
  const error = residualSumOfSquares / residualDf;
  const effect = (weights: number[]): AnovaEffect => {
    const contrast = weights.reduce((sum, w, g) => sum + w * means[g], 0);
    const sumOfSquares = contrast ** 2 / weights.reduce((sum, w, g) => sum + w * w / sizes[g], 0);
    if (constant || sumOfSquares <= (1e-12 * largest) ** 2) {
      return { F: 0, p: 1, partialEtaSquared: 0, sumOfSquares };
    }
    const F = sumOfSquares / error;
    const partialEtaSquared = sumOfSquares / (sumOfSquares + residualSumOfSquares);
    return { F, p: fTail(F, 1, residualDf), partialEtaSquared, sumOfSquares };
  };
  return {
    factorA: effect([1, 1, -1, -1]),
    factorB: effect([1, -1, 1, -1]),
    interaction: effect([1, -1, -1, 1]),
    residualDf,
    residualSumOfSquares,
  };
}
