/**
 * From activations to codes: an affine map, then what decides which features are active.
 *
 * Maps are computed feature-major, `[dSae, tokens]`: on a CPU a product whose result is wide takes
 * nearly twice as long as the transposed one, whose result is tall.
 *
 * @module
 */
import { keepLargest, tf } from "../tensor/mod.ts";
import type { Sae, SaeWeights } from "./sae.ts";

/**
 * `W_encᵀ inputᵀ + b_enc`, `[dSae, tokens]`: a row is a feature.
 *
 * @param input What the encoder sees, `[tokens, dIn]`: `x − b_dec`, or `x` in a transcoder.
 */
export function featureMajor(
  { W_enc, b_enc }: Pick<SaeWeights, "W_enc" | "b_enc">,
  input: tf.Tensor2D,
): tf.Tensor2D {
  return tf.tidy(() => {
    // The bias is cheapest as one more column of the factors.
    const W = tf.concat([W_enc, tf.expandDims(b_enc, 0)], 0);
    const one = tf.concat([input, tf.ones([input.shape[0], 1])], 1);
    return tf.matMul(W, one, true, true);
  });
}

/** `ReLU(W_encᵀ inputᵀ + b_enc)`, `[dSae, tokens]`. */
export function featureMajorCodes(weights: SaeWeights, input: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => tf.relu(featureMajor(weights, input)));
}

/** `x − b_dec`; a transcoder's `b_dec` belongs to another activation. */
export function encoderInput(sae: Sae, x: tf.Tensor2D): tf.Tensor2D {
  return sae.config.dOut === undefined ? tf.sub(x, sae.b_dec) : tf.clone(x);
}

/**
 * What a dictionary's activation function is applied to, `[dSae, tokens]`; of the magnitude, if
 * there is a gate.
 */
export function featureMajorPre(sae: Sae, x: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const input = encoderInput(sae, x);
    const { r_mag, b_mag } = sae;
    if (!r_mag || !b_mag) return featureMajor(sae, input);
    const shared = tf.matMul(sae.W_enc, input, true, true);
    return tf.add(tf.mul(shared, column(tf.exp(r_mag))), column(b_mag)) as tf.Tensor2D;
  });
}

/**
 * The value above which a feature is active, `[dSae]`; undefined where that does not depend on the
 * feature. A gate of the same direction is one, too: `π > 0` if and only if the magnitude is above
 * `b_mag − exp(r_mag) b_gate` (Rajamanoharan et al., "Improving dictionary learning with gated
 * sparse autoencoders", 2024, appendix E).
 */
export function thresholds(weights: SaeWeights): tf.Tensor1D | undefined {
  const { b_enc, r_mag, b_mag, threshold } = weights;
  if (!r_mag || !b_mag) return threshold && tf.clone(threshold);
  return tf.tidy(() => tf.sub(b_mag, tf.mul(tf.exp(r_mag), b_enc)) as tf.Tensor1D);
}

/**
 * Codes from pre-activations.
 *
 * @param pre `[…, dSae]`.
 * @returns The same shape; differentiable in `pre`, whose gradient passes to active features.
 */
export function activate<T extends tf.Tensor>(sae: Sae, pre: T): T {
  return tf.tidy(() => {
    if (sae.config.architecture === "topk") return keepLargest(tf.relu(pre), sae.config.k!);
    const threshold = thresholds(sae);
    return threshold ? keepAbove(pre, threshold) : tf.relu(pre);
  });
}

/**
 * `pre` where it is above a threshold and above 0, else 0.
 *
 * @param pre Any shape.
 * @param threshold Of a shape that broadcasts to it.
 */
export function keepAbove<T extends tf.Tensor>(pre: T, threshold: tf.Tensor): T {
  // A comparison has no gradient in tfjs.
  return tf.customGrad((_, save) => {
    const active = above(pre, threshold);
    (save as unknown as (tensors: tf.Tensor[]) => void)([active]);
    return {
      value: tf.mul(pre, active),
      gradFunc: (dy: tf.Tensor, [active]: tf.Tensor[]) => tf.mul(dy, active),
    };
  })(pre) as T;
}

/** 1 where `pre` is above a threshold and above 0, else 0. */
export function above(pre: tf.Tensor, threshold: tf.Tensor): tf.Tensor {
  return tf.cast(tf.greater(pre, tf.relu(threshold)), "float32");
}

/** A vector as a column, `[n, 1]`. */
export const column = (vector: tf.Tensor): tf.Tensor2D => tf.expandDims(vector, 1) as tf.Tensor2D;
