/**
 * What the losses of all dictionaries have in common: the error of a reconstruction, and the
 * gradients of the affine maps around a code, written out.
 *
 * Codes are kept feature-major, `[dSae, tokens]`: all products are fast in it.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { isNative, rawOp } from "../tensor/native.ts";
import type { Params } from "../training/mod.ts";
import type { SaeWeights } from "./sae.ts";

/** What a step reads. */
export interface StepData {
  /** Activations, `[tokens, dIn]`. */
  readonly x: tf.Tensor2D;
  /** What a transcoder predicts, `[tokens, dOut]`. Default: x itself, of an autoencoder. */
  readonly target?: tf.Tensor2D;
}

/** What the encoder sees, `[tokens, dIn]`. */
export function inputOf({ b_dec }: SaeWeights, { x, target }: StepData): tf.Tensor2D {
  return target ? x : tf.sub(x, b_dec);
}

/** `x̂ − y`, `[tokens, dOut]`, of `f W_dec` without biases. */
export function errorOf(
  { b_dec, W_skip }: SaeWeights,
  { x, target = x }: StepData,
  decoded: tf.Tensor,
): tf.Tensor2D {
  const skipped = W_skip ? tf.add(decoded, tf.matMul(x, W_skip, false, true)) : decoded;
  return tf.sub(tf.add(skipped, b_dec), target);
}

/**
 * Gradients of a loss with respect to the four parameters, or five with a skip connection.
 *
 * @param weights Parameters.
 * @param data What the step read.
 * @param parts `input`: what the encoder saw. `f`: codes, `[dSae, tokens]`. `preGrad`: ∂L/∂(input
 * W_enc), `[dSae, tokens]`. `gError`: ∂L/∂x̂, `[tokens, dOut]`. `decGrad`: what else of the loss
 * depends on W_dec.
 */
export function linearGrads(
  weights: SaeWeights,
  data: StepData,
  { input, f, preGrad, gError, decGrad }: {
    input: tf.Tensor2D;
    f: tf.Tensor2D;
    preGrad: tf.Tensor2D;
    gError: tf.Tensor2D;
    decGrad?: tf.Tensor;
  },
): Params {
  const W_dec = tf.matMul(f, gError);
  const b_enc = tf.sum(preGrad, 1);
  return {
    W_enc: tf.transpose(tf.matMul(preGrad, input)),
    b_enc,
    W_dec: decGrad ? tf.add(W_dec, decGrad) : W_dec,
    ...biasGrads(weights, data, gError, b_enc),
  };
}

/** Gradients of b_dec, and of W_skip if there is one. */
export function biasGrads(
  { W_enc, W_skip }: SaeWeights,
  { x, target }: StepData,
  gError: tf.Tensor2D,
  b_encGrad: tf.Tensor,
): Params {
  return {
    b_dec: target ? tf.sum(gError, 0) : biasGrad(gError, b_encGrad, W_enc),
    ...W_skip && { W_skip: tf.matMul(gError, x, true) },
  };
}

/** b_dec acts twice: on the reconstruction, and negatively on what the encoder sees. */
function biasGrad(gError: tf.Tensor, b_encGrad: tf.Tensor, W_enc: tf.Tensor2D): tf.Tensor {
  const throughInput = tf.matMul(W_enc, tf.expandDims(b_encGrad, 1));
  return tf.sub(tf.sum(gError, 0), tf.squeeze(throughInput, [1]));
}

/** Norm of each decoder row, `[dSae]`. */
export function decoderNorms(W_dec: tf.Tensor2D): tf.Tensor1D {
  return tf.sqrt(tf.sum(tf.square(W_dec), 1)) as tf.Tensor1D;
}

/** Gradient of `Σ_i a_i ‖d_i‖` with respect to W_dec; a row of zeros has no direction, and none. */
export function normGrad(W_dec: tf.Tensor2D, norms: tf.Tensor1D, a: tf.Tensor): tf.Tensor2D {
  return tf.mul(W_dec, tf.expandDims(tf.div(a, tf.maximum(norms, 1e-12)), 1));
}

/**
 * `W_dec gErrorᵀ + c ‖d‖`, `[dSae, tokens]`: the gradient of a squared error and of a penalty on
 * `f ‖d‖` with respect to f, the penalty as one more column of the factors.
 */
export function codeGrad(
  W_dec: tf.Tensor2D,
  gError: tf.Tensor2D,
  penalty?: { norms: tf.Tensor1D; coefficient: number },
): tf.Tensor2D {
  if (!penalty) return tf.matMul(W_dec, gError, false, true);
  const { norms, coefficient } = penalty;
  return tf.matMul(
    tf.concat([W_dec, tf.expandDims(norms, 1)], 1),
    tf.concat([gError, tf.fill([gError.shape[0], 1], coefficient)], 1),
    false,
    true,
  );
}

/** A gradient where a code is active, else 0. */
export function whereActive(gradient: tf.Tensor2D, f: tf.Tensor2D): tf.Tensor2D {
  return isNative()
    ? rawOp("ReluGrad", { T: { dtype: "float32" } }, [gradient, f]) as tf.Tensor2D
    : tf.mul(gradient, tf.step(f));
}

/** FVU of one batch about its own mean: noisy, for the progress line only. */
export function batchFvu({ x, target = x }: StepData, squaredErrorPerToken: tf.Tensor): tf.Scalar {
  const variation = tf.sum(tf.square(tf.sub(target, tf.mean(target, 0))));
  return tf.div(tf.mul(squaredErrorPerToken, x.shape[0]), variation) as tf.Scalar;
}
