/**
 * Explained variance as a mean of ratios, the form that SAELens and SAEBench report as "legacy":
 *
 *     mean over tokens of 1 − ‖x − x̂‖² / ‖x − x̄‖²
 *
 * A token near the mean counts as much as one far from it, and has no lower bound, so this is another
 * number than 1 − FVU. It is here because published tables have it. There x̄ is the mean of a batch;
 * here it is given, so that the number does not depend on batches.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { documentsOf, DocumentSums, type DocumentTable } from "./document_sums.ts";
import { requireSameShape } from "./fvu.ts";

/**
 * Measures it over any number of batches.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, TokenwiseVarianceMeter } from "interlens";
 *
 * await openDevice();
 * const x = tf.tensor2d([[1], [3], [8]]);
 * const meter = new TokenwiseVarianceMeter([4]);
 * await meter.update(x, tf.tensor2d([[1], [4], [8]])); // exact, as bad as the mean, exact
 * assertEquals(meter.explainedVariance(), 2 / 3);
 * ```
 */
export class TokenwiseVarianceMeter {
  readonly #mean: Float32Array;
  readonly #sums = new DocumentSums(["explained"]);

  /** @param mean x̄ of the tokens that will be measured, `[dModel]`. */
  constructor(mean: ArrayLike<number>) {
    this.#mean = Float32Array.from(mean);
  }

  /**
   * Adds a batch.
   *
   * @param x Activations, `[tokens, dModel]`.
   * @param reconstruction `[tokens, dModel]`.
   * @param options `document`: the document's number of each token. Default: all 0.
   * @throws {RangeError} If the shapes differ, or a token has no document.
   */
  async update(
    x: tf.Tensor2D,
    reconstruction: tf.Tensor2D,
    options: { document?: ArrayLike<number> } = {},
  ): Promise<void> {
    requireSameShape(x, reconstruction, this.#mean.length);
    const document = documentsOf(options.document, x.shape[0]);
    const explained = tf.tidy(() => {
      const error = tf.sum(tf.squaredDifference(x, reconstruction), 1);
      const variation = tf.sum(tf.squaredDifference(x, tf.tensor1d(this.#mean)), 1);
      return tf.sub(1, tf.div(error, variation));
    });
    this.#sums.add(document, await explained.data());
    explained.dispose();
  }

  /**
   * The mean over everything seen so far, at most 1; −Infinity if a token lies on the mean and is not
   * reconstructed exactly.
   *
   * @throws {RangeError} If nothing was measured.
   */
  explainedVariance(): number {
    const { tokens, explained } = this.#sums.totals();
    return explained / tokens;
  }

  /** Sums of each document, for intervals that draw documents. */
  perDocument(): DocumentTable<"explained"> {
    return this.#sums.table();
  }
}
