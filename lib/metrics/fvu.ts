/**
 * Fraction of variance unexplained (FVU): the squared error of a reconstruction,
 * relative to predicting the mean.
 *
 *     FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²
 *
 * Both sums run over all tokens before the division, and x̄ is the mean over the
 * same tokens. 0 is a perfect reconstruction, 1 is as good as the mean; it can
 * exceed 1. Averaging per-token or per-batch ratios gives another number.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/**
 * FVU over any number of batches, in memory that does not grow with them.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { FvuMeter, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const x = tf.tensor2d([[1, 0], [3, 0], [5, 6]]);
 * const mean = tf.tensor2d([[3, 2], [3, 2], [3, 2]]);
 *
 * const perfect = new FvuMeter(2);
 * await perfect.update(x, x);
 * assertAlmostEquals(perfect.fvu(), 0);
 *
 * const predictsTheMean = new FvuMeter(2);
 * await predictsTheMean.update(x, mean);
 * assertAlmostEquals(predictsTheMean.fvu(), 1);
 * ```
 */
export class FvuMeter {
  #tokens = 0;
  #squaredError = 0;
  #squaredNorm = 0;
  // Float64: a float32 sum over millions of tokens loses the digits that matter.
  readonly #sum: Float64Array;
  // All sums are about the first batch's mean: E‖x‖² − ‖E x‖² cancels when the mean is large.
  #origin: Float32Array | undefined;

  /** @param dModel Width of the activations that will be measured. */
  constructor(dModel: number) {
    this.#sum = new Float64Array(dModel);
  }

  /**
   * Adds a batch.
   *
   * @param x Activations, `[tokens, dModel]`.
   * @param reconstruction What the dictionary makes of them, `[tokens, dModel]`.
   * @throws {RangeError} If the shapes differ from each other or from `dModel`.
   */
  async update(x: tf.Tensor2D, reconstruction: tf.Tensor2D): Promise<void> {
    requireSameShape(x, reconstruction, this.#sum.length);
    this.#origin ??= await meanOf(x);
    const origin = this.#origin;
    const sums = tf.tidy(() => {
      const centred = tf.sub(x, tf.tensor1d(origin));
      return [
        tf.sum(tf.squaredDifference(x, reconstruction)),
        tf.sum(tf.square(centred)),
        tf.sum(centred, 0),
      ];
    });
    const [squaredError, squaredNorm, sum] = await Promise.all(sums.map((t) => t.data()));
    tf.dispose(sums);

    this.#tokens += x.shape[0];
    this.#squaredError += squaredError[0];
    this.#squaredNorm += squaredNorm[0];
    sum.forEach((value, i) => this.#sum[i] += value);
  }

  /**
   * FVU of everything seen so far, at least 0.
   *
   * @throws {RangeError} If nothing was measured, or if the activations do not vary.
   */
  fvu(): number {
    const meanNorm = this.#sum.reduce((total, s) => total + s * s, 0) / this.#tokens;
    const variance = this.#squaredNorm - meanNorm;
    if (!(variance > 0)) {
      throw new RangeError(
        `Cannot compute the FVU of ${this.#tokens} tokens: the activations must vary`,
      );
    }
    return this.#squaredError / variance;
  }

  /**
   * Explained variance, 1 − FVU, at most 1. Both sums run over all tokens; a constant offset of the
   * reconstruction counts as error.
   *
   * @throws {RangeError} As `fvu()`.
   */
  explainedVariance(): number {
    return 1 - this.fvu();
  }
}

/** The mean row of a matrix, `[columns]`. */
export async function meanOf(x: tf.Tensor2D): Promise<Float32Array> {
  const mean = tf.mean(x, 0);
  const values = await mean.data<"float32">();
  mean.dispose();
  return values;
}

/** @throws {RangeError} If the two are not both `[tokens, dModel]`. */
export function requireSameShape(
  x: tf.Tensor2D,
  reconstruction: tf.Tensor2D,
  dModel: number,
): void {
  if (x.shape[1] !== dModel || `${reconstruction.shape}` !== `${x.shape}`) {
    throw new RangeError(
      `Cannot measure a reconstruction of shape [${reconstruction.shape}] against activations ` +
        `of shape [${x.shape}]: both must be [tokens, ${dModel}]`,
    );
  }
}
