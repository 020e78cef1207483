/**
 * Loss and gradients of the Matryoshka dictionary (Bussmann et al., "Learning multi-level features
 * with Matryoshka sparse autoencoders", 2025): BatchTopK codes whose prefixes have to reconstruct,
 * too.
 *
 *     L = Σ_m mean over tokens of ‖x̂_m − x‖² + auxiliary loss,  x̂_m = f_{1…w_m} W_dec,{1…w_m} + b_dec
 *
 * The first features thus learn what is general, and later ones cannot take it from them
 * (absorption). The gradient of a feature sees the errors of all prefixes that it is part of, so
 * a step costs no more products than one without prefixes.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { StepResult } from "../training/mod.ts";
import { auxiliaryLoss, type AuxiliaryOptions, auxiliaryWeight } from "./aux_loss.ts";
import { keepBatchTopK } from "./batch_topk.ts";
import { batchFvu, biasGrads, codeGrad, errorOf, inputOf } from "./closed_form.ts";
import { featureMajorCodes } from "./encoder.ts";
import type { SaeWeights } from "./sae.ts";

/** How a step of a `matryoshka` dictionary is computed. */
export interface MatryoshkaLossOptions extends AuxiliaryOptions {
  /** Active features a token, in the mean of the batch. */
  k: number;
  /** Numbers of features of the prefixes, ascending; the last is dSae. */
  widths: readonly number[];
  /** What a transcoder predicts, `[tokens, dOut]`. Default: x. */
  target?: tf.Tensor2D;
}

/** What a step on a batch's largest activations gives beside its gradients. */
export interface BatchTopKResult extends StepResult {
  /** Tokens of the batch for which each feature is active, `[dSae]`; it belongs to the caller. */
  readonly fired: tf.Tensor1D;
}

/**
 * One step of a `matryoshka` dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { matryoshkaLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const weights = {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.tensor1d([0, 0]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.tensor1d([0]),
 * };
 * // f = [2, 1]: the prefix of one feature gives 2 for x = 2, the whole gives 3.
 * const { scalars, fired } = matryoshkaLoss(weights, tf.tensor2d([[2]]), { k: 2, widths: [1, 2] });
 * assertEquals([...await scalars.loss.data(), ...await fired.data()], [0 + 1, 1, 1]);
 * ```
 *
 * @param weights Parameters.
 * @param x Activations, `[tokens, dIn]`.
 * @param options Its constants.
 * @returns Gradients by name; `loss`, `fvu` (of this batch, of the whole), `l0`, `aux` and `least` (the
 * least activation that stayed); and which features fired.
 */
export function matryoshkaLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: MatryoshkaLossOptions,
): BatchTopKResult {
  const { W_dec } = weights;
  const { k, widths, target, dead = new Int32Array(0) } = options;
  const { auxK = x.shape[1] / 2, auxCoefficient = 1 / 32 } = options;
  const data = { x, target };
  const tokens = x.shape[0];
  return tf.tidy(() => {
    const input = inputOf(weights, data);
    const positive = featureMajorCodes(weights, input);
    const { f, least } = keepBatchTopK(positive, Math.round(k * tokens));
    const groups = widths.map((width, m): [number, number] => {
      const first = m === 0 ? 0 : widths[m - 1];
      return [first, width - first];
    });
    const part = (rows: tf.Tensor2D, [first, count]: [number, number]) =>
      groups.length === 1 ? rows : tf.slice(rows, [first, 0], [count, rows.shape[1]]);

    let decoded: tf.Tensor | undefined;
    const errors = groups.map((group) => {
      const own = tf.matMul(part(f, group), part(W_dec, group), true);
      decoded = decoded ? tf.add(decoded, own) : own;
      return errorOf(weights, data, decoded);
    });
    const squaredErrors = errors.map((error) => tf.div(tf.sum(tf.square(error)), tokens));

    // ∂L/∂x̂ of a prefix, and of all prefixes from it on.
    const gErrors = errors.map((error) => tf.mul(error, 2 / tokens) as tf.Tensor2D);
    for (let m = gErrors.length - 2; m >= 0; m--) gErrors[m] = tf.add(gErrors[m], gErrors[m + 1]);
    const fGrads = groups.map((group, m) => codeGrad(part(W_dec, group), gErrors[m]));
    const decGrads = groups.map((group, m): tf.Tensor2D => tf.matMul(part(f, group), gErrors[m]));
    const active = tf.cast(tf.greater(f, 0), "float32");
    const preGrad = tf.mul(joined(fGrads), active) as tf.Tensor2D;

    const weight = auxiliaryWeight(dead, auxK, auxCoefficient);
    const revive = auxiliaryLoss(weights, {
      candidates: (which) => tf.transpose(tf.gather(positive, which)),
      ...{ error: errors.at(-1)!, input, dead, auxK, weight },
    });
    const total = (main: tf.Tensor, more?: tf.Tensor) => more ? tf.add(main, more) : main;
    const b_enc = total(tf.sum(preGrad, 1), revive.b_enc);
    const fired = tf.sum(active, 1) as tf.Tensor1D;
    return {
      grads: {
        W_enc: total(tf.transpose(tf.matMul(preGrad, input)), revive.W_enc),
        b_enc,
        W_dec: total(joined(decGrads), revive.W_dec),
        ...biasGrads(weights, data, gErrors[0], b_enc),
      },
      scalars: {
        loss: tf.add(tf.addN(squaredErrors), tf.mul(revive.aux, weight)) as tf.Scalar,
        fvu: batchFvu(data, squaredErrors.at(-1)!),
        l0: tf.div(tf.sum(fired), tokens) as tf.Scalar,
        aux: revive.aux,
        least,
      },
      fired,
    };
  });
}

function joined(parts: tf.Tensor2D[]): tf.Tensor2D {
  return parts.length === 1 ? parts[0] : tf.concat(parts, 0);
}
