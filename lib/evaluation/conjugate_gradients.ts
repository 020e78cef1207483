/**
 * Conjugate gradients (Hestenes & Stiefel, 1952) for several right-hand sides at once.
 *
 * Each column has its own step lengths; the product with the matrix, which is all the
 * work, is shared. The matrix may be a function that multiplies, and is never made then. It runs on
 * any backend, where a factorisation would need one library each.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** A matrix, or what multiplies by one: `[n, columns]` to as much, which is the caller's. */
export type Multiplier = tf.Tensor2D | ((P: tf.Tensor2D) => Promise<tf.Tensor2D>);

/** When to stop. */
export interface ConjugateGradientOptions {
  /** Norm of what is left, relative to the right-hand side, of the worst column. Default 1e-5. */
  tolerance?: number;
  /** Products with the matrix at most. Default 500. */
  iterations?: number;
}

/**
 * Solves `A X = B`.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { conjugateGradients, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const X = await conjugateGradients(tf.tensor2d([[2, 1], [1, 3]]), tf.tensor2d([[3], [4]]));
 * const [x, y] = await X.data();
 * assertAlmostEquals(x, 1, 1e-4);
 * assertAlmostEquals(y, 1, 1e-4);
 * ```
 *
 * @param A Symmetric, positive definite, `[n, n]`.
 * @param B `[n, columns]`.
 * @param options When to stop.
 * @returns `[n, columns]`, the caller's.
 */
export async function conjugateGradients(
  A: Multiplier,
  B: tf.Tensor2D,
  options: ConjugateGradientOptions = {},
): Promise<tf.Tensor2D> {
  const { tolerance = 1e-5, iterations = 500 } = options;
  // [columns]; a column of zeros is solved by zeros.
  const floor = tf.tidy(() => tf.maximum(tf.mul(tf.sum(tf.square(B), 0), tolerance ** 2), 1e-30));
  let X = tf.zerosLike(B);
  let R = tf.clone(B);
  let P = tf.clone(B);
  let rr = tf.tidy(() => tf.sum(tf.square(B), 0));
  for (let i = 0; i < iterations; i++) {
    const worst = tf.tidy(() => tf.max(tf.div(rr, floor)));
    const [left] = await worst.data();
    worst.dispose();
    if (!(left > 1)) break;
    const AP = typeof A === "function" ? await A(P) : tf.matMul(A, P);
    const next = tf.tidy(() => {
      const alpha = tf.div(rr, tf.maximum(tf.sum(tf.mul(P, AP), 0), 1e-30));
      const nextR = tf.sub(R, tf.mul(AP, alpha)) as tf.Tensor2D;
      const nextRr = tf.sum(tf.square(nextR), 0);
      const beta = tf.div(nextRr, tf.maximum(rr, 1e-30));
      return {
        X: tf.add(X, tf.mul(P, alpha)) as tf.Tensor2D,
        R: nextR,
        P: tf.add(nextR, tf.mul(P, beta)) as tf.Tensor2D,
        rr: nextRr,
      };
    });
    tf.dispose([X, R, P, rr, AP]);
    ({ X, R, P, rr } = next);
  }
  tf.dispose([R, P, rr, floor]);
  return X;
}
