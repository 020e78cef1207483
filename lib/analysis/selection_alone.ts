/**
 * How significant a chosen feature looks where labels mean nothing.
 *
 * @module
 */
import { splitFrames } from "../corpus/mod.ts";
import { contrasts, fTail } from "../metrics/mod.ts";
import { Rng } from "../tensor/mod.ts";
import type { DiscoveryCodes } from "./discover.ts";
import { cellsOf, columnOf } from "./measure.ts";
import { requireNullDraws } from "./null_weights.ts";

/** p-values of the feature of the largest |t|, one a draw of labels. */
export interface SelectionAlone {
  /** Tested on the texts that chose it, by Student's t of independent texts: the study's way (B22). */
  readonly sameTexts: Float64Array;
  /** Chosen by a paired t on some frames, tested by a paired t on the others. */
  readonly otherFrames: Float64Array;
}

/**
 * The p-value of the most significant feature after labels were exchanged at random, by the study's
 * procedure and by the split one. Where a procedure keeps its promise, p-values are uniform: a share of
 * 5 % is below 0.05.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { loadStimuli, Rng, selectionAlone } from "interlens";
 *
 * const design = await loadStimuli("paris_folk");
 * const dSae = 100;
 * const features = new Rng(0).normals(design.stimuli.length * dSae, 1);
 * const tokens = design.stimuli.map(() => 10);
 * const { sameTexts, otherFrames } = selectionAlone({ design, features, dSae, tokens });
 * const share = (p: Float64Array) => p.filter((value) => value < 0.05).length / p.length;
 * assert(share(sameTexts) > 0.9); // the best of 100 features of noise
 * assert(share(otherFrames) < 0.15);
 * ```
 *
 * @param codes What `measureStimuli` gives.
 * @param options `factor`: whose labels; default `"a"`. `draws`: default 199. `share` and `seed`: as for
 * `discover`.
 * @throws {RangeError} If there are fewer than 19 draws, or no feature varies.
 */
export function selectionAlone(
  { design, features, dSae }: DiscoveryCodes,
  { factor = "a", draws = 199, share = 0.5, seed = 0 }: {
    factor?: "a" | "b";
    draws?: number;
    share?: number;
    seed?: number;
  } = {},
): SelectionAlone {
  requireNullDraws(draws);
  const texts = design.stimuli.length;
  const columns = Array.from({ length: dSae }, (_, feature) => columnOf(features, dSae, feature))
    .filter((column) =>
      column.some((value) => Math.abs(value - column[0]) > 1e-5 * Math.abs(value))
    );
  if (columns.length === 0) {
    throw new RangeError(
      `Cannot choose a feature for "${design.name}": none varies over its texts`,
    );
  }
  const chosen = new Set(splitFrames(design, { seed, share }).selection.frames);
  const effect = factor === "a" ? "factorA" : "factorB";
  const differences = columns.map((column) => contrasts(cellsOf(design, column))[effect]);
  const [first, second] = [true, false].map((selection) =>
    design.frames.flatMap((frame, i) => chosen.has(frame) === selection ? [i] : [])
  );
  const rng = new Rng(seed, "selection alone", factor);
  const sameTexts = new Float64Array(draws);
  const otherFrames = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw++) {
    const high = rng.permutation(texts).subarray(0, texts / 2);
    let most = 0;
    for (const column of columns) most = Math.max(most, Math.abs(studentT(column, high)));
    sameTexts[draw] = fTail(most * most, 1, texts - 2);

    const sign = design.frames.map(() => rng.integer(2) ? 1 : -1);
    const t = differences.map((x) => Math.abs(pairedT(x, sign, first)));
    const best = t.reduce((at, value, i) => value > t[at] ? i : at, 0);
    const held = pairedT(differences[best], sign, second);
    otherFrames[draw] = fTail(held * held, 1, second.length - 1);
  }
  return { sameTexts, otherFrames };
}

/** Student's t of the texts that are called high against the others. */
function studentT(column: Float64Array, high: Int32Array): number {
  const n = column.length;
  let [sum, squares, chosen] = [0, 0, 0];
  for (const value of column) {
    sum += value;
    squares += value * value;
  }
  for (const text of high) chosen += column[text];
  const [a, b] = [chosen / high.length, (sum - chosen) / (n - high.length)];
  const within = squares - high.length * a * a - (n - high.length) * b * b;
  const variance = Math.max(within, 1e-12 * squares) / (n - 2);
  return (a - b) / Math.sqrt(variance * (1 / high.length + 1 / (n - high.length)));
}

function pairedT(
  x: Float64Array,
  sign: readonly number[],
  frames: readonly number[],
): number {
  const n = frames.length;
  let [sum, squares] = [0, 0];
  for (const frame of frames) {
    sum += sign[frame] * x[frame];
    squares += x[frame] ** 2;
  }
  const rest = Math.max(n * squares - sum * sum, 1e-12 * n * squares);
  return squares > 0 ? sum * Math.sqrt((n - 1) / rest) : 0;
}
