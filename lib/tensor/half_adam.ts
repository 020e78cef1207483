/**
 * An update of Adam in float16.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import { roundToFloat16 as half } from "./float16.ts";

/**
 * Value and moments after an update, rounded where PyTorch's on float16 parameters rounds.
 *
 * @param tensors Value and both moments, numbers of float16.
 * @param grad Gradient.
 * @param constants `power1` and `power2` are β₁ᵗ and β₂ᵗ; ε is added behind the bias correction.
 */
export function halfUpdate(
  [value, m, v]: tf.Tensor[],
  grad: tf.Tensor,
  { learningRate, beta1, beta2, power1, power2, epsilon }: Readonly<
    Record<"learningRate" | "beta1" | "beta2" | "power1" | "power2" | "epsilon", number>
  >,
): tf.Tensor[] {
  return tf.tidy(() => {
    const g = half(grad);
    const nextM = half(tf.add(m, tf.mul(tf.sub(g, m), 1 - beta1)));
    const nextV = half(tf.add(half(tf.mul(v, beta2)), tf.mul(tf.square(g), 1 - beta2)));
    const root = half(tf.div(half(tf.sqrt(nextV)), Math.sqrt(1 - power2)));
    const change = tf.div(nextM, half(tf.add(root, epsilon)));
    return [half(tf.sub(value, tf.mul(change, learningRate / (1 - power1)))), nextM, nextV];
  });
}
