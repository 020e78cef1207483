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
import {
  embeddingBag,
  scatterAddRows,
  scatterRows,
  type SparseCodes,
  tf,
  topK,
} from "../tensor/mod.ts";
import type { StepResult } from "../training/mod.ts";
import { reluPreActivations, type SaeWeights } from "./sae.ts";
import { batchFvu, biasGrad } from "./standard_loss.ts";

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
  const { W_enc, W_dec, b_dec } = weights;
  const { k, dead = new Int32Array(0), auxK = x.shape[1] / 2, auxCoefficient = 1 / 32 } = options;
  const [tokens, dIn] = x.shape;
  const dSae = W_enc.shape[1];
  const sparse = (options.path ?? (dSae > SPARSE_FROM * k ? "sparse" : "dense")) === "sparse";
  return tf.tidy(() => {
    const positive = reluPreActivations(weights, x); // [tokens, dSae]
    const codes = topK(positive, k);
    const { indices, values } = codes;
    const error = tf.sub(tf.add(embeddingBag(codes, W_dec), b_dec), x) as tf.Tensor2D;
    const squaredError = tf.div(tf.sum(tf.square(error)), tokens);

    const gError = tf.mul(error, 2 / tokens) as tf.Tensor2D; // ∂L/∂x̂
    const rows = tf.gather(W_dec, indices); // [tokens, k, dIn]
    const dot = tf.reshape(tf.matMul(rows, tf.reshape(gError, [tokens, dIn, 1])), [tokens, k]);
    const valueGrad = tf.mul(dot, tf.cast(tf.greater(values, 0), "float32")) as tf.Tensor2D;
    const input = tf.sub(x, b_dec) as tf.Tensor2D;

    let W_encGrad, W_decGrad, b_encGrad: tf.Tensor;
    if (sparse) {
      const outer = (pairs: tf.Tensor, vectors: tf.Tensor) =>
        tf.mul(tf.reshape(pairs, [tokens, k, 1]), tf.reshape(vectors, [tokens, 1, dIn]));
      W_decGrad = scatterAddRows(indices, outer(values, gError), dSae);
      W_encGrad = tf.transpose(scatterAddRows(indices, outer(valueGrad, input), dSae));
      b_encGrad = tf.squeeze(
        scatterAddRows(indices, tf.reshape(valueGrad, [tokens, k, 1]), dSae),
        [1],
      );
    } else {
      const preGrad = scatterRows({ indices, values: valueGrad }, dSae);
      W_decGrad = tf.matMul(scatterRows(codes, dSae), gError, true);
      W_encGrad = tf.transpose(tf.matMul(preGrad, input, true));
      b_encGrad = tf.sum(preGrad, 0);
    }

    let aux: tf.Tensor = tf.scalar(0);
    if (dead.length > 0) {
      const weight = auxCoefficient * Math.min(1, dead.length / auxK);
      const revive = auxiliary(weights, { positive, error, input, dead, auxK, weight });
      aux = revive.aux;
      W_encGrad = tf.add(W_encGrad, revive.W_encGrad);
      W_decGrad = tf.add(W_decGrad, revive.W_decGrad);
      b_encGrad = tf.add(b_encGrad, revive.b_encGrad);
    }
    const loss = tf.add(
      squaredError,
      tf.mul(aux, auxCoefficient * Math.min(1, dead.length / auxK)),
    ) as tf.Scalar;
    return {
      grads: {
        W_enc: W_encGrad,
        b_enc: b_encGrad,
        W_dec: W_decGrad,
        b_dec: biasGrad(gError, b_encGrad, W_enc),
      },
      scalars: { loss, fvu: batchFvu(x, squaredError), aux: aux as tf.Scalar },
      codes: { indices, values },
    };
  });
}

/** The auxiliary loss, on the columns of the dead features only. */
function auxiliary(
  { W_enc, W_dec }: SaeWeights,
  given: {
    positive: tf.Tensor2D;
    error: tf.Tensor2D;
    input: tf.Tensor2D;
    dead: Int32Array;
    auxK: number;
    weight: number;
  },
) {
  const { positive, error, input, dead, weight } = given;
  const tokens = error.shape[0];
  const [dIn, dSae] = W_enc.shape;
  const which = tf.tensor1d(dead, "int32");
  const kept = Math.min(Math.max(1, Math.floor(given.auxK)), dead.length);
  const candidates = tf.gather(positive, which, 1);
  const f = kept < dead.length ? scatterRows(topK(candidates, kept), dead.length) : candidates; // [tokens, dead]
  const directions = tf.gather(W_dec, which); // [dead, dIn]
  // error is x̂ − x, so ê − e = ê + error.
  const miss = tf.add(tf.matMul(f, directions), error);
  const aux = tf.div(tf.sum(tf.square(miss)), tokens);
  const gMiss = tf.mul(miss, 2 * weight / tokens);
  const fGrad = tf.mul(
    tf.matMul(gMiss, directions, false, true),
    tf.cast(tf.greater(f, 0), "float32"),
  );
  const place = (rows: tf.Tensor, shape: [number, number]) =>
    tf.scatterND(tf.reshape(which, [dead.length, 1]), rows, shape);
  return {
    aux,
    W_decGrad: place(tf.matMul(f, gMiss, true), [dSae, dIn]),
    W_encGrad: tf.transpose(place(tf.matMul(fGrad, input, true), [dSae, dIn])),
    b_encGrad: tf.squeeze(place(tf.expandDims(tf.sum(fGrad, 0), 1), [dSae, 1]), [1]),
  };
}
