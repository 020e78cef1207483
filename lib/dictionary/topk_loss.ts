/**
 * Loss and gradients of the TopK dictionary, with the auxiliary loss that revives dead
 * features (Gao et al., "Scaling and evaluating sparse autoencoders", 2024):
 *
 *     L = mean over tokens of ‖x̂ − x‖² + α · min(1, dead / k_aux) · ‖ê − e‖²
 *
 * e = x − x̂ is what the live features leave, taken as a constant; ê is its
 * reconstruction from the k_aux most active of the dead features, without b_dec.
 *
 * Only k features a token have a gradient. Products with them are computed on index and
 * value pairs where that is faster than on dense rows with zeros.
 *
 * @module
 */
import { scatterRows, type SparseCodes, tf, topK, transposedProduct } from "../tensor/mod.ts";
import type { StepResult } from "../training/mod.ts";
import { auxiliaryLoss, auxiliaryWeight } from "./aux_loss.ts";
import { batchFvu, biasGrads, errorOf, inputOf } from "./closed_form.ts";
import type { SaeWeights } from "./sae.ts";

/** How a step of a `topk` dictionary is computed. */
export interface TopkLossOptions {
  /** Active features a token. */
  k: number;
  /** Numbers of the features that count as dead, ascending. Default: none. */
  dead?: Int32Array;
  /** Dead features a token that take part in the auxiliary loss. Default: dIn / 2. */
  auxK?: number;
  /** α. Default 1/32. */
  auxCoefficient?: number;
  /** Whether weight gradients are scattered or dense products. Default: by measured cost. */
  path?: "sparse" | "dense";
}

/** Above this many features for each active one, scattered rows beat dense products with zeros. */
const SPARSE_FROM = 100;

/**
 * One step of a `topk` dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, topkLoss } from "interlens";
 *
 * await openDevice();
 * const weights = {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.tensor1d([0, 0]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.tensor1d([0]),
 * };
 * // Of f = [2, 1] only the 2 stays: x̂ = x.
 * const { scalars, codes } = topkLoss(weights, tf.tensor2d([[2]]), { k: 1 });
 * assertEquals([...await scalars.loss.data(), ...await codes.indices.data()], [0, 0]);
 * ```
 *
 * @param weights Parameters.
 * @param x Activations, `[tokens, dIn]`.
 * @param options Its constants.
 * @returns Gradients by name; `loss`, `fvu` (of this batch) and `aux` (‖ê − e‖² a token, 0 without
 * dead features); and the codes, which belong to the caller.
 */
export function topkLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: TopkLossOptions,
): StepResult & { codes: SparseCodes } {
  const { W_enc, b_enc, W_dec } = weights;
  const { k, dead = new Int32Array(0), auxK = x.shape[1] / 2, auxCoefficient = 1 / 32 } = options;
  const [tokens, dIn] = x.shape;
  const dSae = W_enc.shape[1];
  const sparse = (options.path ?? (dSae > SPARSE_FROM * k ? "sparse" : "dense")) === "sparse";
  return tf.tidy(() => {
    const data = { x };
    const input = inputOf(weights, data);
    const positive = tf.fused.matMul({ a: input, b: W_enc, bias: b_enc, activation: "relu" });
    const codes = topK(positive as tf.Tensor2D, k);
    const { indices, values } = codes;
    const rows = tf.gather(W_dec, indices); // [tokens, k, dIn]
    const decoded = tf.reshape(tf.matMul(tf.expandDims(values, 1), rows), [tokens, dIn]);
    const error = errorOf(weights, data, decoded);
    const squaredError = tf.div(tf.sum(tf.square(error)), tokens);

    const gError = tf.mul(error, 2 / tokens) as tf.Tensor2D; // ∂L/∂x̂
    const dot = tf.reshape(tf.matMul(rows, tf.expandDims(gError, 2)), [tokens, k]);
    const valueGrad = tf.mul(dot, tf.cast(tf.greater(values, 0), "float32")) as tf.Tensor2D;

    let W_encGrad, W_decGrad, b_encGrad: tf.Tensor;
    if (sparse) {
      const preGrad = { indices, values: valueGrad };
      W_decGrad = transposedProduct(codes, gError, dSae);
      W_encGrad = tf.transpose(transposedProduct(preGrad, input, dSae));
      b_encGrad = tf.squeeze(transposedProduct(preGrad, tf.ones([tokens, 1]), dSae), [1]);
    } else {
      const preGrad = scatterRows({ indices, values: valueGrad }, dSae);
      W_decGrad = tf.matMul(scatterRows(codes, dSae), gError, true);
      W_encGrad = tf.transpose(tf.matMul(preGrad, input, true));
      b_encGrad = tf.sum(preGrad, 0);
    }

    const weight = auxiliaryWeight(dead, auxK, auxCoefficient);
    const revive = auxiliaryLoss(weights, {
      candidates: (which) => tf.gather(positive as tf.Tensor2D, which, 1),
      ...{ error, input, dead, auxK, weight },
    });
    const total = <T extends tf.Tensor>(main: T, more?: tf.Tensor) =>
      more ? tf.add(main, more) as T : main;
    b_encGrad = total(b_encGrad, revive.b_enc);
    const loss = tf.add(squaredError, tf.mul(revive.aux, weight)) as tf.Scalar;
    return {
      grads: {
        W_enc: total(W_encGrad, revive.W_enc),
        b_enc: b_encGrad,
        W_dec: total(W_decGrad, revive.W_dec),
        ...biasGrads(weights, data, gError, b_encGrad),
      },
      scalars: { loss, fvu: batchFvu(data, squaredError), aux: revive.aux },
      codes: { indices, values },
    };
  });
}
