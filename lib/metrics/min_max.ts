/**
 * Measures of different units on one axis, without making rounding look like an effect.
 *
 * @module
 */
import { requireFinite } from "./sign_flip.ts";

/** A measure scaled to 0…1. */
export interface MinMax {
  /** Smallest number. */
  readonly low: number;
  /** Largest number. */
  readonly high: number;
  /** (x − low) / (high − low); absent if the numbers differ by no more than rounding. */
  readonly scaled?: Float64Array;
}

/** How `minMaxDisplay` works. */
export interface MinMaxOptions {
  /** Ranges up to this share of the largest absolute value are rounding. Default 1e-5 (float32). */
  noiseFloor?: number;
  /**
   * Defects of the study to repeat. `"B6"`: every range is stretched to 0…1, rounding too, so that a
   * constant measure shows a full effect. Default none.
   */
  faithful?: readonly "B6"[];
}

/**
 * Scales a measure to 0…1 for display, unless it does not vary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { minMaxDisplay } from "interlens";
 *
 * assertEquals(minMaxDisplay([2, 4, 3]).scaled, Float64Array.of(0, 1, 0.5));
 *
 * const constant = [0.35303518, 0.35303557, 0.35303518];
 * assertEquals(minMaxDisplay(constant).scaled, undefined);
 * assertEquals(minMaxDisplay(constant, { faithful: ["B6"] }).scaled, Float64Array.of(0, 1, 0));
 * ```
 *
 * @param values One measure of all stimuli.
 * @throws {RangeError} If there are none, or one is not finite.
 */
export function minMaxDisplay(
  values: ArrayLike<number>,
  { noiseFloor = 1e-5, faithful = [] }: MinMaxOptions = {},
): MinMax {
  const x = requireFinite(values, "a measure");
  if (x.length === 0) throw new RangeError("Cannot scale 0 numbers: expected at least 1");
  const low = x.reduce((min, value) => Math.min(min, value), Infinity);
  const high = x.reduce((max, value) => Math.max(max, value), -Infinity);
  const noise = faithful.includes("B6") ? 0 : noiseFloor * Math.max(-low, high);
  if (!(high - low > noise)) return { low, high };
  return { low, high, scaled: x.map((value) => (value - low) / (high - low)) };
}
