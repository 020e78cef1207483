/**
 * Several models of the same activations, on the same held-out tokens, in one pass.
 *
 * @module
 */
import {
  type ActivationReader,
  requireSameSource,
  type Sae,
  sequentialBatches,
  type SplitName,
} from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { type PerDocument, ReconstructionMeter } from "../metrics/mod.ts";
import { type SparseCodes, tf } from "../tensor/mod.ts";

/** What a reconstruction may start from. */
export interface EvaluationInput {
  /** Activations, `[tokens, dModel]`. */
  readonly x: tf.Tensor2D;
  /** Sparse codes of the dictionary that was given; absent without one. */
  readonly codes?: SparseCodes;
  /** The dictionary's reconstruction, `[tokens, dModel]`; absent without one. */
  readonly reconstruction?: tf.Tensor2D;
}

/** Makes a reconstruction, `[tokens, dModel]`; runs inside `tf.tidy`. */
export type Reconstruct = (input: EvaluationInput) => tf.Tensor2D;

/** How good a reconstruction is, with the sums that an interval needs. */
export interface Evaluation {
  /** Fraction of variance unexplained. */
  readonly fvu: number;
  /** The study's uncentred 100 · Σ‖x − x̂‖² / Σ‖x‖². */
  readonly errorPercent: number;
  /** Tokens measured. */
  readonly tokens: number;
  /** Sums by document, for `pairedBootstrap`. */
  readonly perDocument: PerDocument;
}

/** What is measured on. */
export interface EvaluateOptions {
  /** Encodes each batch once for all reconstructions. */
  sae?: Sae;
  /** Codes a token; default all that the dictionary keeps. */
  maxActive?: number;
  /** Tokens a batch. Default 1024. */
  batchSize?: number;
  /** Default: all of the split. */
  maxTokens?: number;
  /** Defects of the study that are repeated. `"B13"`: only the first ten batches are measured. */
  faithful?: readonly "B13"[];
}

/**
 * Measures reconstructions side by side.
 *
 * All see the same tokens in the same order, so their differences can be given paired intervals.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { evaluate, memoryStore, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 0, 3, 0, 5, 6), document: Int32Array.of(0, 0, 1) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const { identity, mean } = await evaluate(store, "test", {
 *   identity: ({ x }) => x,
 *   mean: ({ x }) => tf.tile(tf.mean(x, 0, true), [3, 1]) as tf.Tensor2D,
 * });
 * assertAlmostEquals(identity.fvu, 0);
 * assertAlmostEquals(mean.fvu, 1);
 * ```
 *
 * @param store Activations.
 * @param split Which documents, and the dictionary whose codes the reconstructions start from.
 * @param reconstructions What to measure, by name.
 * @throws {RangeError} If the store is not what the dictionary was trained on.
 */
export async function evaluate<Name extends string>(
  store: ActivationReader,
  split: SplitName | EvaluateOptions & { split: SplitName },
  reconstructions: Record<Name, Reconstruct>,
): Promise<Record<Name, Evaluation>> {
  const options = typeof split === "string" ? { split } : split;
  const { sae, maxActive, batchSize = 1024 } = options;
  const maxTokens = options.faithful?.includes("B13")
    ? Math.min(10 * batchSize, options.maxTokens ?? Infinity)
    : options.maxTokens;
  if (sae) requireSameSource(store, sae);
  const reader = store.split(options.split);
  const names = Object.keys(reconstructions) as Name[];
  const meters = names.map(() => new ReconstructionMeter(store.dModel));
  const total = Math.min(reader.tokens, maxTokens ?? Infinity);
  const line = progress(`Measuring on ${options.split} documents`, { total, unit: "tokens" });
  let done = 0;
  try {
    for await (const { x, document } of sequentialBatches(reader, batchSize, maxTokens)) {
      const codes = sae?.encodeSparse(x, { maxActive });
      const reconstruction = sae?.reconstruct(x);
      for (const [i, name] of names.entries()) {
        const estimate = tf.tidy(() =>
          // A clone, since a reconstruction may be one of its own inputs.
          tf.clone(reconstructions[name]({ x, codes, reconstruction }))
        );
        try {
          await meters[i].update(x, estimate, { document });
        } finally {
          estimate.dispose();
        }
      }
      if (codes) tf.dispose([codes.indices, codes.values]);
      reconstruction?.dispose();
      line.update(done += x.shape[0]);
    }
  } catch (error) {
    line.stop("failed");
    throw error;
  }
  line.finish();
  return Object.fromEntries(names.map((name, i) => {
    const { fvu, errorPercent, tokens } = meters[i].summary();
    return [name, { fvu, errorPercent, tokens, perDocument: meters[i].perDocument() }];
  })) as unknown as Record<Name, Evaluation>;
}
