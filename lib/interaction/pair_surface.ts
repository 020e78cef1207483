/**
 * What a factorization machine predicts for two features together, over both of their activations.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { Nfm } from "./nfm.ts";
import type { Pair } from "./pairs.ts";

/** The effect of two features along a direction, together and added up. */
export interface PairSurface {
  readonly pair: Pair;
  /** Activations of the first feature, from 0 on. */
  readonly first: readonly number[];
  /** Activations of the second feature, from 0 on. */
  readonly second: readonly number[];
  /** Effect of both, `[second, first]`, in the units of the residual. */
  readonly joint: readonly (readonly number[])[];
  /** Sum of the effects of each alone, `[second, first]`. */
  readonly additive: readonly (readonly number[])[];
  /** The direction, of length 1, `[dOut]`. */
  readonly direction: Float32Array;
}

/** Over what; see {@linkcode pairSurface}. */
export interface PairSurfaceOptions {
  /** Largest activations of the two, in the units of the dictionary. Default 1 each. */
  largest?: readonly [number, number];
  /** Activations of each, evenly from 0 to the largest. Default 21. */
  points?: number;
  /**
   * Where the effect is looked at, `[dOut]`, of any length. Default: where the two do together what
   * neither does alone, at their largest activations.
   */
  direction?: ArrayLike<number>;
}

/**
 * The predicted effect of two features on the residual while no other is active, over a grid of their
 * activations, beside what adding up each alone predicts:
 *
 *     joint(a, b) = u · (r̂(a, b) − r̂(0, 0)),  additive(a, b) = joint(a, 0) + joint(0, b)
 *
 * With the linear head their difference is `a b u · T_ij`, whatever else is active; with another head it
 * is that of the two by themselves.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Nfm, openDevice, pairSurface, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "both", dSae: 2, dOut: 2, K: 1, head: "linear", topN: 2 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.tensor1d([7, 7]),
 *   W: tf.tensor2d([[1, 0], [2, 0]]),
 *   V: tf.tensor2d([[1], [1]]),
 *   C: tf.tensor2d([[3, 0]]), // the pair acts along the first dimension
 * });
 * const { joint, additive } = await pairSurface(nfm, [0, 1], { points: 2 });
 * assertEquals(additive, [[0, 1], [2, 3]]);
 * assertEquals(joint, [[0, 1], [2, 6]]);
 * nfm.dispose();
 * ```
 *
 * @param nfm A model that sees at least two features a token.
 * @param pair Two features.
 * @param options Over what, and along which direction.
 * @throws {RangeError} If the features are not two of the model's, an activation is not above 0, there
 * are fewer than two points, or the direction is 0 or of another width.
 */
export async function pairSurface(
  nfm: Nfm,
  pair: Pair,
  { largest = [1, 1], points = 21, direction }: PairSurfaceOptions = {},
): Promise<PairSurface> {
  const { dSae, dOut, topN } = nfm.shape;
  const [i, j] = pair;
  if (i === j || pair.some((f) => !Number.isInteger(f) || f < 0 || f >= dSae) || topN < 2) {
    throw new RangeError(
      `Cannot draw the surface of features ${i} and ${j}: expected two of the ${dSae} of a model that ` +
        `sees at least 2 a token, it sees ${topN}`,
    );
  }
  if (!largest.every((value) => value > 0 && Number.isFinite(value))) {
    throw new RangeError(
      `Cannot go up to activations of ${largest.join(" and ")}: expected above 0`,
    );
  }
  if (!Number.isInteger(points) || points < 2) {
    throw new RangeError(`Cannot draw a surface of ${points} points a side: expected at least 2`);
  }
  const axis = (end: number) =>
    Array.from({ length: points }, (_, n) => Number((end * n / (points - 1)).toPrecision(6)));
  const [first, second] = largest.map(axis);
  const at = second.flatMap((b) => first.map((a) => [a, b]));
  const effects = tf.tidy(() => {
    const codes = {
      indices: tf.tile(tf.tensor2d([[i, j]], [1, 2], "int32"), [at.length, 1]) as tf.Tensor2D,
      values: tf.tensor2d(at),
    };
    const out = nfm.predict(codes);
    return tf.sub(out, tf.slice(out, [0, 0], [1, dOut]));
  });
  const values = await effects.data<"float32">(); // [second · first, dOut]
  effects.dispose();
  const vector = (b: number, a: number) => {
    const start = (b * points + a) * dOut;
    return values.subarray(start, start + dOut);
  };
  const end = points - 1;
  const u = unit(
    direction ?? vector(end, end).map((value, d) => value - vector(end, 0)[d] - vector(0, end)[d]),
    // Where nothing is beyond the sum, along what the sum does.
    direction ? undefined : vector(end, end),
    dOut,
  );
  const along = (b: number, a: number) =>
    vector(b, a).reduce((sum, value, d) => sum + value * u[d], 0);
  const grid = (of: (b: number, a: number) => number) =>
    second.map((_, b) => first.map((_, a) => of(b, a)));
  return {
    pair,
    first,
    second,
    joint: grid(along),
    additive: grid((b, a) => along(b, 0) + along(0, a)),
    direction: u,
  };
}

function unit(
  direction: ArrayLike<number>,
  instead: ArrayLike<number> | undefined,
  width: number,
): Float32Array {
  for (const vector of [direction, instead]) {
    if (!vector) continue;
    const length = Math.hypot(...Array.from(vector));
    // What rounding leaves of a difference of 0 is no direction.
    const least = instead ? 1e-6 * Math.hypot(...Array.from(instead)) : 0;
    if (vector.length === width && Number.isFinite(length) && length > least) {
      return Float32Array.from(vector, (value) => value / length);
    }
  }
  throw new RangeError(
    `Cannot look along a direction of ${direction.length} elements: expected ${width} that are not all ` +
      "0, or a pair that does something",
  );
}
