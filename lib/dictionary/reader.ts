/**
 * What a trainer needs to know about a store of activations, and no more: the disk
 * store is one, activations held in memory are another, residuals of a dictionary a
 * third.
 *
 * @module
 */
import type { SplitName } from "../corpus/mod.ts";
import type { tf } from "../tensor/mod.ts";

export type { SplitName };

/** Maps raw activations to the units that a store gives: `(clip(x) − mean) · scale`. */
export interface InputNormalizer {
  /** Factor. */
  readonly scale: number;
  /** Subtracted before scaling, `[dModel]`; null if nothing is. */
  readonly mean?: ArrayLike<number> | null;
  /** Elements are clamped to this range first; null if they are not. */
  readonly clip?: { readonly low: number; readonly high: number } | null;
}

/** Activations that can be read by number and in the order of training. */
export interface SplitReader {
  /** Number of tokens. */
  readonly tokens: number;
  /** The document's number of each token, `[tokens]`. */
  readonly document: ArrayLike<number>;
  /** Id of each token, `[tokens]`, where that is known. */
  readonly tokenIds?: ArrayLike<number>;
  /** Normalised rows `start … start + count − 1`, `[count, dModel]`. */
  rows(start: number, count: number): tf.Tensor2D | Promise<tf.Tensor2D>;
  /** Normalised rows of some tokens in the order given, `[indices.length, dModel]`, where that can be. */
  batch?(indices: Int32Array): tf.Tensor2D | Promise<tf.Tensor2D>;
  /** Normalised rows of a training step: an exact permutation an epoch, a pure function of all three. */
  shuffledBatch(
    step: number,
    batchSize: number,
    seed: number,
  ): tf.Tensor2D | Promise<tf.Tensor2D>;
  /**
   * What the order of `shuffledBatch` depends on beside the number of tokens, where it does: rows of
   * two splits belong together if these are the same.
   */
  readonly order?: string;
  /** The first tokens, where they have an order of their own that keeps near what is stored together. */
  firstTokens?(tokens: number): SplitReader;
}

/** A store of activations. */
export interface ActivationReader {
  /** Width of the activations. */
  readonly dModel: number;
  /** Plain data that names the content; it enters the hash of what is trained on it. */
  readonly manifest: unknown;
  /** How the rows were made from raw activations; null or absent if they are raw. */
  readonly normalizer?: InputNormalizer | null;
  /** Where in the model the activations come from, if they do. */
  readonly hook?: string;
  /** The model that they come from, if they do. */
  readonly model?: { readonly name: string; readonly hash: string };
  /** One part of the store. */
  split(name: SplitName): SplitReader;
}

/**
 * The batches of a split in order, each with its documents; each batch is disposed of afterwards.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, sequentialBatches } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3), document: Int32Array.of(0, 0, 1) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * const sizes: number[] = [];
 * for await (const { x } of sequentialBatches(store.split("test"), 2)) sizes.push(x.shape[0]);
 * assertEquals(sizes, [2, 1]);
 * ```
 */
export async function* sequentialBatches(
  split: SplitReader,
  batchSize: number,
  maxTokens = split.tokens,
): AsyncGenerator<{ x: tf.Tensor2D; document: Int32Array }> {
  const end = Math.min(split.tokens, maxTokens);
  for (let start = 0; start < end; start += batchSize) {
    const count = Math.min(batchSize, end - start);
    const x = await split.rows(start, count);
    try {
      yield {
        x,
        document: Int32Array.from({ length: count }, (_, i) => split.document[start + i]),
      };
    } finally {
      x.dispose();
    }
  }
}
