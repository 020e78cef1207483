/**
 * Loss and gradients of a factorization machine: the mean squared error of the scaled
 * residual, with every gradient in closed form.
 *
 * @module
 */
import { type SparseCodes, tf } from "../tensor/mod.ts";
import type { Params, StepResult } from "../training/mod.ts";
import type { NfmWeights } from "./nfm.ts";
import {
  linearTerm,
  linearTermGrad,
  type Path,
  pooledProducts,
  pooledProductsGrad,
} from "./nfm_terms.ts";

/**
 * One step.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nfmLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const codes = { indices: tf.tensor2d([[0, 1]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * const weights = { b: tf.tensor1d([0]), V: tf.tensor2d([[1], [1]]), C: tf.tensor2d([[1]]) };
 * // The one pair has the product 6, and the target is 5.
 * const { scalars, grads } = nfmLoss(weights, codes, tf.tensor2d([[5]]));
 * assertEquals([...await scalars.loss.data(), ...await grads.C.data()], [1, 2 * 6]);
 * ```
 *
 * @param weights Parameters.
 * @param codes Scaled codes, `[tokens, n]`.
 * @param target Scaled residual, `[tokens, dOut]`.
 * @param options `keep`: what each pooled product is multiplied by, `[tokens, K]` (dropout);
 * `path`: how products with codes are computed, default the faster for each.
 * @returns Gradients by name, and the `loss`: the mean squared error an element, 1 for predicting 0.
 */
export function nfmLoss(
  weights: NfmWeights,
  codes: SparseCodes,
  target: tf.Tensor2D,
  options: { keep?: tf.Tensor2D; path?: Path } = {},
): StepResult {
  const { b, W, V, C, W1, b1, W2 } = weights;
  const dSae = (W ?? V)!.shape[0];
  const { path, keep } = options;
  return tf.tidy(() => {
    let prediction = tf.zeros(target.shape) as tf.Tensor2D;
    if (W) prediction = linearTerm(codes, W, path);
    let pooled: tf.Tensor2D | undefined,
      S: tf.Tensor2D | undefined,
      hidden: tf.Tensor2D | undefined;
    if (V) {
      ({ pooled, S } = pooledProducts(codes, V, path));
      if (keep) pooled = tf.mul(pooled, keep) as tf.Tensor2D;
      if (W1) hidden = tf.relu(tf.add(tf.matMul(pooled, W1), b1!)) as tf.Tensor2D;
      prediction = tf.add(prediction, tf.matMul(hidden ?? pooled, (W2 ?? C)!));
    }
    const error = tf.sub(tf.add(prediction, b), target) as tf.Tensor2D;
    const loss = tf.mean(tf.square(error)) as tf.Scalar;
    const g = tf.mul(error, 2 / error.size) as tf.Tensor2D; // ∂L/∂prediction

    const grads: Params = { b: tf.sum(g, 0) };
    if (W) grads.W = linearTermGrad(codes, g, dSae, path);
    if (V) {
      let gPooled: tf.Tensor2D = tf.matMul(g, (W2 ?? C)!, false, true);
      if (hidden) {
        grads.W2 = tf.matMul(hidden, g, true);
        const gHidden = tf.mul(gPooled, tf.cast(tf.greater(hidden, 0), "float32")) as tf.Tensor2D;
        grads.W1 = tf.matMul(pooled!, gHidden, true);
        grads.b1 = tf.sum(gHidden, 0);
        gPooled = tf.matMul(gHidden, W1!, false, true);
      } else {
        grads.C = tf.matMul(pooled!, g, true);
      }
      if (keep) gPooled = tf.mul(gPooled, keep) as tf.Tensor2D;
      grads.V = pooledProductsGrad(codes, V, S!, gPooled, path);
    }
    return { grads, scalars: { loss } };
  });
}
