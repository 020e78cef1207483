/**
 * Activations in memory: a user's own array, or data whose truth is known.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { shuffledIndices } from "../training/mod.ts";
import type { ActivationReader, SplitName, SplitReader } from "./reader.ts";

/** Rows of a split and where they come from. */
export interface MemorySplit {
  /** Activations in row-major order, `[tokens · dModel]`. */
  readonly rows: Float32Array;
  /** The document's number of each token, `[tokens]`. */
  readonly document: Int32Array;
}

/**
 * A store over arrays, for everything that trains or evaluates on a store.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3, 4), document: Int32Array.of(0, 1) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const x = await store.split("train").rows(1, 1);
 * assertEquals([...await x.data()], [3, 4]);
 * x.dispose();
 * ```
 *
 * @param dModel Width of the activations.
 * @param splits Rows and documents of each split; documents should not be in two of them.
 * @param manifest Plain data that names the content: it enters the hash of what is trained on it, so
 * give it when results are to be cached.
 * @throws {RangeError} If rows and documents differ in number.
 */
export function memoryStore(
  dModel: number,
  splits: Record<SplitName, MemorySplit>,
  manifest: unknown = { memory: crypto.randomUUID() },
): ActivationReader {
  for (const [name, { rows, document }] of Object.entries(splits)) {
    if (rows.length !== document.length * dModel) {
      throw new RangeError(
        `Cannot store the ${name} split: ${rows.length} numbers for ${document.length} tokens of ` +
          `width ${dModel}, expected ${document.length * dModel}`,
      );
    }
  }
  const readers = Object.fromEntries(
    Object.entries(splits).map(([name, split]) => [name, readerOf(split, dModel)]),
  );
  return { dModel, manifest, normalizer: null, split: (name) => readers[name] };
}

function readerOf({ rows, document }: MemorySplit, dModel: number): SplitReader {
  const tokens = document.length;
  const batch = (indices: Int32Array) => {
    const some = new Float32Array(indices.length * dModel);
    indices.forEach((token, i) =>
      some.set(rows.subarray(token * dModel, (token + 1) * dModel), i * dModel)
    );
    return tf.tensor2d(some, [indices.length, dModel]);
  };
  return {
    tokens,
    document,
    batch,
    rows: (start, count) =>
      tf.tensor2d(rows.slice(start * dModel, (start + count) * dModel), [count, dModel]),
    shuffledBatch: (step, batchSize, seed) =>
      batch(shuffledIndices(tokens, { step, batchSize, seed })),
  };
}
