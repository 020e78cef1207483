/**
 * Training of dictionaries.
 *
 * @module
 */
import { join } from "node:path";
import { configHash, writeFileAtomic } from "../files/mod.ts";
import { ReconstructionMeter, type ReconstructionSummary } from "../metrics/mod.ts";
import { type Adam, tf } from "../tensor/mod.ts";
import {
  cachedRun,
  type CheckpointOptions,
  fit,
  type HistoryRow,
  type Params,
  type StepResult,
} from "../training/mod.ts";
import { DeadFeatures } from "./dead_features.ts";
import { initialWeights, perpendicularRows, unitRows } from "./initial_weights.ts";
import { type ActivationReader, sequentialBatches, type SplitName } from "./reader.ts";
import { Sae, type SaeWeights } from "./sae.ts";
import { loadSae, saveSae } from "./sae_files.ts";
import { standardLoss } from "./standard_loss.ts";
import { topkLoss } from "./topk_loss.ts";
import {
  type ResolvedSaeConfig,
  resolveSaeConfig,
  saeShape,
  type SaeTrainingConfig,
} from "./train_config.ts";

/** How a run is watched and kept; none of it decides the result. */
export interface TrainOptions {
  /** Stops the run after the current step; see `stopSignal`. */
  signal?: AbortSignal;
  /**
   * True (default) keeps results and unfinished runs in the cache; a text names another folder;
   * false keeps nothing.
   */
  cache?: boolean | string;
  /** Called after each step. */
  onStep?: (row: HistoryRow) => void;
}

/** A trained dictionary with how it came about. */
export interface SaeResult {
  /** The dictionary; the caller disposes of it. */
  sae: Sae;
  /** Numbers by step. */
  history: HistoryRow[];
  /** On the validation split; of the residual, if that is what it was trained on. */
  metrics: ReconstructionSummary;
  /** True if the run was stopped before its end. */
  stopped: boolean;
}

/** The first tokens of the training order make the initial weights. */
const SAMPLE_TOKENS = 4096;

/**
 * Trains a dictionary, or loads the one that this configuration gave before.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, trainSae } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const { sae, metrics, history } = await trainSae(store, {
 *   architecture: "topk",
 *   dSae: 16,
 *   k: 4,
 *   steps: 60,
 *   batchSize: 64,
 *   learningRate: 1e-2,
 * }, { cache: false });
 * assert(metrics.fvu < 0.5 && metrics.l0! <= 4);
 * assert(history.at(-1)!.loss < history[0].loss);
 * sae.dispose();
 * ```
 *
 * @param store Activations.
 * @param config What to train. Each field has a default or is named by the error.
 * @param options How to watch and keep it.
 * @throws {RangeError} If the configuration is impossible; before any work.
 * @throws {Error} If activations or loss are not finite, naming the step.
 */
export async function trainSae(
  store: ActivationReader,
  config: SaeTrainingConfig,
  options: TrainOptions = {},
): Promise<SaeResult> {
  const resolved = resolveSaeConfig(config, store);
  const { architecture, dSae } = resolved;
  return await trainOn(store, {
    kind: "sae",
    label: `${architecture === "topk" ? "TopK" : "ReLU"} SAE, ${dSae} features`,
    config: resolved,
    key: { ...resolved, store: configHash(store.manifest) },
    ...options,
  });
}

/** What `trainSae` and `trainResidualSae` have in common. */
export async function trainOn(
  store: ActivationReader,
  run: TrainOptions & {
    kind: string;
    label: string;
    config: ResolvedSaeConfig;
    /** Everything that decides the result. */
    key: unknown;
    /** Turns what was trained into what is kept. Default: as it is. */
    finish?: (sae: Sae) => Sae;
  },
): Promise<SaeResult> {
  const { config, finish = (sae) => sae } = run;
  const metadata = { hook_name: store.hook, training: run.key };
  return await cachedRun<SaeResult>({ kind: run.kind, config: run.key, cache: run.cache }, {
    train: async (checkpoint) => {
      const fitted = await fitSae(store, config, { ...run, checkpoint });
      const shape = saeShape(config, store.dModel);
      const weights = copyWeights(fitted.adam);
      fitted.adam.dispose();
      const trained = new Sae(shape, weights, { normalizer: store.normalizer, metadata });
      const metrics = await measureSae(store, trained, { split: "validation" });
      return { sae: finish(trained), history: fitted.history, metrics, stopped: fitted.stopped };
    },
    save: async ({ sae, history, metrics }, dir) => {
      await saveSae(sae, dir);
      await writeFileAtomic(join(dir, "training.json"), JSON.stringify({ metrics, history }));
    },
    load: async (dir) => {
      const { metrics, history } = JSON.parse(await Deno.readTextFile(join(dir, "training.json")));
      return { sae: await loadSae(dir), metrics, history, stopped: false };
    },
    dispose: ({ sae }) => sae.dispose(),
  });
}

