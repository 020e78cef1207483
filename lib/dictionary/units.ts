/**
 * The units of a model and those of a store of activations.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { InputNormalizer } from "./reader.ts";

/**
 * Raw activations as a dictionary expects them: `(clip(x) − mean) · scale`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, toModelUnits, toStoreUnits } from "interlens";
 *
 * await openDevice();
 * const normalizer = { scale: 2, mean: [1, 0], clip: { low: -4, high: 4 } };
 * const x = toStoreUnits(tf.tensor2d([[3, 9]]), normalizer);
 * assertEquals([...await x.data()], [4, 8]);
 * assertEquals([...await toModelUnits(x, normalizer).data()], [3, 4]); // what was clipped stays so
 * ```
 *
 * @param x `[…, dModel]`, in the units of the model.
 * @param normalizer Null if the dictionary takes raw activations.
 * @returns The same shape, owned by the caller.
 */
export function toStoreUnits<T extends tf.Tensor>(x: T, normalizer: InputNormalizer | null): T {
  if (!normalizer) return tf.clone(x);
  const { scale, mean, clip } = normalizer;
  return tf.tidy(() => {
    const clipped = clip ? tf.clipByValue(x, clip.low, clip.high) : x;
    return tf.mul(mean ? tf.sub(clipped, row(mean)) : clipped, scale) as T;
  });
}

/**
 * Reconstructions as the model expects them: `x / scale + mean`. What was clipped stays so.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, toModelUnits } from "interlens";
 *
 * await openDevice();
 * const x = toModelUnits(tf.tensor2d([[4, 8]]), { scale: 2, mean: [1, 0] });
 * assertEquals([...await x.data()], [3, 4]);
 * ```
 *
 * @param x `[…, dModel]`, in the units of the dictionary.
 * @param normalizer Null if the dictionary takes raw activations.
 * @returns The same shape, owned by the caller.
 */
export function toModelUnits<T extends tf.Tensor>(x: T, normalizer: InputNormalizer | null): T {
  if (!normalizer) return tf.clone(x);
  const { scale, mean } = normalizer;
  return tf.tidy(() => {
    const unscaled = tf.div(x, scale);
    return (mean ? tf.add(unscaled, row(mean)) : unscaled) as T;
  });
}

function row(mean: ArrayLike<number>): tf.Tensor1D {
  return tf.tensor1d(Float32Array.from(mean));
}
