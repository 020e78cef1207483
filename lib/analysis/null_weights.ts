/**
 * What a statistic of embeddings is where there is nothing to find, and where an observed one stands
 * in it.
 *
 * | null           | what is drawn                                                   | what it leaves      |
 * | -------------- | --------------------------------------------------------------- | ------------------- |
 * | `"untrained"`  | N(0, std) with the std of the initial weights                   | nothing             |
 * | `"isotropic"`  | each row in a random direction                                  | the norm of a row   |
 * | `"permuted"`   | entries exchanged within each row                               | the values of a row |
 *
 * A statistic of a single row that does not look at the order of its entries, such as Gini, is the
 * same after exchanges within the row; for these `"permuted"` exchanges entries within each column,
 * between features.
 *
 * @module
 */
import { firstAtLeast, quantile } from "../metrics/mod.ts";
import type { Rng } from "../tensor/mod.ts";
import { embeddingRow, type Embeddings } from "./embeddings.ts";

/** A null distribution of weights. */
export type WeightNull = "untrained" | "isotropic" | "permuted";

/** An observed number in its null distribution. */
export interface NullComparison {
  /** Which null. */
  readonly kind: string;
  readonly observed: number;
  /** What was drawn, ascending. */
  readonly draws: Float64Array;
  /** Median of the draws. */
  readonly median: number;
  /** 2.5 % and 97.5 % of the draws. */
  readonly low: number;
  readonly high: number;
  /** (1 + draws of at least the observed) / (1 + draws): one-sided, large is remarkable. */
  readonly p: number;
}

/** How nulls are drawn. */
export interface NullDrawOptions {
  /** Draws a null. The smallest possible p is 1 / (1 + draws). Default 999. */
  draws?: number;
  /** Names the draws. Default 0. */
  seed?: number;
}

/**
 * Places an observed number in draws of its null distribution.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { compareWithNull } from "interlens";
 *
 * const { p, median } = compareWithNull(3, [1, 3, 2], { kind: "permuted" });
 * assertEquals([p, median], [2 / 4, 2]); // one of three is as large, and the observed counts too
 * ```
 *
 * @throws {RangeError} If there are no draws, or a number is not finite.
 */
export function compareWithNull(
  observed: number,
  draws: ArrayLike<number>,
  { kind }: { kind: string },
): NullComparison {
  const sorted = Float64Array.from(draws).sort();
  if (sorted.length === 0 || !Number.isFinite(observed) || !sorted.every(Number.isFinite)) {
    throw new RangeError(
      `Cannot compare ${observed} with ${sorted.length} draws of "${kind}": expected finite numbers, ` +
        "at least one draw",
    );
  }
  // Sums in another order differ by rounding, and count as equal.
  const far = observed - 1e-12 * Math.abs(observed);
  const atLeast = sorted.length - firstAtLeast(sorted, far);
  return {
    kind,
    observed,
    draws: sorted,
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.025),
    high: quantile(sorted, 0.975),
    p: (1 + atLeast) / (1 + sorted.length),
  };
}

/** One draw of the rows of some features, `[features.length, K]`. */
export function drawRows(
  embeddings: Embeddings,
  features: readonly number[],
  { kind, std, rng }: { kind: WeightNull; std: number; rng: Rng },
): Embeddings {
  const { K } = embeddings;
  const values = new Float32Array(features.length * K);
  features.forEach((feature, at) => {
    const row = values.subarray(at * K, (at + 1) * K);
    drawRow(row, embeddingRow(embeddings, feature), { kind, std, rng });
  });
  return { values, features: features.length, K };
}

function drawRow(
  into: Float32Array,
  observed: Float32Array,
  { kind, std, rng }: { kind: WeightNull; std: number; rng: Rng },
): void {
  if (kind === "permuted") {
    into.set(observed);
    for (let i = into.length - 1; i > 0; i--) {
      const j = rng.integer(i + 1);
      [into[i], into[j]] = [into[j], into[i]];
    }
    return;
  }
  for (let i = 0; i < into.length; i++) into[i] = std * rng.normal();
  if (kind === "untrained") return;
  const factor = norm(observed) / norm(into);
  for (let i = 0; i < into.length; i++) into[i] *= factor;
}

function norm(row: Float32Array): number {
  let square = 0;
  for (let i = 0; i < row.length; i++) square += row[i] ** 2;
  return Math.sqrt(square);
}

/** @throws {RangeError} If a p-value of 0.05 is out of reach. */
export function requireNullDraws(draws: number): void {
  if (!Number.isInteger(draws) || draws < 19) {
    throw new RangeError(`Cannot compare with ${draws} draws: expected an integer of at least 19`);
  }
}
