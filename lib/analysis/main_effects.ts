/**
 * Which factor moves a vector more?
 *
 * @module
 */
import { clusterBootstrap, type Interval } from "../metrics/mod.ts";
import { columnMeans, contrastRows, takeRows } from "./frames.ts";

/** Sizes of both main effects of a vector. */
export interface MainEffects {
  /** Size of factor A's effect, in units of the vector. */
  readonly a: Interval;
  /** Size of factor B's. */
  readonly b: Interval;
  /** a − b, paired by frame. */
  readonly difference: Interval;
}

/**
 * Sizes of the main effects: how far a factor moves the vectors of confirmation frames in the direction
 * in which it moved those of the selection frames. Without an effect that is 0, where a norm is not.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { mainEffects } from "interlens";
 *
 * // Four frames of four cells in two dimensions: A moves the first by 3, B the second by 1.
 * const frame = [[3, 1], [3, 0], [0, 1], [0, 0]].flat();
 * const matrix = Float32Array.from([frame, frame, frame, frame].flat());
 * const { a, b, difference } = mainEffects(matrix, 2, { selection: [0, 1], confirmation: [2, 3] });
 * assertAlmostEquals(a.estimate, 3);
 * assertAlmostEquals(b.estimate, 1);
 * assertAlmostEquals(difference.estimate, 2);
 * ```
 *
 * @param matrix Vectors of all stimuli, `[stimuli, width]`.
 * @param options Numbers of the frames that give directions, and of those that are measured.
 */
export function mainEffects(
  matrix: Float32Array,
  width: number,
  { selection, confirmation, seed }: {
    selection: readonly number[];
    confirmation: readonly number[];
    seed?: number;
  },
): MainEffects {
  const [chosenOn, measuredOn] = [selection, confirmation]
    .map((frames) => contrastRows(takeRows(matrix, width, frames), width));
  const [a, b] = (["factorA", "factorB"] as const).map((factor) => {
    const direction = columnMeans(chosenOn[factor], width);
    const length = Math.sqrt(direction.reduce((sum, x) => sum + x * x, 0)) || 1;
    return Float64Array.from({ length: confirmation.length }, (_, frame) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += measuredOn[factor][frame * width + i] * direction[i];
      return sum / length;
    });
  });
  const n = confirmation.length;
  return {
    a: clusterBootstrap([a], ([sum]) => sum / n, { seed }),
    b: clusterBootstrap([b], ([sum]) => sum / n, { seed }),
    difference: clusterBootstrap([a, b], ([sumA, sumB]) => (sumA - sumB) / n, { seed }),
  };
}
