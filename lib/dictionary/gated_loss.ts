/**
 * Loss and gradients of the gated dictionary (Rajamanoharan et al., "Improving dictionary learning
 * with gated sparse autoencoders", 2024):
 *
 *     u = (x − b_dec) W_enc,  π = u + b_enc,  f = [π > 0] · ReLU(exp(r_mag) ∘ u + b_mag)
 *     L = mean over tokens of ‖x̂ − x‖² + λ Σ_i ReLU(π_i) ‖d_i‖ + ‖ReLU(π) W_dec + b_dec − x‖²
 *
 * The penalty shrinks π, which decides what is active, and not the magnitude of what is. A step has
 * no gradient: π learns from the penalty and from the last term, whose decoder is a constant. Norms
 * weigh the penalty instead of being kept at 1, as in SAELens.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { StepResult } from "../training/mod.ts";
import { batchFvu, codeGrad, decoderNorms, errorOf, linearGrads, normGrad } from "./closed_form.ts";
import { column } from "./encoder.ts";
import type { SaeWeights } from "./sae.ts";

/**
 * One step of a `gated` dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { gatedLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const weights = {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.tensor1d([-1, -4]), // of the gate: the second stays closed
 *   r_mag: tf.tensor1d([0, 0]),
 *   b_mag: tf.tensor1d([0, 0]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.tensor1d([0]),
 * };
 * // x = 2 is reconstructed exactly by f = [2, 0], but the gate alone gives 1.
 * const { scalars } = gatedLoss(weights, tf.tensor2d([[2]]), { l1Coefficient: 0.5 });
 * assertEquals([...await scalars.loss.data(), ...await scalars.l0.data()], [0.5 * 1 + 1, 1]);
 * ```
 *
 * @param weights Parameters; `r_mag` and `b_mag` among them.
 * @param x Activations, `[tokens, dIn]`.
 * @param options `l1Coefficient`: λ at this step.
 * @returns Gradients by name; `loss`, `fvu` (of this batch), `l1` (the penalty before λ), `l0`.
 */
export function gatedLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: { l1Coefficient: number },
): StepResult {
  const { W_enc, b_enc, W_dec, b_dec, r_mag, b_mag } = weights;
  const { l1Coefficient } = options;
  const data = { x };
  const tokens = x.shape[0];
  return tf.tidy(() => {
    const input = tf.sub(x, b_dec) as tf.Tensor2D;
    const u = tf.matMul(W_enc, input, true, true); // [dSae, tokens]
    const gate = tf.relu(tf.add(u, column(b_enc))) as tf.Tensor2D;
    const open = tf.cast(tf.greater(gate, 0), "float32");
    const factor = column(tf.exp(r_mag!));
    const scaled = tf.mul(u, factor);
    const magnitude = tf.relu(tf.add(scaled, column(b_mag!)));
    const f = tf.mul(magnitude, open) as tf.Tensor2D;
    const active = tf.cast(tf.greater(f, 0), "float32");
    const error = errorOf(weights, data, tf.matMul(f, W_dec, true));
    const gateError = errorOf(weights, data, tf.matMul(gate, W_dec, true));
    const norms = decoderNorms(W_dec);
    const activity = tf.div(tf.sum(gate, 1), tokens);
    const squaredError = tf.div(tf.sum(tf.square(error)), tokens);
    const l1 = tf.sum(tf.mul(activity, norms)) as tf.Scalar;
    const gateSquaredError = tf.div(tf.sum(tf.square(gateError)), tokens);
    const loss = tf.addN([squaredError, tf.mul(l1, l1Coefficient), gateSquaredError]) as tf.Scalar;

    const gError = tf.mul(error, 2 / tokens) as tf.Tensor2D;
    const magnitudeGrad = tf.mul(codeGrad(W_dec, gError), active);
    const penalty = { norms, coefficient: l1Coefficient / tokens };
    const gateGError = tf.mul(gateError, 2 / tokens) as tf.Tensor2D;
    const gateGrad = tf.mul(codeGrad(W_dec, gateGError, penalty), open);
    const preGrad = tf.add(tf.mul(magnitudeGrad, factor), gateGrad) as tf.Tensor2D; // ∂L/∂u
    const decGrad = normGrad(W_dec, norms, tf.mul(activity, l1Coefficient));
    return {
      grads: {
        ...linearGrads(weights, data, { input, f, preGrad, gError, decGrad }),
        b_enc: tf.sum(gateGrad, 1),
        r_mag: tf.sum(tf.mul(magnitudeGrad, scaled), 1),
        b_mag: tf.sum(magnitudeGrad, 1),
      },
      scalars: {
        loss,
        fvu: batchFvu(data, squaredError),
        l1,
        l0: tf.div(tf.sum(active), tokens) as tf.Scalar,
      },
    };
  });
}
