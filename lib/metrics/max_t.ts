/**
 * One effect of many measures of the same frames: p-values that hold for all of them together.
 *
 * @module
 */
import { contrasts, type CrossedCells, requireCells } from "./factorial.ts";
import { type PermutationOptions, signs } from "./sign_flip.ts";

/** One effect of one of many measures. */
export interface MaxTEffect {
  /** Mean over frames, in units of the measure. */
  readonly estimate: number;
  /** Mean over frames in standard errors; 0 below the noise floor. */
  readonly t: number;
  /** Adjusted for all measures, two-sided. */
  readonly p: number;
}

/** How `maxT` works. */
export interface MaxTOptions extends PermutationOptions {
  /** What is tested. Default `"interaction"`. */
  effect?: "factorA" | "factorB" | "interaction";
  /** Differences up to this share of a measure's largest absolute value are none. Default 1e-5. */
  noiseFloor?: number;
}

/**
 * Step-down max-T (Westfall & Young, 1993) by changes of signs: the chance that any effect is called
 * one, where there is none, is at most the level. All measures of a frame change their sign together,
 * so correlated measures cost less than Bonferroni's correction.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { maxT } from "interlens";
 *
 * const frames = Array.from({ length: 10 }, (_, i) => i);
 * const zero = frames.map(() => 0);
 * const cells = (a1b1: number[]) => ({ a1b1, a1b0: zero, a0b1: zero, a0b0: zero });
 * const [clear, none] = maxT([
 *   cells(frames.map((i) => 5 + (i % 3))),
 *   cells(frames.map((i) => (i % 2) * 2 - 1)),
 * ]);
 * assert(clear.p < 0.01);
 * assertEquals(none.p, 1);
 * ```
 *
 * @param measures Each over the same frames in the same order.
 * @returns One effect a measure, in the order given.
 * @throws {RangeError} If frames are missing, a number is not finite, or an option is impossible.
 */
export function maxT(measures: readonly CrossedCells[], options: MaxTOptions = {}): MaxTEffect[] {
  const { effect = "interaction", noiseFloor = 1e-5 } = options;
  if (measures.length === 0) return [];
  const frames = measures[0].a1b1.length;
  const count = measures.length;
  // [frames, measures], so that a change of sign runs through memory in order.
  const x = new Float64Array(frames * count);
  const energy = new Float64Array(count);
  const total = new Float64Array(count);
  measures.forEach((measure, m) => {
    const cells = requireCells(measure);
    if (cells.a1b1.length !== frames) {
      throw new RangeError(
        `Cannot test measure ${m} of ${cells.a1b1.length} frames beside one of ${frames}: expected ` +
          "the same frames in all",
      );
    }
    const contrast = contrasts(cells)[effect];
    const largest = Object.values(cells)
      .reduce((max, cell) => cell.reduce((most, v) => Math.max(most, Math.abs(v)), max), 0);
    const none = contrast.every((value) => Math.abs(value) <= noiseFloor * largest);
    contrast.forEach((value, frame) => {
      total[m] += value;
      if (none) return;
      x[frame * count + m] = value;
      energy[m] += value * value;
    });
  });

  // |t| rises with (Σx)² / Σx², whose denominator no change of signs touches.
  const share = (sum: number, m: number) => energy[m] > 0 ? sum * sum / energy[m] : 0;
  const observed = Array.from({ length: count }, (_, m) => share(total[m], m));
  const descending = observed.map((_, m) => m).sort((i, j) => observed[j] - observed[i]);
  const asLarge = new Float64Array(count);
  const sums = new Float64Array(count);
  const { exact, count: draws, patterns } = signs(frames, options);
  for (const flipped of patterns) {
    sums.fill(0);
    for (let frame = 0, at = 0; frame < frames; frame++) {
      const sign = flipped[frame] ? -1 : 1;
      for (let m = 0; m < count; m++, at++) sums[m] += sign * x[at];
    }
    let largest = 0;
    for (let rank = count - 1; rank >= 0; rank--) {
      const m = descending[rank];
      largest = Math.max(largest, share(sums[m], m));
      if (largest >= observed[m] - 1e-12 * frames) asLarge[m]++;
    }
  }
  const result = new Array<MaxTEffect>(count);
  let p = 0;
  for (const m of descending) {
    p = Math.max(p, exact ? asLarge[m] / draws : (asLarge[m] + 1) / (draws + 1));
    const rest = frames - observed[m];
    const t = observed[m] === 0
      ? 0
      : Math.sign(total[m]) * Math.sqrt((frames - 1) * observed[m] / Math.max(rest, 0));
    result[m] = { estimate: total[m] / frames, t, p };
  }
  return result;
}
