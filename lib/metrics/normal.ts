/**
 * The standard normal distribution: its cumulative probability and its inverse.
 *
 * @module
 */

/**
 * Probability that a standard normal number is at most `z`; absolute error below 1e-14.
 *
 * The series Φ(z) = ½ + φ(z) (z + z³/3 + z⁵/15 + …) (Marsaglia, 2004) in the middle, the continued
 * fraction of Mills' ratio in the tails, where the series would cancel.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { normalCdf } from "interlens";
 *
 * assertAlmostEquals(normalCdf(1.959963984540054), 0.975, 1e-12);
 * ```
 */
export function normalCdf(z: number): number {
  if (Math.abs(z) > 38) return z > 0 ? 1 : 0;
  const density = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
  if (Math.abs(z) > 5) {
    let fraction = 0;
    for (let k = 60; k > 0; k--) fraction = k / (Math.abs(z) + fraction);
    const tail = density / (Math.abs(z) + fraction);
    return z > 0 ? 1 - tail : tail;
  }
  let sum = z;
  for (let term = z, k = 3; Math.abs(term) > 1e-17; k += 2) {
    term *= z * z / k;
    sum += term;
  }
  return 0.5 + density * sum;
}

/**
 * The number that a standard normal one stays below with this probability.
 *
 * Newton's method on `normalCdf`, from Winitzki's approximation.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { normalQuantile } from "interlens";
 *
 * assertAlmostEquals(normalQuantile(0.975), 1.959963984540054, 1e-9);
 * ```
 *
 * @param probability Between 0 and 1, both excluded.
 * @throws {RangeError} If the probability is outside.
 */
export function normalQuantile(probability: number): number {
  if (!(probability > 0 && probability < 1)) {
    throw new RangeError(
      `Cannot invert the normal distribution at ${probability}: expected a number between 0 and 1`,
    );
  }
  const signed = 2 * probability - 1;
  const log = Math.log(1 - signed * signed);
  const a = 0.147;
  const half = 2 / (Math.PI * a) + log / 2;
  let z = Math.SQRT2 * Math.sign(signed) * Math.sqrt(Math.sqrt(half * half - log / a) - half);
  for (let i = 0; i < 4; i++) {
    const density = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
    if (density < 1e-300) break;
    z -= (normalCdf(z) - probability) / density;
  }
  return z;
}
