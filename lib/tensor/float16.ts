/**
 * Numbers of float16 in float32 tensors: what a training in half precision keeps of them.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";

/** Smallest normal float16; below it the grid is even, 2⁻²⁴ wide. */
const NORMAL = 2 ** -14;
/** Adding 2¹³ + 1 times a number and taking it away leaves 11 of its 24 bits (Dekker, 1971). */
const SPLIT = 2 ** 13 + 1;
/** A float32 between ½ and 1 has 2⁻²⁴ as its unit in the last place. */
const MAGIC = 0.75;

/**
 * The nearest float16 of each element, ties to even, as float32. Elements beyond 65504 stay as they
 * are.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, roundToFloat16, tf } from "interlens";
 *
 * await openDevice();
 * const x = roundToFloat16(tf.tensor1d([1, 1 + 2 ** -12, 1 + 2 ** -10, 2 ** -26]));
 * assertEquals([...await x.data()], [1, 1, 1 + 2 ** -10, 0]);
 * ```
 *
 * @param x Any tensor of float32.
 * @returns A new tensor, the caller's.
 */
export function roundToFloat16<T extends tf.Tensor>(x: T): T {
  return tf.tidy(() => {
    const large = tf.mul(x, SPLIT);
    const normal = tf.sub(large, tf.sub(large, x));
    const small = tf.sub(tf.add(x, MAGIC), MAGIC);
    return tf.where(tf.less(tf.abs(x), NORMAL), small, normal) as T;
  });
}
