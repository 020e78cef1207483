/**
 * Loss and gradients of the ReLU dictionary with an L1 penalty that is weighted by
 * decoder norms (Conerly et al., "Update on how we train SAEs", 2024):
 *
 *     L = mean over tokens of ‖x̂ − x‖² + λ Σ_i f_i ‖d_i‖
 *
 * The weights make the penalty independent of how a feature's scale is split between
 * its activation and its direction, so no norm has to be constrained.
 *
 * The study's loss is the same with means in place of sums, over elements and over features: λ is
 * dSae / dIn times as strong, and all is divided by dIn, which counts beside Adam's ε. Its
 * decoder has no bias.
 *
 * The gradients are written out: five products of matrices, where automatic
 * differentiation needs six and keeps more in memory.
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
  whereActive,
} from "./closed_form.ts";
import { canRunGraphs } from "../tensor/graph.ts";
import { featureMajorCodes } from "./encoder.ts";
import type { SaeWeights } from "./sae.ts";
import { standardGraphStep } from "./standard_graph.ts";

/** How a step of a `standard` dictionary is computed. */
export interface StandardLossOptions {
  /** λ at this step. */
  l1Coefficient: number;
  /** What a transcoder predicts, `[tokens, dOut]`. Default: x. */
  target?: tf.Tensor2D;
  /** The study's loss; b_dec has no gradient. Default false. */
  faithful?: boolean;
  /** One TensorFlow graph, or one op after the other. Default: a graph where it can run. */
  path?: "graph" | "ops";
}

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
 * @param options Its constants.
 * @returns Gradients by name, and `loss`, `fvu` (of this batch), `l1` (the penalty before λ, a sum
 * over features), `l0`.
 */
export function standardLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: StandardLossOptions,
): StepResult {
  const { W_dec } = weights;
  const { target, faithful } = options;
  if (!target && !faithful && (options.path ?? (canRunGraphs() ? "graph" : "ops")) === "graph") {
    return standardGraphStep(weights, x, options.l1Coefficient);
  }
  const data = { x, target };
  const [tokens, dIn] = x.shape;
  // Factors of the squared error and of the penalty.
  const scale = faithful ? 1 / dIn : 1;
  const lambda = faithful ? options.l1Coefficient / W_dec.shape[0] : options.l1Coefficient;
  return tf.tidy(() => {
    const input = inputOf(weights, data);
    const f = featureMajorCodes(weights, input);
    const error = errorOf(weights, data, tf.matMul(f, W_dec, true));
    const norms = decoderNorms(W_dec);
    const activity = tf.div(tf.sum(f, 1), tokens); // mean activation of each feature, [dSae]

    const squaredError = tf.div(tf.sum(tf.square(error)), tokens);
    const l1 = tf.sum(tf.mul(activity, norms)) as tf.Scalar;
    const loss = tf.add(tf.mul(squaredError, scale), tf.mul(l1, lambda)) as tf.Scalar;

    const gError = tf.mul(error, 2 * scale / tokens) as tf.Tensor2D; // ∂L/∂x̂
    const fGrad = codeGrad(W_dec, gError, { norms, coefficient: lambda / tokens });
    const preGrad = whereActive(fGrad, f);
    const decGrad = normGrad(W_dec, norms, tf.mul(activity, lambda));
    const grads = linearGrads(weights, data, { input, f, preGrad, gError, decGrad });
    if (faithful) delete grads.b_dec;
    return {
      grads,
      scalars: {
        loss,
        fvu: batchFvu(data, squaredError),
        l1,
        l0: tf.div(tf.sum(tf.sign(f)), tokens) as tf.Scalar,
      },
    };
  });
}
