/**
 * How well scores tell two classes apart, with intervals that are honest for few windows.
 *
 * @module
 */
import type { Interval } from "../metrics/mod.ts";

/** Normal quantile of a 95 % interval. */
const Z = 1.959963984540054;

/**
 * Area under the ROC curve: the probability that a score of the first class is above one of the
 * second, ties counting half. The interval inverts a score test (Newcombe, 2006, method 5), so it
 * does not shrink to a point where the classes do not overlap.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { rocAuc } from "interlens";
 *
 * const { estimate, low } = rocAuc([3, 2, 2], [0, 1, 1]);
 * assertEquals(estimate, 1);
 * assert(low < 0.9);
 * ```
 *
 * @param positive Scores of the first class.
 * @param negative Scores of the second.
 * @throws {RangeError} If a class is empty.
 */
export function rocAuc(positive: readonly number[], negative: readonly number[]): Interval {
  const [m, n] = [positive.length, negative.length];
  if (m === 0 || n === 0) {
    throw new RangeError(`Cannot tell ${m} windows from ${n}: expected at least 1 of each`);
  }
  let wins = 0;
  for (const p of positive) for (const q of negative) wins += p > q ? 1 : p === q ? 0.5 : 0;
  const estimate = wins / (m * n);
  const size = (m + n) / 2 - 1;
  const spread = (t: number) =>
    Math.sqrt(t * (1 - t) * (1 + size * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n));
  // The ends are the values that the estimate is just not significantly different from.
  const end = (outer: number) => {
    let [inside, outside] = [estimate, outer];
    for (let i = 0; i < 60; i++) {
      const middle = (inside + outside) / 2;
      if (Math.abs(middle - estimate) < Z * spread(middle)) inside = middle;
      else outside = middle;
    }
    return inside;
  };
  return { estimate, low: end(0), high: end(1) };
}

/**
 * A share with Wilson's interval (1927).
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { proportion } from "interlens";
 *
 * const { low, high } = proportion(10, 20);
 * assertAlmostEquals(low, 0.2993, 1e-4);
 * assertAlmostEquals(high, 0.7007, 1e-4);
 * ```
 *
 * @param hits How many.
 * @param of Of how many, at least 1.
 * @throws {RangeError} If that is no share.
 */
export function proportion(hits: number, of: number): Interval {
  if (!(of >= 1 && hits >= 0 && hits <= of)) {
    throw new RangeError(
      `Cannot take the share of ${hits} in ${of}: expected 0…${of} of at least 1`,
    );
  }
  const p = hits / of;
  const centre = (p + Z ** 2 / (2 * of)) / (1 + Z ** 2 / of);
  const half = Z / (1 + Z ** 2 / of) * Math.sqrt(p * (1 - p) / of + (Z / (2 * of)) ** 2);
  return { estimate: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