async function fitSae(
  store: ActivationReader,
  config: ResolvedSaeConfig,
  run: TrainOptions & { label: string; checkpoint?: CheckpointOptions },
) {
  const { architecture, batchSize, seed, steps } = config;
  const train = store.split("train");
  const dead = architecture === "topk"
    ? new DeadFeatures(config.dSae, config.deadAfterTokens!)
    : undefined;
  const loss = dead
    ? (_: number, params: Params, x: tf.Tensor2D) => topkStep(params, x, config, dead)
    : (step: number, params: Params, x: tf.Tensor2D) =>
      standardLoss(weightsOf(params), x, {
        l1Coefficient: config.l1Coefficient! *
          Math.min(1, (step + 1) / (config.l1WarmupSteps! + 1)),
      });
  return await fit<tf.Tensor2D>({
    label: run.label,
    schedule: config,
    parameters: async () => {
      const sample = await train.shuffledBatch(0, Math.min(SAMPLE_TOKENS, train.tokens), seed);
      const weights = await initialWeights(saeShape(config, store.dModel), sample, config);
      sample.dispose();
      return { ...weights };
    },
    batch: (step) => train.shuffledBatch(step, batchSize, seed),
    loss,
    afterUpdate: dead && ((adam) => {
      adam.assign("W_dec", unitRows(adam.values.W_dec as tf.Tensor2D));
    }),
    tokensPerStep: batchSize,
    every: Math.max(1, Math.floor(steps / 200)),
    state: dead,
    checkpoint: run.checkpoint,
    signal: run.signal,
    onStep: run.onStep,
  });
}

async function topkStep(
  params: Params,
  x: tf.Tensor2D,
  config: ResolvedSaeConfig,
  deadFeatures: DeadFeatures,
): Promise<StepResult> {
  const weights = weightsOf(params);
  const dead = config.auxCoefficient! > 0 ? deadFeatures.dead() : undefined;
  const { grads, scalars, codes } = topkLoss(weights, x, {
    k: config.k!,
    dead,
    auxK: config.auxK,
    auxCoefficient: config.auxCoefficient,
  });
  const W_dec = perpendicularRows(grads.W_dec as tf.Tensor2D, weights.W_dec);
  grads.W_dec.dispose();
  await deadFeatures.update(codes);
  tf.dispose([codes.indices, codes.values]);
  return {
    grads: { ...grads, W_dec },
    scalars: { ...scalars, dead: tf.scalar(deadFeatures.dead().length / config.dSae) },
  };
}

/**
 * Measures a dictionary on a split: FVU, error %, L0, dead fraction.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { measureSae, memoryStore, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3), document: Int32Array.of(0, 0, 1) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * const one = () => tf.ones<tf.Rank.R2>([1, 1]);
 * const identity = new Sae({ architecture: "standard", dIn: 1, dSae: 1 }, {
 *   W_enc: one(),
 *   b_enc: tf.zeros([1]),
 *   W_dec: one(),
 *   b_dec: tf.zeros([1]),
 * });
 * const { fvu, l0, tokens } = await measureSae(store, identity, { split: "test" });
 * assertEquals([fvu, l0, tokens], [0, 1, 3]);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @param options `split`; `batchSize`, default 1024; `maxTokens`, default all.
 */
export async function measureSae(
  store: ActivationReader,
  sae: Sae,
  options: { split: SplitName; batchSize?: number; maxTokens?: number },
): Promise<ReconstructionSummary> {
  const { split, batchSize = 1024, maxTokens } = options;
  const meter = new ReconstructionMeter(store.dModel, { dSae: sae.config.dSae });
  for await (const { x, document } of sequentialBatches(store.split(split), batchSize, maxTokens)) {
    if (sae.config.architecture === "topk") {
      const codes = sae.encodeSparse(x);
      const reconstruction = sae.decodeSparse(codes);
      await meter.update(x, reconstruction, { document, codes });
      tf.dispose([codes.indices, codes.values, reconstruction]);
    } else {
      const codes = sae.encode(x);
      const reconstruction = sae.decode(codes);
      await meter.update(x, reconstruction, { document, codes });
      tf.dispose([codes, reconstruction]);
    }
  }
  return meter.summary();
}

function weightsOf(params: Params): SaeWeights {
  return params as unknown as SaeWeights;
}

function copyWeights(adam: Adam): SaeWeights {
  const { W_enc, b_enc, W_dec, b_dec } = weightsOf(adam.values);
  return {
    W_enc: tf.mul(W_enc, 1),
    b_enc: tf.mul(b_enc, 1),
    W_dec: tf.mul(W_dec, 1),
    b_dec: tf.mul(b_dec, 1),
  };
}
