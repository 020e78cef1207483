/**
 * Embeddings of a factorization machine as plain numbers: as trained, as they were before, and what
 * training changed.
 *
 * @module
 */
import { type Nfm, untrainedNfm } from "../interaction/mod.ts";

/** One row a feature, one column a dimension K. */
export interface Embeddings {
  /** `[features, K]`, row-major. */
  readonly values: Float32Array;
  readonly features: number;
  readonly K: number;
}

/** Embeddings with what they started from. */
export interface LearnedEmbeddings {
  readonly trained: Embeddings;
  /** Those of the model before its first step, to the bit. */
  readonly initial: Embeddings;
  /** `trained − initial`: 0 in the row of a feature that was never active. */
  readonly change: Embeddings;
  /** Standard deviation that the initial ones were drawn with. */
  readonly initialStd: number;
}

/** Which weights a choice is made by. */
export interface SelectionOptions {
  /**
   * `"B3"`: by the trained weights as they are, in which the initial ones still stand. Default: by what
   * training changed.
   */
  faithful?: readonly "B3"[];
}

/**
 * Reads embeddings and makes the initial ones again from the seed of the training.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { learnedEmbeddings, Nfm, openDevice, tf, untrainedNfm } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 3, dOut: 1, K: 2, head: "linear", topN: 3 } as const;
 * const training = { seed: 0, linearStd: 0, embeddingStd: 0.05, headStd: 1 };
 * const weights = { b: tf.zeros([1]), V: tf.ones([3, 2]), C: tf.ones([2, 1]) } as const;
 * const nfm = new Nfm(shape, weights as never, { metadata: { training } });
 * const { change, initial } = await learnedEmbeddings(nfm);
 * assertEquals(change.values[0], Math.fround(1 - initial.values[0]));
 *
 * // Nothing is learned without training.
 * const untrained = await learnedEmbeddings(untrainedNfm(nfm), training);
 * assertEquals([...untrained.change.values], [0, 0, 0, 0, 0, 0]);
 * ```
 *
 * @param nfm A model with pairs.
 * @param initial How its weights were drawn, where it has no record of its training.
 * @throws {RangeError} If it has no pairs, or how its weights were drawn is not known.
 */
export async function learnedEmbeddings(
  nfm: Nfm,
  initial: Parameters<typeof untrainedNfm>[1] = {},
): Promise<LearnedEmbeddings> {
  const { V } = nfm.weights;
  if (!V) throw new RangeError('Cannot read the embeddings of a model of parts "linear"');
  const [features, K] = V.shape;
  const untrained = untrainedNfm(nfm, initial);
  const { embeddingStd } = untrained.metadata.initial as { embeddingStd: number };
  const [after, before] = await Promise.all([
    V.data<"float32">(),
    untrained.weights.V!.data<"float32">(),
  ]);
  untrained.dispose();
  const of = (values: Float32Array): Embeddings => ({ values, features, K });
  return {
    trained: of(Float32Array.from(after)),
    initial: of(Float32Array.from(before)),
    change: of(Float32Array.from(after, (value, i) => value - before[i])),
    initialStd: embeddingStd,
  };
}

/** The weights that a choice is made by. */
export function selectionWeights(
  { trained, change }: LearnedEmbeddings,
  { faithful = [] }: SelectionOptions = {},
): Embeddings {
  return faithful.includes("B3") ? trained : change;
}

/** The row of a feature, a view. */
export function embeddingRow({ values, features, K }: Embeddings, feature: number): Float32Array {
  requireFeature(feature, features);
  return values.subarray(feature * K, (feature + 1) * K);
}

/** @throws {RangeError} If it is not the number of a feature. */
export function requireFeature(feature: number, features: number): void {
  if (!Number.isInteger(feature) || feature < 0 || feature >= features) {
    throw new RangeError(
      `Cannot look at feature ${feature}: expected an integer in 0…${features - 1}`,
    );
  }
}
