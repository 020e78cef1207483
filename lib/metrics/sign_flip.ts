/**
 * Is the mean of paired differences 0? Under the null hypothesis a difference is as likely as its
 * opposite, so the observed mean is compared with the means of all changes of signs.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";

/** How a test by drawing is made. */
export interface PermutationOptions {
  /** Draws, where the exact set is too large. Default 10,000. */
  draws?: number;
  /** Names the draws. Default 0. */
  seed?: number;
}

/** Up to this many units every change of signs is tried: 2¹⁶. */
const EXACT_UNITS = 16;

/** Equal sums in another order differ by rounding, and count as equal. */
const ROUNDING = 1e-12;

/**
 * Two-sided p-value of a mean of 0 by changes of signs: exact up to 16 units, else
 * (b + 1) / (draws + 1), where b draws are at least as far from 0 as what was observed. The test is
 * exact for units that are symmetric around 0 and independent. n units cannot go below 2^(1−n): with
 * five or fewer no p-value is under 0.05.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { signFlip } from "interlens";
 *
 * assertEquals(signFlip([1, 2, 3, 1]), 2 / 2 ** 4); // all of one sign: it and its opposite
 * assertEquals(signFlip([0, 0, 0]), 1);
 * ```
 *
 * @param differences One number an independent unit, such as a frame.
 * @throws {RangeError} If there are fewer than two, one is not finite, or an option is impossible.
 */
export function signFlip(differences: ArrayLike<number>, options: PermutationOptions = {}): number {
  const x = requireFinite(differences, "differences");
  const { patterns, exact } = signs(x.length, options);
  const total = x.reduce((sum, value) => sum + value, 0);
  const far = Math.abs(total) - ROUNDING * x.reduce((sum, value) => sum + Math.abs(value), 0);
  const twice = x.map((value) => 2 * value);
  let asFar = 0;
  let count = 0;
  for (const flipped of patterns) {
    let sum = total;
    for (let i = 0; i < x.length; i++) sum -= flipped[i] * twice[i];
    if (Math.abs(sum) >= far) asFar++;
    count++;
  }
  return exact ? asFar / count : (asFar + 1) / (count + 1);
}

/**
 * Which units change their sign, pattern by pattern: all there are, or as many as asked for. The same
 * array is used for each.
 */
export function signs(
  units: number,
  { draws = 10_000, seed = 0 }: PermutationOptions = {},
): { exact: boolean; count: number; patterns: Iterable<Uint8Array> } {
  requireDraws(draws);
  if (units < 2) {
    throw new RangeError(`Cannot change the signs of ${units} units: expected at least 2`);
  }
  const exact = units <= EXACT_UNITS;
  const flipped = new Uint8Array(units);
  function* all() {
    for (let pattern = 0; pattern < 2 ** units; pattern++) {
      for (let i = 0; i < units; i++) flipped[i] = (pattern >> i) & 1;
      yield flipped;
    }
  }
  function* drawn() {
    const rng = new Rng(seed, "signs");
    for (let draw = 0; draw < draws; draw++) {
      for (let i = 0, bits = 0; i < units; i++, bits >>>= 1) {
        if (i % 32 === 0) bits = rng.integer(2 ** 32);
        flipped[i] = bits & 1;
      }
      yield flipped;
    }
  }
  return exact
    ? { exact, count: 2 ** units, patterns: all() }
    : { exact, count: draws, patterns: drawn() };
}

/** @throws {RangeError} If a number of draws cannot give a p-value of 0.05. */
export function requireDraws(draws: number): void {
  if (!Number.isInteger(draws) || draws < 99) {
    throw new RangeError(`Cannot test by ${draws} draws: expected an integer of at least 99`);
  }
}

/** A copy in float64. @throws {RangeError} Naming the first number that is none. */
export function requireFinite(values: ArrayLike<number>, name: string): Float64Array {
  const copy = Float64Array.from(values);
  const wrong = copy.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) {
    throw new RangeError(
      `Cannot test ${name} with ${copy[wrong]} at index ${wrong}: expected finite numbers`,
    );
  }
  return copy;
}
