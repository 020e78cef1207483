/**
 * The auxiliary loss that revives dead features (Gao et al., "Scaling and evaluating sparse
 * autoencoders", 2024, appendix A.2):
 *
 *     α · min(1, dead / k_aux) · mean over tokens of ‖ê − e‖²
 *
 * e = x − x̂ is what the live features leave, taken as a constant; ê is its
 * reconstruction from the k_aux most active of the dead features, without b_dec.
 *
 * @module
 */
import { scatterRows, tf, topK } from "../tensor/mod.ts";
import type { Params } from "../training/mod.ts";
import type { SaeWeights } from "./sae.ts";

/** How dead features are revived. */
export interface AuxiliaryOptions {
  /** Numbers of the features that count as dead, ascending. Default: none. */
  dead?: Int32Array;
  /** Dead features a token that take part. Default: dIn / 2. */
  auxK?: number;
  /** α. Default 1/32. */
  auxCoefficient?: number;
}

/** α · min(1, dead / k_aux). */
export function auxiliaryWeight(dead: Int32Array, auxK: number, auxCoefficient: number): number {
  return auxCoefficient * Math.min(1, dead.length / auxK);
}

/**
 * The loss before its weight, and the gradients of what the weight makes of it; none if nothing is
 * dead.
 *
 * @param weights Parameters.
 * @param given `candidates`: ReLU of the pre-activations of some features, `[tokens, features]`.
 * `error`: x̂ − x. `input`: what the encoder saw.
 */
export function auxiliaryLoss(
  { W_enc, W_dec }: SaeWeights,
  given: {
    candidates: (features: tf.Tensor1D) => tf.Tensor2D;
    error: tf.Tensor2D;
    input: tf.Tensor2D;
    dead: Int32Array;
    auxK: number;
    weight: number;
  },
): { aux: tf.Scalar } & Partial<Params> {
  const { error, input, dead, weight } = given;
  if (dead.length === 0 || weight === 0) return { aux: tf.scalar(0) };
  const tokens = error.shape[0];
  const [dIn, dSae] = W_enc.shape;
  const which = tf.tensor1d(dead, "int32");
  const kept = Math.min(Math.max(1, Math.floor(given.auxK)), dead.length);
  const candidates = given.candidates(which);
  const f = kept < dead.length ? scatterRows(topK(candidates, kept), dead.length) : candidates; // [tokens, dead]
  const directions = tf.gather(W_dec, which); // [dead, dOut]
  // error is x̂ − x, so ê − e = ê + error.
  const miss = tf.add(tf.matMul(f, directions), error);
  const aux = tf.div(tf.sum(tf.square(miss)), tokens) as tf.Scalar;
  const gMiss = tf.mul(miss, 2 * weight / tokens);
  const fGrad = tf.mul(
    tf.matMul(gMiss, directions, false, true),
    tf.cast(tf.greater(f, 0), "float32"),
  );
  const place = (rows: tf.Tensor, shape: number[]) =>
    tf.scatterND(tf.reshape(which, [dead.length, 1]), rows, shape);
  return {
    aux,
    W_dec: place(tf.matMul(f, gMiss, true), [dSae, W_dec.shape[1]]),
    W_enc: tf.transpose(place(tf.matMul(fGrad, input, true), [dSae, dIn])),
    b_enc: tf.squeeze(place(tf.expandDims(tf.sum(fGrad, 0), 1), [dSae, 1]), [1]),
  };
}
