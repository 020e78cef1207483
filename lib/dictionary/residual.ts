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
import { Sae } from "./sae.ts";
import { fingerprint } from "./sae_files.ts";
import { type SaeResult, trainOn, type TrainOptions } from "./train_sae.ts";
import { resolveSaeConfig, type SaeTrainingConfig } from "./train_config.ts";

/** Tokens from which the residual's scale is measured. */
const SCALE_TOKENS = 16384;

/**
 * The residual `r = (x − sae(x)) · scale` of a store, computed when it is read.
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @param scale Factor; see `residualScale`.
 */
export function residualReader(
  store: ActivationReader,
  sae: Sae,
  scale: number,
): ActivationReader {
  const residual = (x: tf.Tensor2D): tf.Tensor2D => {
    const r = tf.tidy(() => tf.mul(tf.sub(x, sae.reconstruct(x)), scale) as tf.Tensor2D);
    x.dispose();
    return r;
  };
  const reader = (split: SplitReader): SplitReader => ({
    tokens: split.tokens,
    document: split.document,
    rows: async (start, count) => residual(await split.rows(start, count)),
    shuffledBatch: async (step, batchSize, seed) =>
      residual(await split.shuffledBatch(step, batchSize, seed)),
  });
  return {
    dModel: store.dModel,
    hook: store.hook,
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
  const { architecture, dSae } = resolved;
  return await trainOn(reader, {
    kind: "residual-sae",
    label: `Secondary ${architecture === "topk" ? "TopK" : "ReLU"} SAE, ${dSae} features`,
    config: resolved,
    key: { ...resolved, store: configHash(store.manifest), sae: await fingerprint(sae) },
    signal,
    cache,
    onStep,
    finish: (trained) => {
      const { W_enc, b_enc, W_dec, b_dec } = trained;
      const rawScale = store.normalizer?.scale;
      const unscaled = new Sae(trained.config, {
        W_enc: tf.mul(W_enc, scale),
        b_enc: tf.clone(b_enc),
        W_dec: tf.div(W_dec, scale),
        b_dec: tf.div(b_dec, scale),
      }, {
        // A difference of two activations: what was subtracted or clipped no longer matters.
        normalizer: rawScale === undefined ? null : { scale: rawScale },
        metadata: { ...trained.metadata, residualScale: scale },
      });
      trained.dispose();
      return unscaled;
    },
  });
}
