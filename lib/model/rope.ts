/**
 * Rotary position embedding (Su et al., 2021, equation 34), in the half-split order of Hugging
 * Face: coordinate i is paired with i + d/2, not with its neighbour.
 *
 *     (x_i, x_{i+d/2}) is rotated by p · θ^(-2i/d) at position p
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** Cosines and signed sines of every position. */
export interface RopeTables {
  /** `[position, d_head]` */
  readonly cos: tf.Tensor2D;
  /** `[position, d_head]`, negative in the first half: that half subtracts. */
  readonly sin: tf.Tensor2D;
}

/** Tables for positions 0…positions-1; the angles are computed in float64. */
export function ropeTables(positions: number, dHead: number, theta: number): RopeTables {
  const half = dHead / 2;
  const cos = new Float32Array(positions * dHead);
  const sin = new Float32Array(positions * dHead);
  for (let i = 0; i < half; i++) {
    const frequency = theta ** (-2 * i / dHead);
    for (let p = 0; p < positions; p++) {
      const at = p * dHead + i;
      cos[at] = cos[at + half] = Math.cos(p * frequency);
      sin[at + half] = Math.sin(p * frequency);
      sin[at] = -sin[at + half];
    }
  }
  const shape: [number, number] = [positions, dHead];
  return { cos: tf.tensor2d(cos, shape), sin: tf.tensor2d(sin, shape) };
}

/** Rotates `[batch, head, pos, d_head]` by tables of the positions `pos`. */
export function rotate(x: tf.Tensor4D, { cos, sin }: RopeTables): tf.Tensor4D {
  return tf.tidy(() => {
    const [first, second] = tf.split(x, 2, -1);
    return tf.add(tf.mul(x, cos), tf.mul(tf.concat([second, first], -1), sin));
  });
}
