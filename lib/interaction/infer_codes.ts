/**
 * Codes of a dictionary by optimisation: what its one-pass encoder approximates.
 *
 * An encoder of one layer cannot tell features that interfere apart, and its mistakes are functions of
 * several features at once; a model of its residual finds them as interactions. Codes that
 * solve the dictionary's own problem have fewer of them.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** How to infer. */
export interface InferOptions {
  /** λ of the L1 penalty that chooses the support, for decoder rows of norm 1. Default 0.2. */
  l1?: number;
  /** Iterations of FISTA. Default 200. */
  iterations?: number;
  /** Most active features a token. Default: as many as the penalty leaves. */
  maxActive?: number;
}

/**
 * Nonnegative codes of a decoder: the support from FISTA (Beck & Teboulle, 2009) on
 * `½‖x − b − f W‖² + λ‖f‖₁`, the values from least squares on this support by as many projected
 * gradient steps without penalty.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { inferCodes, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const W = tf.tensor2d([[1, 0], [0.6, 0.8]]);
 * const f = tf.tensor2d([[2, 0], [1, 3]]);
 * const found = await inferCodes(tf.matMul(f, W), W).data();
 * [2, 0, 1, 3].forEach((value, i) => assertAlmostEquals(found[i], value, 1e-3));
 * ```
 *
 * @param x Activations less the decoder's bias, `[tokens, d]`.
 * @param W Decoder, rows of about norm 1, `[features, d]`.
 * @param options How.
 * @returns Dense codes, `[tokens, features]`, the caller's.
 */
export function inferCodes(
  x: tf.Tensor2D,
  W: tf.Tensor2D,
  options: InferOptions = {},
): tf.Tensor2D {
  const { l1 = 0.2, iterations = 200, maxActive = W.shape[0] } = options;
  return tf.tidy((): tf.Tensor2D => {
    const gram = tf.matMul(W, W, false, true);
    const right = tf.matMul(x, W, false, true);
    // An upper bound of the largest eigenvalue of a symmetric matrix: its largest row sum.
    const step = tf.div(1, tf.max(tf.sum(tf.abs(gram), 1)));
    const descend = (mask: tf.Tensor | undefined, penalty: number) => {
      let [f, y] = [tf.zerosLike(right), tf.zerosLike(right)] as tf.Tensor2D[];
      let t = 1;
      for (let i = 0; i < iterations; i++) {
        const next = (1 + Math.sqrt(1 + 4 * t * t)) / 2;
        const moved = tf.tidy(() => {
          const gradient = tf.add(tf.sub(tf.matMul(y, gram), right), penalty);
          let g = tf.relu(tf.sub(y, tf.mul(step, gradient)));
          if (mask) g = tf.mul(g, mask);
          return [g, tf.add(g, tf.mul(tf.sub(g, f), (t - 1) / next))] as tf.Tensor2D[];
        });
        tf.dispose([f, y]);
        [f, y] = moved;
        t = next;
      }
      y.dispose();
      return f;
    };
    const sparse = descend(undefined, l1);
    const least = maxActive < W.shape[0]
      ? tf.slice(tf.topk(sparse, maxActive).values, [0, maxActive - 1], [-1, 1])
      : tf.scalar(0);
    const kept = tf.logicalAnd(tf.greater(sparse, 0), tf.greaterEqual(sparse, least));
    return descend(tf.cast(kept, "float32"), 0);
  });
}
