/**
 * RMSNorm (Zhang & Sennrich, 2019, equation 4): a vector divided by its root mean square.
 *
 *     y = x / √(mean(x²) + ε) ∘ w
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { RunPoint } from "./run.ts";
import { Scope } from "./scope.ts";
import type { Steps } from "./steps.ts";

/** √(mean(x²) + ε) over the last axis, which is kept: `[…, d]` to `[…, 1]`. */
export function rmsScale<T extends tf.Tensor>(x: T, eps: number): T {
  return tf.tidy(() => {
    // The sum, divided when it is small: TensorFlow takes the mean at half the speed.
    const meanSquare = tf.div(tf.sum(tf.square(x), -1, true), x.shape.at(-1)!);
    return tf.sqrt(tf.add(meanSquare, eps)) as T;
  });
}

/**
 * RMSNorm with its two hook points.
 *
 * @param x `[batch, pos, d_model]`
 * @param weight `[d_model]`
 * @returns `[batch, pos, d_model]`, owned by the caller.
 */
export function* rmsNorm(
  x: tf.Tensor3D,
  weight: tf.Tensor1D,
  eps: number,
  at: RunPoint<"hook_scale" | "hook_normalized">,
): Steps<tf.Tensor3D> {
  using scope = new Scope();
  const scale = yield* at("hook_scale", scope.run(() => rmsScale(x, eps)), scope);
  const normalized = yield* at("hook_normalized", scope.run(() => tf.div(x, scale)), scope);
  return tf.tidy(() => tf.mul(normalized, weight));
}
