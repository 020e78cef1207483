/**
 * The "error %" of the study that Interlens reproduces: squared error relative to
 * the squared norm, not to the variance.
 *
 *     error % = 100 · Σ‖x − x̂‖² / Σ‖x‖²
 *
 * It is uncentred, so a dictionary that only knows the mean already scores well
 * below 100 on activations with a large mean. It stands beside the FVU so that
 * numbers can be compared with the study's, and is never a substitute for it.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { requireSameShape } from "./fvu.ts";

/**
 * Error % of one batch, at least 0; predicting zero scores 100.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { errorPercent, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const x = tf.tensor2d([[3, 4]]);
 * assertAlmostEquals(await errorPercent(x, tf.tensor2d([[3, 3]])), 4);
 * assertAlmostEquals(await errorPercent(x, tf.zeros([1, 2])), 100);
 * ```
 *
 * @param x Activations, `[tokens, dModel]`.
 * @param reconstruction `[tokens, dModel]`.
 * @throws {RangeError} If the shapes differ or all activations are 0.
 */
export async function errorPercent(x: tf.Tensor2D, reconstruction: tf.Tensor2D): Promise<number> {
  requireSameShape(x, reconstruction, x.shape[1]);
  const sums = tf.tidy(() => [
    tf.sum(tf.squaredDifference(x, reconstruction)),
    tf.sum(tf.square(x)),
  ]);
  const [[error], [norm]] = await Promise.all(sums.map((t) => t.data()));
  tf.dispose(sums);
  if (!(norm > 0)) {
    throw new RangeError("Cannot compute the error % of activations that are all 0");
  }
  return 100 * error / norm;
}
