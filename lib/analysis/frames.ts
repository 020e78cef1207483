/**
 * Parts of what was measured, and effects by frame of many columns at once.
 *
 * @module
 */
import { contrasts } from "../metrics/mod.ts";
import { type StimulusCodes, type StimulusTokens, vectorCellsOf } from "./measure.ts";

/** Rows of the stimuli of some frames, in the order of the design, `[4 · frames, width]`. */
export function takeRows(
  matrix: Float32Array,
  width: number,
  frames: readonly number[],
): Float32Array {
  const rows = new Float32Array(4 * frames.length * width);
  for (const [i, frame] of frames.entries()) {
    rows.set(matrix.subarray(4 * frame * width, 4 * (frame + 1) * width), 4 * i * width);
  }
  return rows;
}

/** What was measured of some frames, by their numbers. */
export function takeFrames(codes: StimulusCodes, frames: readonly number[]): StimulusCodes {
  const { design, features, dSae, activations, dModel, tokens } = codes;
  const stimuli = frames.flatMap((frame) => [0, 1, 2, 3].map((cell) => 4 * frame + cell));
  const place = new Map(stimuli.map((stimulus, i) => [stimulus, i]));
  return {
    ...codes,
    design: {
      ...design,
      frames: frames.map((frame) => design.frames[frame]),
      stimuli: stimuli.map((stimulus) => design.stimuli[stimulus]),
    },
    features: takeRows(features, dSae, frames),
    activations: takeRows(activations, dModel, frames),
    tokens: stimuli.map((stimulus) => tokens[stimulus]),
    sinks: codes.sinks.flatMap((stimulus) => place.get(stimulus) ?? []),
    ...codes.read && { read: takeTokens(codes.read, stimuli, dModel) },
  };
}

function takeTokens({ x, starts }: StimulusTokens, stimuli: readonly number[], width: number) {
  const taken = new Int32Array(stimuli.length + 1);
  for (const [i, stimulus] of stimuli.entries()) {
    taken[i + 1] = taken[i] + starts[stimulus + 1] - starts[stimulus];
  }
  const rows = new Float32Array(taken.at(-1)! * width);
  for (const [i, stimulus] of stimuli.entries()) {
    rows.set(x.subarray(starts[stimulus] * width, starts[stimulus + 1] * width), taken[i] * width);
  }
  return { x: rows, starts: taken };
}

/** An effect of a crossed design. */
export type EffectName = "factorA" | "factorB" | "interaction";

/** Contrasts of many columns by frame, `[frames, width]`. */
export function contrastRows(
  matrix: Float32Array,
  width: number,
): Record<EffectName, Float64Array> {
  const frames = Array.from({ length: matrix.length / width / 4 }, (_, i) => `${i}`);
  return contrasts(vectorCellsOf({ name: "a matrix", frames }, matrix, width));
}

/** The mean over frames of each column. */
export function columnMeans(rows: Float64Array, width: number): Float64Array {
  const mean = new Float64Array(width);
  for (let i = 0; i < rows.length; i++) mean[i % width] += rows[i] / (rows.length / width);
  return mean;
}

/**
 * Student's t of each column over frames whose signs may be changed; 0 where nothing varies from 0.
 *
 * @param signs One a frame, 1 or −1.
 */
export function tOfColumns(rows: Float64Array, width: number, signs?: Int8Array): Float64Array {
  const n = rows.length / width;
  const [sum, squares] = [new Float64Array(width), new Float64Array(width)];
  for (let frame = 0, at = 0; frame < n; frame++) {
    const sign = signs ? signs[frame] : 1;
    for (let j = 0; j < width; j++, at++) {
      sum[j] += sign * rows[at];
      squares[j] += rows[at] * rows[at];
    }
  }
  return sum.map((total, j) => {
    const variance = (squares[j] - total * total / n) / (n - 1);
    // The same number in every frame has no variance but that of rounding.
    const spread = Math.sqrt(Math.max(variance, 1e-12 * squares[j] / n) / n);
    return spread > 0 ? total / n / spread : 0;
  });
}

/** The column of the largest absolute value. */
export function strongest(values: ArrayLike<number>, except?: number): number {
  let best = except === 0 ? 1 : 0;
  for (let j = 0; j < values.length; j++) {
    if (j !== except && Math.abs(values[j]) > Math.abs(values[best])) best = j;
  }
  return best;
}
