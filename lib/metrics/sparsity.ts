/**
 * How sparse codes are: L0 is the mean number of features of a token whose activation is not 0, L1
 * the mean sum of their absolute activations, in the units of the codes.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { Codes } from "./density.ts";
import { documentsOf, DocumentSums, type DocumentTable } from "./document_sums.ts";

const COLUMNS = ["l0", "l1"] as const;

/** Sums over the tokens of each document: of active features, and of absolute activations. */
export type SparsityPerDocument = DocumentTable<typeof COLUMNS[number]>;

/**
 * Measures both over any number of batches.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, SparsityMeter, tf } from "interlens";
 *
 * await openDevice();
 * const meter = new SparsityMeter();
 * await meter.update(tf.tensor2d([[0.5, 0, 0], [2, 1, 0]]), { document: [0, 3] });
 * assertEquals(meter.summary(), { l0: 1.5, l1: 1.75 });
 * assertEquals(meter.perDocument().l1, [0.5, 3]);
 * ```
 */
export class SparsityMeter {
  readonly #sums = new DocumentSums(COLUMNS);

  /**
   * Adds a batch.
   *
   * @param codes Dense `[tokens, dSae]`, or sparse pairs `[tokens, k]`.
   * @param options `document`: the document's number of each token. Default: all 0.
   * @throws {RangeError} If a token has no document.
   */
  async update(codes: Codes, options: { document?: ArrayLike<number> } = {}): Promise<void> {
    const values = codes instanceof tf.Tensor ? codes : codes.values;
    const document = documentsOf(options.document, values.shape[0]);
    const columns = tf.tidy(() =>
      tf.stack([
        tf.sum(tf.cast(tf.notEqual(values, 0), "float32"), 1),
        tf.sum(tf.abs(values), 1),
      ])
    );
    this.#sums.add(document, await columns.data());
    columns.dispose();
  }

  /**
   * Means over everything seen so far.
   *
   * @throws {RangeError} If nothing was measured.
   */
  summary(): { l0: number; l1: number } {
    const { tokens, l0, l1 } = this.#sums.totals();
    return { l0: l0 / tokens, l1: l1 / tokens };
  }

  /** Sums of each document, for intervals that draw documents. */
  perDocument(): SparsityPerDocument {
    return this.#sums.table();
  }
}
