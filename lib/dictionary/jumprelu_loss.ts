/**
 * Loss and gradients of the JumpReLU dictionary (Rajamanoharan et al., "Jumping ahead: improving
 * reconstruction fidelity with JumpReLU sparse autoencoders", 2024):
 *
 *     L = mean over tokens of ‖x̂ − x‖² + λ ‖f‖₀ + c Σ_{i dead} ReLU(θ_i − z_i) ‖d_i‖,  f = z · [z > θ]
 *
 * z is the pre-activation. The loss is flat in θ almost everywhere; the gradient of its expectation is
 * estimated from the pre-activations within ε / 2 of θ (eq. 11 and 12 there, rectangle kernel):
 *
 *     ∂f/∂θ ≈ −(θ / ε) [|z − θ| < ε / 2],  ∂‖f‖₀/∂θ ≈ −(1 / ε) [|z − θ| < ε / 2]
 *
 * Two changes that its users made. θ itself is the parameter, not its logarithm: a step of Adam is
 * about a learning rate long, and a logarithm barely moves by it. The last term, of features that have
 * not fired for long (Conerly et al., "Circuits updates: January 2025", there for all), gives those
 * a gradient, which they do not have otherwise.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { StepResult } from "../training/mod.ts";
import {
  batchFvu,
  codeGrad,
  decoderNorms,
  errorOf,
  inputOf,
  linearGrads,
  normGrad,
} from "./closed_form.ts";
import { above, column, featureMajor } from "./encoder.ts";
import type { SaeWeights } from "./sae.ts";

/** How a step of a `jumprelu` dictionary is computed. */
export interface JumpReluLossOptions {
  /** λ at this step. */
  l0Coefficient: number;
  /** ε, in the units of pre-activations. */
  bandwidth: number;
  /** Numbers of the features that count as dead. Default: none. */
  dead?: Int32Array;
  /** c. Default 0. */
  preActCoefficient?: number;
  /** What a transcoder predicts, `[tokens, dOut]`. Default: x. */
  target?: tf.Tensor2D;
}

/**
 * One step of a `jumprelu` dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { jumpReluLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const weights = {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.tensor1d([0, 0]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.tensor1d([0]),
 *   threshold: tf.tensor1d([0.5, 1.5]),
 * };
 * // z = [2, 1], of which only the first is above its threshold.
 * const options = { l0Coefficient: 0.25, bandwidth: 0.1 };
 * const { scalars, grads } = jumpReluLoss(weights, tf.tensor2d([[2]]), options);
 * assertEquals([...await scalars.loss.data(), ...await scalars.l0.data()], [0.25, 1]);
 * assertEquals([...await grads.threshold.data()], [0, 0]); // nothing is near a threshold
 * ```
 *
 * @param weights Parameters; `threshold` at least 0.
 * @param x Activations, `[tokens, dIn]`.
 * @param options Its constants.
 * @returns Gradients by name; `loss`, `fvu` (of this batch), `l0`; and which features fired, `[dSae]`,
 * which belongs to the caller.
 */
export function jumpReluLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: JumpReluLossOptions,
): StepResult & { fired: tf.Tensor1D } {
  const { W_dec, threshold } = weights;
  const { l0Coefficient, bandwidth, dead = new Int32Array(0), target } = options;
  const { preActCoefficient = 0 } = options;
  const data = { x, target };
  const tokens = x.shape[0];
  return tf.tidy(() => {
    const theta = column(threshold!);
    const input = inputOf(weights, data);
    const z = featureMajor(weights, input);
    const active = above(z, theta);
    const f = tf.mul(z, active) as tf.Tensor2D;
    const error = errorOf(weights, data, tf.matMul(f, W_dec, true));
    const squaredError = tf.div(tf.sum(tf.square(error)), tokens);
    const fired = tf.sum(active, 1) as tf.Tensor1D;
    const l0 = tf.div(tf.sum(fired), tokens) as tf.Scalar;
    let loss = tf.add(squaredError, tf.mul(l0, l0Coefficient));

    const gError = tf.mul(error, 2 / tokens) as tf.Tensor2D;
    const fGrad = codeGrad(W_dec, gError);
    let preGrad = tf.mul(fGrad, active) as tf.Tensor2D;
    const near = tf.cast(tf.less(tf.abs(tf.sub(z, theta)), bandwidth / 2), "float32");
    const jump = tf.add(tf.mul(fGrad, theta), l0Coefficient / tokens);
    let thresholdGrad = tf.div(tf.sub(0, tf.sum(tf.mul(near, jump), 1)), bandwidth);

    let decGrad: tf.Tensor2D | undefined;
    if (dead.length > 0 && preActCoefficient > 0) {
      const norms = decoderNorms(W_dec);
      const isDead = tf.scatterND(
        tf.tensor2d(dead, [dead.length, 1], "int32"),
        tf.fill([dead.length], preActCoefficient / tokens),
        [fired.shape[0]],
      );
      const gap = tf.relu(tf.sub(theta, z));
      const missing = tf.mul(tf.sum(gap, 1), isDead); // c Σ ReLU(θ − z) / tokens, [dSae]
      loss = tf.add(loss, tf.sum(tf.mul(missing, norms)));
      const below = tf.cast(tf.greater(gap, 0), "float32");
      const pull = tf.mul(below, column(tf.mul(isDead, norms)));
      preGrad = tf.sub(preGrad, pull);
      thresholdGrad = tf.add(thresholdGrad, tf.sum(pull, 1));
      decGrad = normGrad(W_dec, norms, missing);
    }
    return {
      grads: {
        ...linearGrads(weights, data, { input, f, preGrad, gError, decGrad }),
        threshold: thresholdGrad,
      },
      scalars: { loss: loss as tf.Scalar, fvu: batchFvu(data, squaredError), l0 },
      fired,
    };
  });
}
