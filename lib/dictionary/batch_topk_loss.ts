/**
 * Loss and gradients of the BatchTopK dictionary (Bussmann et al., "BatchTopK sparse autoencoders",
 * 2024), with the auxiliary loss of TopK:
 *
 *     L = mean over tokens of ‖x̂ − x‖² + auxiliary loss
 *
 * It is the Matryoshka dictionary with one prefix, the whole.
 *
 * @module
 */
import type { tf } from "../tensor/mod.ts";
import {
  type BatchTopKResult,
  matryoshkaLoss,
  type MatryoshkaLossOptions,
} from "./matryoshka_loss.ts";
import type { SaeWeights } from "./sae.ts";

/**
 * One step of a `batchtopk` dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { batchTopkLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const weights = {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.tensor1d([0, 0]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.tensor1d([0]),
 * };
 * // f = [4, 2] and [1, 0.5]: of the four, two stay, and both are the first token's.
 * const { scalars } = batchTopkLoss(weights, tf.tensor2d([[4], [1]]), { k: 1 });
 * assertEquals([...await scalars.least.data(), ...await scalars.loss.data()], [2, (4 + 1) / 2]);
 * ```
 *
 * @param weights Parameters.
 * @param x Activations, `[tokens, dIn]`.
 * @param options Its constants.
 * @returns As `matryoshkaLoss`.
 */
export function batchTopkLoss(
  weights: SaeWeights,
  x: tf.Tensor2D,
  options: Omit<MatryoshkaLossOptions, "widths">,
): BatchTopKResult {
  return matryoshkaLoss(weights, x, { ...options, widths: [weights.b_enc.shape[0]] });
}
