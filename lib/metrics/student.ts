/**
 * Two independent samples: Student's and Welch's t, and Cohen's d.
 *
 * @module
 */
import { fTail } from "./f_distribution.ts";
import { requireFinite } from "./sign_flip.ts";

/** What a t-test found; never NaN, so that a sort puts no constant measure first. */
export interface TTest {
  /** Mean of the first sample minus that of the second. */
  readonly difference: number;
  /** Difference in standard errors; 0 where nothing varies and nothing differs. */
  readonly t: number;
  /** Degrees of freedom. */
  readonly df: number;
  /** Two-sided. */
  readonly p: number;
  /** Cohen's d. */
  readonly effectSize: number;
}

/** How a t-test is made. */
export interface TTestOptions {
  /** `"equal"`: Student's test. `"unequal"`: Welch's. Default `"unequal"`. */
  variances?: "equal" | "unequal";
  /**
   * Where all numbers lie within this share of the largest absolute value, they are one number: t is 0.
   * Default 1e-12, the rounding of float64; 1e-5 suits measures made in float32.
   */
  noiseFloor?: number;
}

/**
 * Do two independent samples have the same mean?
 *
 * Samples without any variation whose means differ have t = ±∞ and p = 0; samples that are one and the
 * same number have t = 0 and p = 1.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { tTest } from "interlens";
 *
 * const { t, df } = tTest([1, 2, 3], [2, 4, 6], { variances: "equal" });
 * assertAlmostEquals(t, -2 / Math.sqrt(2.5 * 2 / 3));
 * assertEquals(df, 4);
 * assertEquals(tTest([0.6, 0.6], [0.6, 0.6]).t, 0);
 * ```
 *
 * @param x At least two numbers.
 * @param y At least two numbers.
 * @throws {RangeError} If there are fewer, or one is not finite.
 */
export function tTest(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  { variances = "unequal", noiseFloor = 1e-12 }: TTestOptions = {},
): TTest {
  const a = moments(x, "the first sample");
  const b = moments(y, "the second sample");
  const pooledDf = a.n + b.n - 2;
  const noise = noiseFloor * Math.max(-a.min, a.max, -b.min, b.max);
  if (Math.max(a.max, b.max) - Math.min(a.min, b.min) <= noise) {
    return { difference: 0, t: 0, df: pooledDf, p: 1, effectSize: 0 };
  }
  const difference = a.mean - b.mean;
  const pooled = ((a.n - 1) * a.variance + (b.n - 1) * b.variance) / pooledDf;
  const effectSize = ratio(difference, Math.sqrt(pooled));
  const [u, v] = [a.variance / a.n, b.variance / b.n];
  const error = variances === "equal" ? pooled * (1 / a.n + 1 / b.n) : u + v;
  const t = ratio(difference, Math.sqrt(error));
  const df = variances === "equal" || error === 0
    ? pooledDf
    : error ** 2 / (u ** 2 / (a.n - 1) + v ** 2 / (b.n - 1));
  return { difference, t, df, p: fTail(t * t, 1, df), effectSize };
}

/**
 * Difference of two means in pooled standard deviations; 0 where all numbers are the same.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { cohenD } from "interlens";
 *
 * assertAlmostEquals(cohenD([3, 4, 5], [1, 2, 3]), 2);
 * ```
 *
 * @throws {RangeError} If a sample has fewer than two numbers or one that is not finite.
 */
export function cohenD(x: ArrayLike<number>, y: ArrayLike<number>): number {
  return tTest(x, y).effectSize;
}

function ratio(difference: number, spread: number): number {
  if (spread > 0) return difference / spread;
  return difference === 0 ? 0 : Math.sign(difference) * Infinity;
}

function moments(values: ArrayLike<number>, name: string) {
  const x = requireFinite(values, name);
  if (x.length < 2) {
    throw new RangeError(`Cannot test ${name} of ${x.length} numbers: expected at least 2`);
  }
  let [sum, min, max] = [0, Infinity, -Infinity];
  for (const value of x) {
    sum += value;
    min = Math.min(min, value);
    max = Math.max(max, value);
  }
  const mean = sum / x.length;
  let squares = 0;
  for (const value of x) squares += (value - mean) ** 2;
  // The mean of equal numbers is off by rounding, which is no variance.
  const variance = max === min ? 0 : squares / (x.length - 1);
  return { n: x.length, mean: max === min ? max : mean, variance, min, max };
}
