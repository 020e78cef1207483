/**
 * What a dictionary leaves behind, as a store of its own, and a second dictionary that
 * is trained on it.
 *
 * A secondary dictionary sees the residual of x, which no function of the first code
 * does: it is the baseline that a model of interactions has to be compared with, tuned
 * with the same care.
 *
 * @module
 */
import { configHash } from "../files/mod.ts";
import { tf } from "../tensor/mod.ts";
import { type ActivationReader, sequentialBatches, type SplitReader } from "./reader.ts";
import { requireSameSource } from "./same_source.ts";
import { Sae, weightNames } from "./sae.ts";
import { fingerprint } from "./sae_files.ts";
import { type SaeResult, titleOf, trainOn, type TrainOptions } from "./train_sae.ts";
import { resolveSaeConfig, type SaeTrainingConfig } from "./train_config.ts";

/** Tokens from which the residual's scale is measured. */
const SCALE_TOKENS = 16384;

/**
 * The residual `r = (x − sae(x)) · scale` of a store, computed when it is read.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, residualReader, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 4, 3, 4), document: Int32Array.of(0, 0) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const sae = new Sae({ architecture: "standard", dIn: 2, dSae: 1 }, {
 *   W_enc: tf.tensor2d([[1], [0]]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.tensor2d([[1, 0]]),
 *   b_dec: tf.zeros([2]),
 * }); // reconstructs the first element and not the second
 * const residual = await residualReader(store, sae, 0.5).split("train").rows(0, 2);
 * assertEquals([...await residual.data()], [0, 2, 0, 2]);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @param scale Factor; see `residualScale`.
 * @throws {RangeError} If the dictionary is of another width, model, hook point or normaliser, or
 * predicts another activation.
 */
export function residualReader(
  store: ActivationReader,
  sae: Sae,
  scale: number,
): ActivationReader {
  const { dIn, dOut } = sae.config;
  if (dOut !== undefined || dIn !== store.dModel) {
    throw new RangeError(
      `Cannot take what a ${
        dOut === undefined ? "dictionary" : "transcoder"
      } of width ${dIn} leaves ` +
        `of activations of width ${store.dModel}: give an autoencoder of the same width`,
    );
  }
  requireSameSource(store, sae);
  const residual = (x: tf.Tensor2D): tf.Tensor2D => {
    const r = tf.tidy(() => tf.mul(tf.sub(x, sae.reconstruct(x)), scale) as tf.Tensor2D);
    x.dispose();
    return r;
  };
  const reader = (split: SplitReader): SplitReader => ({
    tokens: split.tokens,
    get document() {
      return split.document;
    },
    rows: async (start, count) => residual(await split.rows(start, count)),
    shuffledBatch: async (step, batchSize, seed) =>
      residual(await split.shuffledBatch(step, batchSize, seed)),
    order: split.order,
    ...split.firstTokens && {
      firstTokens: (tokens: number) => reader(split.firstTokens!(tokens)),
    },
  });
  return {
    dModel: store.dModel,
    hook: store.hook,
    model: store.model,
    manifest: { residualOf: store.manifest, scale },
    normalizer: null,
    split: (name) => reader(store.split(name)),
  };
}

/**
 * The factor that gives the residual a root mean square of 1 an element, so that the learning rates
 * that suit activations suit it too.
 *
 * It is measured on the first training tokens.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { memoryStore, openDevice, residualScale, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 4, 3, 4), document: Int32Array.of(0, 0) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const sae = new Sae({ architecture: "standard", dIn: 2, dSae: 1 }, {
 *   W_enc: tf.tensor2d([[1], [0]]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.tensor2d([[1, 0]]),
 *   b_dec: tf.zeros([2]),
 * }); // reconstructs the first element and not the second
 * // Elements 0, 4, 0, 4 have a mean square of 8.
 * assertAlmostEquals(await residualScale(store, sae), 1 / Math.sqrt(8), 1e-6);
 * ```
 *
 * @throws {RangeError} If the residual is 0: there is nothing to explain.
 */
export async function residualScale(store: ActivationReader, sae: Sae): Promise<number> {
  let total = 0;
  let count = 0;
  const reader = residualReader(store, sae, 1);
  for await (const { x } of sequentialBatches(reader.split("train"), 1024, SCALE_TOKENS)) {
    const sum = tf.tidy(() => tf.sum(tf.square(x)));
    total += (await sum.data())[0];
    sum.dispose();
    count += x.size;
  }
  if (!(total > 0)) {
    throw new RangeError(
      `Cannot scale a residual of ${total}: the dictionary reconstructs its training tokens exactly`,
    );
  }
  return Math.sqrt(count / total);
}

/**
 * Trains a secondary dictionary on the residual `x − sae(x)`, target the residual, or loads the one
 * that this configuration gave before.
 *
 * It is trained on the residual scaled to a root mean square of 1; afterwards the scale is folded
 * into its weights, so that `result.sae.reconstruct(x − sae.reconstruct(x))` is in the units of x.
 * Its activations stay in scaled units; the scale stands in `sae.metadata.residualScale`.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, trainResidualSae, trainSae } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const config = { architecture: "topk", dSae: 8, k: 1, steps: 60, batchSize: 64 } as const;
 * const first = await trainSae(store, { ...config, learningRate: 1e-2 }, { cache: false });
 * const second = await trainResidualSae(store, first.sae, {
 *   ...config,
 *   learningRate: 1e-2,
 *   cache: false,
 * });
 * assert(second.metrics.fvu < 1); // of the residual: better than its mean
 * ```
 *
 * @param store Activations in the first dictionary's units.
 * @param sae The first dictionary.
 * @param config What to train, and how to watch and keep it.
 * @throws {RangeError} If the configuration is impossible; before any work.
 */
export async function trainResidualSae(
  store: ActivationReader,
  sae: Sae,
  config: SaeTrainingConfig & TrainOptions,
): Promise<SaeResult> {
  const { signal, cache, onStep, ...training } = config;
  const resolved = resolveSaeConfig(training, store);
  const scale = await residualScale(store, sae);
  const reader = residualReader(store, sae, scale);
  return await trainOn(reader, {
    kind: "residual-sae",
    label: `Secondary ${titleOf(resolved, reader)}`,
    config: resolved,
    key: { ...resolved, store: configHash(store.manifest), sae: await fingerprint(sae) },
    signal,
    cache,
    onStep,
    finish: (trained) => {
      const rawScale = store.normalizer?.scale;
      const factors: Record<string, number> = { W_enc: scale, W_dec: 1 / scale, b_dec: 1 / scale };
      const weights = weightNames(trained).map((name) => [
        name,
        factors[name] ? tf.mul(trained[name]!, factors[name]) : tf.clone(trained[name]!),
      ]);
      const unscaled = new Sae(trained.config, Object.fromEntries(weights), {
        // A difference of two activations: what was subtracted or clipped no longer matters.
        normalizer: rawScale === undefined ? null : { scale: rawScale },
        metadata: { ...trained.metadata, residualScale: scale },
      });
      trained.dispose();
      return unscaled;
    },
  });
}
