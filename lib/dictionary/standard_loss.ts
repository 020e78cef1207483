/**
 * Loss and gradients of the ReLU dictionary with an L1 penalty that is weighted by
 * decoder norms (Conerly et al., "Update on how we train SAEs", 2024), which is also
 * the study's:
 *
 *     L = mean over tokens of ‖x̂ − x‖² + λ Σ_i f_i ‖d_i‖
 *
 * The weights make the penalty independent of how a feature's scale is split between
 * its activation and its direction, so no norm has to be constrained. The study's λ of
 * 1 takes the mean over elements and features instead of sums: λ = dIn / dSae here.
 *
 * The gradients are written out: five products of matrices, where automatic
 * differentiation needs six and keeps more in memory. Codes are kept feature-major,
 * `[dSae, tokens]`, in which all five are fast.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { StepResult } from "../training/mod.ts";
import { featureMajorCodes, type SaeWeights } from "./sae.ts";

/**
 * One step of a `standard` dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, standardLoss, tf } from "interlens";
 *
 * await openDevice();
 * const weights = {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.tensor1d([0, 0]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.tensor1d([0]),
 * };
 * // f = [2, 1], x̂ = 3 for x = 2: ‖x̂ − x‖² = 1, and the penalty is 2 + 1.
 * const { scalars, grads } = standardLoss(weights, tf.tensor2d([[2]]), { l1Coefficient: 0.1 });
 * const numbers = [await scalars.l1.data(), await scalars.l0.data()].map(([n]) => n);
 * assertEquals(numbers, [3, 2]);
 * assertEquals(grads.W_enc.shape, [1, 2]);
 * ```
 *
 * @param weights Parameters.
 * @param x Activations, `[tokens, dIn]`.
 * @param options `l1Coefficient`: λ at this step.
 * @returns Gradients by name, and `loss`, `fvu` (of this batch), `l1` (the penalty before λ), `l0`.
 */
export function standardLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: { l1Coefficient: number },
): StepResult {
  const { W_enc, W_dec, b_dec } = weights;
  const { l1Coefficient } = options;
  const tokens = x.shape[0];
  return tf.tidy(() => {
    const input = tf.sub(x, b_dec) as tf.Tensor2D;
    const f = featureMajorCodes(weights, input); // [dSae, tokens]
    const error = tf.sub(tf.add(tf.matMul(f, W_dec, true), b_dec), x) as tf.Tensor2D;
    const norms = tf.sqrt(tf.sum(tf.square(W_dec), 1)); // [dSae]
    const activity = tf.div(tf.sum(f, 1), tokens); // mean activation of each feature, [dSae]

    const squaredError = tf.div(tf.sum(tf.square(error)), tokens) as tf.Scalar;
    const l1 = tf.sum(tf.mul(activity, norms)) as tf.Scalar;
    const loss = tf.add(squaredError, tf.mul(l1, l1Coefficient)) as tf.Scalar;

    const gError = tf.mul(error, 2 / tokens) as tf.Tensor2D; // ∂L/∂x̂
    // A row of zeros has no direction: its penalty has no gradient.
    const directions = tf.div(activity, tf.maximum(norms, 1e-12));
    const W_decGrad = tf.add(
      tf.matMul(f, gError),
      tf.mul(W_dec, tf.mul(tf.expandDims(directions, 1), l1Coefficient)),
    );
    const active = tf.cast(tf.greater(f, 0), "float32");
    // ∂L/∂f = gError W_decᵀ + λ ‖d‖ / tokens, the penalty as one more column of the factors.
    const fGrad = tf.matMul(
      tf.concat([W_dec, tf.expandDims(norms, 1)], 1),
      tf.concat([gError, tf.fill([tokens, 1], l1Coefficient / tokens)], 1),
      false,
      true,
    );
    const preGrad = tf.mul(fGrad, active) as tf.Tensor2D; // [dSae, tokens]
    const b_encGrad = tf.sum(preGrad, 1);
    return {
      grads: {
        W_enc: tf.transpose(tf.matMul(preGrad, input)),
        b_enc: b_encGrad,
        W_dec: W_decGrad,
        b_dec: biasGrad(gError, b_encGrad, W_enc),
      },
      scalars: {
        loss,
        fvu: batchFvu(x, squaredError),
        l1,
        l0: tf.div(tf.sum(active), tokens) as tf.Scalar,
      },
    };
  });
}

/** b_dec acts twice: on the reconstruction, and negatively on what the encoder sees. */
export function biasGrad(
  reconstructionGrad: tf.Tensor,
  b_encGrad: tf.Tensor,
  W_enc: tf.Tensor2D,
): tf.Tensor {
  return tf.sub(
    tf.sum(reconstructionGrad, 0),
    tf.squeeze(tf.matMul(W_enc, tf.expandDims(b_encGrad, 1)), [1]),
  );
}

/** FVU of one batch about its own mean: noisy, for the progress line only. */
export function batchFvu(x: tf.Tensor2D, squaredErrorPerToken: tf.Tensor): tf.Scalar {
  const variation = tf.sum(tf.square(tf.sub(x, tf.mean(x, 0))));
  return tf.div(tf.mul(squaredErrorPerToken, x.shape[0]), variation) as tf.Scalar;
}
