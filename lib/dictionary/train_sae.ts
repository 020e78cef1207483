/**
 * Training of dictionaries.
 *
 * @module
 */
import { join } from "node:path";
import { configHash, writeFileAtomic } from "../files/mod.ts";
import { ReconstructionMeter, type ReconstructionSummary } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";
import {
  cachedRun,
  type CheckpointOptions,
  fit,
  type HistoryRow,
  loopOptions,
  type Params,
} from "../training/mod.ts";
import type { StepData } from "./closed_form.ts";
import { initialWeights } from "./initial_weights.ts";
import { targetOf } from "./pair_reader.ts";
import { requireSameSource } from "./same_source.ts";
import { type ActivationReader, sequentialBatches, type SplitName } from "./reader.ts";
import { type Recipe, recipeOf } from "./recipes.ts";
import { Sae, type SaeWeights, weightNames } from "./sae.ts";
import { loadSae, saveSae } from "./sae_files.ts";
import {
  defectsOf,
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
 * @param store Activations; of a `pairReader`, a transcoder is trained.
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
  return await trainOn(store, {
    kind: "sae",
    label: titleOf(resolved, store),
    config: resolved,
    key: { ...resolved, store: configHash(store.manifest) },
    ...options,
  });
}

/** What a training is called, such as "TopK SAE, 4096 features". */
export function titleOf(config: ResolvedSaeConfig, store: ActivationReader): string {
  const { title } = recipeOf(config);
  const target = targetOf(store);
  const kind = config.skip ? "skip transcoder" : "transcoder";
  return `${target ? title.replace("SAE", kind) : title}, ${config.dSae} features`;
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
  const target = targetOf(store);
  const metadata = {
    hook_name: store.hook,
    ...store.model && { model_name: store.model.name, model_hash: store.model.hash },
    ...target && { hook_name_out: target.hook },
    training: run.key,
  };
  return await cachedRun<SaeResult>({ kind: run.kind, config: run.key, cache: run.cache }, {
    train: async (checkpoint) => {
      const { adam, recipe, history, stopped } = await fitSae(store, config, {
        ...run,
        checkpoint,
      });
      const trained = trainedSae(store, config, { recipe, params: adam.values, metadata });
      adam.dispose();
      const metrics = await measureSae(store, trained, { split: "validation" });
      return { sae: finish(trained), history, metrics, stopped };
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
  const { batchSize, seed, steps } = config;
  const train = store.split("train");
  const target = targetOf(store)?.split("train");
  const recipe = recipeOf(config);
  const defects = defectsOf(config);
  const read = async (step: number, tokens: number) => {
    const x = await train.shuffledBatch(step, tokens, seed);
    return target ? { x, target: await target.shuffledBatch(step, tokens, seed) } : { x };
  };
  const fitted = await fit<StepData & Record<string, tf.Tensor>>({
    label: run.label,
    schedule: config,
    parameters: async () => {
      const sample = await read(0, Math.min(SAMPLE_TOKENS, train.tokens));
      const shape = { ...saeShape(config, store), k: config.k };
      const weights = await initialWeights(shape, sample, config);
      tf.dispose(sample);
      return { ...weights, ...recipe.parameters?.() } as Params;
    },
    ...loopOptions(config, async (params) => {
      const sae = trainedSae(store, config, { recipe, params });
      const { fvu } = await measureSae(store, sae, { split: "validation" });
      sae.dispose();
      return fvu;
    }),
    adam: {
      ...defects.recipe && { epsilon: 1e-5 },
      ...defects.float16 && { precision: "float16" },
    },
    batch: async (step) => await read(step, batchSize) as StepData & Record<string, tf.Tensor>,
    loss: (step, params, data) => recipe.loss(step, params as unknown as SaeWeights, data),
    afterUpdate: recipe.afterUpdate,
    tokensPerStep: batchSize,
    every: Math.max(1, Math.floor(steps / 200)),
    state: recipe.state,
    checkpoint: run.checkpoint,
    signal: run.signal,
    onStep: run.onStep,
  });
  return { ...fitted, recipe };
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
 * @param store Activations in the dictionary's units; of a transcoder, a `pairReader`.
 * @param sae The dictionary.
 * @param options `split`; `batchSize`, default 1024; `maxTokens`, default all.
 */
export async function measureSae(
  store: ActivationReader,
  sae: Sae,
  options: { split: SplitName; batchSize?: number; maxTokens?: number },
): Promise<ReconstructionSummary> {
  const { split, batchSize = 1024, maxTokens } = options;
  requireSameSource(store, sae);
  const reader = store.split(split);
  const target = targetOf(store);
  const { dSae, dOut, architecture } = sae.config;
  if (dOut !== undefined && !target) {
    throw new RangeError(`Cannot measure a transcoder on one store: give a pairReader`);
  }
  const meter = new ReconstructionMeter((target ?? store).dModel, { dSae });
  let start = 0;
  for await (const { x, document } of sequentialBatches(reader, batchSize, maxTokens)) {
    const y = await target?.split(split).rows(start, document.length);
    const codes = architecture === "topk" ? sae.encodeSparse(x) : sae.encode(x);
    const reconstruction = tf.tidy(() => {
      const decoded = codes instanceof tf.Tensor ? sae.decode(codes) : sae.decodeSparse(codes);
      return sae.W_skip ? tf.add(decoded, tf.matMul(x, sae.W_skip, false, true)) : decoded;
    }) as tf.Tensor2D;
    await meter.update(y ?? x, reconstruction, { document, codes });
    tf.dispose(codes instanceof tf.Tensor ? codes : [codes.indices, codes.values]);
    tf.dispose(y ? [reconstruction, y] : reconstruction);
    start += document.length;
  }
  return meter.summary();
}

/** The dictionary that parameters make now; it owns copies of them. */
function trainedSae(
  store: ActivationReader,
  config: ResolvedSaeConfig,
  { recipe, params, metadata }: {
    recipe: Recipe;
    params: Params;
    metadata?: Record<string, unknown>;
  },
): Sae {
  const target = targetOf(store);
  const weights = copyWeights(params as unknown as SaeWeights);
  return new Sae(saeShape(config, store), { ...weights, ...recipe.results?.() }, {
    normalizer: store.normalizer,
    ...target && { outputNormalizer: target.normalizer ?? null },
    metadata,
  });
}

function copyWeights(weights: SaeWeights): SaeWeights {
  return Object.fromEntries(
    weightNames(weights).map((name) => [name, tf.mul(weights[name]!, 1)]),
  ) as unknown as SaeWeights;
}
