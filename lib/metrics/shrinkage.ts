/**
 * Whether reconstructions are too short, and whether they point the right way.
 *
 * | number                       | definition                              | identity | half of x |
 * | ---------------------------- | --------------------------------------- | -------- | --------- |
 * | cosine                       | mean over tokens of x·x̂ / (‖x‖ ‖x̂‖)     | 1        | 1         |
 * | L2 ratio                     | mean over tokens of ‖x̂‖ / ‖x‖           | 1        | 0.5       |
 * | relative reconstruction bias | Σ‖x̂‖² / Σ x·x̂                           | 1        | 0.5       |
 *
 * The relative reconstruction bias (Rajamanoharan et al., 2024a, eq. 10) divides sums over all tokens.
 * Its inverse is the factor by which all reconstructions should be multiplied: it is 1 where no factor
 * improves them, as for the mean, and below 1 where they are shrunk. The L2 ratio is not 1 then: a
 * prediction that does not know all of x is shorter than x.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { documentsOf, DocumentSums, type DocumentTable } from "./document_sums.ts";
import { requireSameShape } from "./fvu.ts";

const COLUMNS = ["cosine", "normIn", "normOut", "normRatio", "dot", "squaredNormOut"] as const;

/** Sums over the tokens of each document: of x·x̂ / (‖x‖ ‖x̂‖), ‖x‖, ‖x̂‖, ‖x̂‖ / ‖x‖, x·x̂ and ‖x̂‖². */
export type ShrinkagePerDocument = DocumentTable<typeof COLUMNS[number]>;

/** How long and how well directed reconstructions are. */
export interface Shrinkage {
  /** Mean cosine of x and x̂, −1 to 1; a vector of zeros counts as 0. */
  cosine: number;
  /** Mean ‖x‖. */
  l2NormIn: number;
  /** Mean ‖x̂‖. */
  l2NormOut: number;
  /** Mean ‖x̂‖ / ‖x‖; an x of zeros counts as 0. */
  l2Ratio: number;
  /** Σ‖x̂‖² / Σ x·x̂; NaN if all reconstructions are zeros. */
  relativeReconstructionBias: number;
}

/**
 * Measures it over any number of batches.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { openDevice, ShrinkageMeter, tf } from "interlens";
 *
 * await openDevice();
 * const x = tf.tensor2d([[3, 4], [0, 2]]);
 * const meter = new ShrinkageMeter(2);
 * await meter.update(x, tf.mul(x, 0.5));
 * const { cosine, l2Ratio, relativeReconstructionBias } = meter.summary();
 * assertAlmostEquals(cosine, 1, 1e-6);
 * assertAlmostEquals(l2Ratio, 0.5, 1e-6);
 * assertAlmostEquals(relativeReconstructionBias, 0.5, 1e-6);
 * ```
 */
export class ShrinkageMeter {
  readonly #dModel: number;
  readonly #sums = new DocumentSums(COLUMNS);

  /** @param dModel Width of the activations. */
  constructor(dModel: number) {
    this.#dModel = dModel;
  }

  /**
   * Adds a batch.
   *
   * @param x Activations, `[tokens, dModel]`. Norms depend on their units, and with a mean that was
   * subtracted so does everything else: give those of the model.
   * @param reconstruction `[tokens, dModel]`.
   * @param options `document`: the document's number of each token. Default: all 0.
   * @throws {RangeError} If the shapes differ, or a token has no document.
   */
  async update(
    x: tf.Tensor2D,
    reconstruction: tf.Tensor2D,
    options: { document?: ArrayLike<number> } = {},
  ): Promise<void> {
    requireSameShape(x, reconstruction, this.#dModel);
    const document = documentsOf(options.document, x.shape[0]);
    const columns = tf.tidy(() => {
      const dot = tf.sum(tf.mul(x, reconstruction), 1);
      const squaredNormOut = tf.sum(tf.square(reconstruction), 1);
      const normIn = tf.sqrt(tf.sum(tf.square(x), 1));
      const normOut = tf.sqrt(squaredNormOut);
      const cosine = tf.divNoNan(tf.divNoNan(dot, normIn), normOut);
      return tf.stack([
        ...[cosine, normIn, normOut, tf.divNoNan(normOut, normIn), dot, squaredNormOut],
      ]);
    });
    this.#sums.add(document, await columns.data());
    columns.dispose();
  }

  /**
   * Means over everything seen so far.
   *
   * @throws {RangeError} If nothing was measured.
   */
  summary(): Shrinkage {
    const { tokens, cosine, normIn, normOut, normRatio, dot, squaredNormOut } = this.#sums.totals();
    return {
      cosine: cosine / tokens,
      l2NormIn: normIn / tokens,
      l2NormOut: normOut / tokens,
      l2Ratio: normRatio / tokens,
      relativeReconstructionBias: squaredNormOut / dot,
    };
  }

  /** Sums of each document, for intervals that draw documents. */
  perDocument(): ShrinkagePerDocument {
    return this.#sums.table();
  }
}
