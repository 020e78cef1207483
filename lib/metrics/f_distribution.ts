/**
 * Tail of the F distribution, and the false discovery rate of many tests.
 *
 * @module
 */

/**
 * Probability that a variable of the F distribution is above `f`.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { fTail } from "interlens";
 *
 * assertAlmostEquals(fTail(4.9646, 1, 10), 0.05, 1e-5);
 * assertAlmostEquals(fTail(1, 7, 7), 0.5, 1e-12);
 * ```
 *
 * @param f At least 0.
 * @param d1 Degrees of freedom of the numerator, above 0.
 * @param d2 Those of the denominator, above 0.
 */
export function fTail(f: number, d1: number, d2: number): number {
  if (!(f > 0)) return 1;
  return incompleteBeta(d2 / (d2 + d1 * f), d2 / 2, d1 / 2);
}

/**
 * Which tests are discoveries when at most a share `rate` of discoveries may be false, in expectation
 * (Benjamini & Hochberg, 1995). Where no effect exists at all, a discovery is made in at most that
 * share of all experiments.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { benjaminiHochberg } from "interlens";
 *
 * assertEquals(benjaminiHochberg([0.04, 0.001, 0.5, 0.02], 0.05), [false, true, false, true]);
 * ```
 *
 * @param p A p-value a test.
 * @param rate Between 0 and 1.
 */
export function benjaminiHochberg(p: ArrayLike<number>, rate: number): boolean[] {
  const sorted = Float64Array.from(p).sort();
  let threshold = -1;
  sorted.forEach((value, i) => {
    if (value <= rate * (i + 1) / sorted.length) threshold = value;
  });
  return Array.from(p, (value) => value <= threshold);
}

/** I_x(a, b), by the continued fraction of Lentz (Press et al., Numerical Recipes, section 6.4). */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast on one side of the mean; the other is its mirror.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(
    logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x),
  ) / a;
  const tiny = 1e-300;
  let [c, d] = [1, 1 - (a + b) * x / (a + 1)];
  d = 1 / (Math.abs(d) < tiny ? tiny : d);
  let h = d;
  for (let m = 1; m < 100_000; m++) {
    for (
      const term of [
        m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
        -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
      ]
    ) {
      d = 1 + term * d;
      d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + term / c;
      if (Math.abs(c) < tiny) c = tiny;
      h *= d * c;
    }
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return front * h;
}

/** log Γ(x) for x > 0, by Stirling's series above 10. */
function logGamma(x: number): number {
  let shift = 0;
  for (; x < 10; x++) shift -= Math.log(x);
  const y = 1 / (x * x);
  const series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x;
  return shift + (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}
