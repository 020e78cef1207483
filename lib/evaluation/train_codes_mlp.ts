/**
 * Training of small networks on what a dictionary leaves behind.
 *
 * @module
 */
import { join } from "node:path";
import {
  type ActivationReader,
  fingerprint,
  requireAtLeast,
  requireBatchSize,
  type Sae,
  type TrainOptions,
} from "../dictionary/mod.ts";
import { configHash, readSafetensors, writeFileAtomic, writeSafetensors } from "../files/mod.ts";
import { codesAndResidual, usedRows } from "../interaction/mod.ts";
import { measureOnResidual, measureScales, type NfmData } from "../interaction/fit_nfm.ts";
import { linearTermGrad } from "../interaction/nfm_terms.ts";
import type { ReconstructionSummary } from "../metrics/mod.ts";
import { Rng, rowsOf, type SparseCodes, type StoredTensor, tf } from "../tensor/mod.ts";
import {
  cachedRun,
  type CheckpointOptions,
  fit,
  type HistoryRow,
  type Params,
  requireSchedule,
} from "../training/mod.ts";
import {
  CodesMlp,
  type CodesMlpScales,
  type CodesMlpShape,
  type CodesMlpWeights,
  mlpLoss,
  mlpShapes,
} from "./codes_mlp.ts";

/** Configuration of a training; every field enters its hash. */
export interface CodesMlpConfig {
  /** Hidden units; `equalMlpWidth` finds how many another model is worth. */
  hidden: number;
  /** Whether there is a linear term, so that the best affine map is one of the networks. Default true. */
  linear?: boolean;
  /** Largest active features of a token that are used. Default: k for TopK, at most 256 otherwise. */
  topN?: number;
  /** Number of updates. */
  steps: number;
  /** Tokens a step. Default 1024. */
  batchSize?: number;
  /** Default 3e-3. */
  learningRate?: number;
  /** Steps over which the learning rate rises. Default: 5 % of the steps. */
  warmupSteps?: number;
  /** Steps over which it falls to 0 at the end. Default: half of the steps. */
  decaySteps?: number;
  /** Names the initial weights and the order of the data. Default 0. */
  seed?: number;
}

/** A trained network with how it came about. */
export interface CodesMlpResult {
  /** The network; the caller disposes of it. */
  mlp: CodesMlp;
  /** Numbers by step. */
  history: HistoryRow[];
  /** Of `sae(x) + mlp(codes)` against x, on the validation split. */
  metrics: ReconstructionSummary;
  /** True if the run was stopped before its end. */
  stopped: boolean;
}

/**
 * Trains a network on the residual `x − sae(x)` from the codes of x, or loads the one that this
 * configuration gave before.
 *
 * The first layer is drawn from N(0, 2 / topN) (He et al., 2015, for `topN` inputs of size 1); the
 * rest starts at 0, so training starts from no effect.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, Sae, tf, trainCodesMlp } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a·b), and the dictionary knows a and b.
 * const rng = new Rng(0);
 * const rows = Array.from({ length: 400 }, () => {
 *   const [a, b] = [1 + rng.uniform(), 1 + rng.uniform()];
 *   return [a, b, a * b];
 * });
 * const split = { rows: Float32Array.from(rows.flat()), document: new Int32Array(400) };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const W_dec = tf.tensor2d([[1, 0, 0], [0, 1, 0]]);
 * const sae = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([2]),
 *   W_dec,
 *   b_dec: tf.zeros([3]),
 * });
 * const { metrics } = await trainCodesMlp(store, sae, {
 *   hidden: 16,
 *   steps: 300,
 *   batchSize: 100,
 *   learningRate: 3e-2,
 *   cache: false,
 * });
 * assert(metrics.fvu < 0.1); // the best affine map has 0.24
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary, which stays as it is.
 * @param config What to train, and how to watch and keep it.
 * @throws {RangeError} If the configuration is impossible; before any work.
 * @throws {Error} If activations or loss are not finite, naming the step.
 */
export async function trainCodesMlp(
  store: ActivationReader,
  sae: Sae,
  config: CodesMlpConfig & TrainOptions,
): Promise<CodesMlpResult> {
  const { signal, cache, onStep, ...training } = config;
  const resolved = resolveMlpConfig(training, store, sae);
  const key = { ...resolved, store: configHash(store.manifest), sae: await fingerprint(sae) };
  const view = (x: tf.Tensor2D) => codesAndResidual(sae, x, resolved.topN);
  return await trainMlpOn({ store, view }, sae, resolved, { key, signal, cache, onStep });
}

/** Trains a network on any residual, such as what another model leaves. */
export async function trainMlpOn(
  data: NfmData<SparseCodes>,
  sae: Sae,
  config: Required<CodesMlpConfig>,
  { key, signal, cache, onStep }: TrainOptions & {
    /** Everything that decides the result. */
    key: unknown;
  },
): Promise<CodesMlpResult> {
  const { hidden, linear, topN } = config;
  const shape: CodesMlpShape = {
    dSae: sae.config.dSae,
    dOut: sae.config.dIn,
    hidden,
    linear,
    topN,
  };
  return await cachedRun<CodesMlpResult>({ kind: "codes-mlp", config: key, cache }, {
    train: async (checkpoint) => {
      const scales = await measureScales(data);
      const run = { shape, scales, checkpoint, signal, onStep };
      const { adam, history, stopped } = await fitMlp(data, config, run);
      const weights = Object.fromEntries(
        Object.entries(adam.values).map(([name, tensor]) => [name, tf.mul(tensor, 1)]),
      ) as unknown as CodesMlpWeights;
      adam.dispose();
      const mlp = new CodesMlp(shape, weights, scales);
      return { mlp, history, metrics: await measureOnResidual(data, mlp), stopped };
    },
    save: saveMlp,
    load: async (dir) => ({ ...await loadMlp(dir), stopped: false }),
    dispose: ({ mlp }) => mlp.dispose(),
  });
}

/**
 * Fills in defaults and refuses what cannot be trained.
 *
 * @throws {RangeError} Naming the impossible value.
 */
export function resolveMlpConfig(
  config: CodesMlpConfig,
  store: ActivationReader,
  sae: Sae,
): Required<CodesMlpConfig> {
  const { k, dSae } = sae.config;
  const { hidden, linear = true, steps, batchSize = 1024, learningRate = 3e-3, seed = 0 } = config;
  const topN = config.topN ?? k ?? Math.min(256, dSae);
  const warmupSteps = config.warmupSteps ?? Math.floor(0.05 * steps);
  const decaySteps = config.decaySteps ?? Math.floor(0.5 * steps);
  requireSchedule({ learningRate, steps, warmupSteps, decaySteps });
  requireBatchSize(batchSize, store);
  requireAtLeast(1, { hidden, topN });
  if (!Number.isInteger(hidden) || !Number.isInteger(topN) || topN > (k ?? dSae)) {
    throw new RangeError(
      `Cannot train ${hidden} hidden units on the ${topN} largest features: expected integers, and ` +
        `at most ${k ?? dSae} features`,
    );
  }
  return {
    ...{ hidden, linear, topN, steps, batchSize, learningRate, warmupSteps, decaySteps, seed },
  };
}

type MlpBatch = Record<"indices" | "values" | "target", tf.Tensor2D> & {
  rows: tf.Tensor1D;
  slots: tf.Tensor2D;
};

async function fitMlp(
  data: NfmData<SparseCodes>,
  config: Required<CodesMlpConfig>,
  run: {
    shape: CodesMlpShape;
    scales: CodesMlpScales;
    checkpoint?: CheckpointOptions;
    signal?: AbortSignal;
    onStep?: (row: HistoryRow) => void;
  },
) {
  const { batchSize, seed, steps } = config;
  const { shape, scales } = run;
  const train = data.store.split("train");
  return await fit<MlpBatch>({
    label: `Network on codes, ${shape.hidden} hidden units`,
    schedule: config,
    parameters: () => initialWeights(shape, seed),
    batch: async (step) => {
      const x = await train.shuffledBatch(step, batchSize, seed);
      const batch = tf.tidy(() => {
        const { codes, residual } = data.view(x);
        return {
          indices: codes.indices,
          values: tf.mul(codes.values, scales.code) as tf.Tensor2D,
          target: tf.div(residual, scales.target) as tf.Tensor2D,
        };
      });
      x.dispose();
      return { ...batch, ...await usedRows(batch, shape.dSae) };
    },
    // A step costs what its tokens use: the network of the used features alone, which have the
    // numbers of their slots.
    loss: (_, params, { values, target, rows, slots }) =>
      tf.tidy(() => {
        const weights = params as unknown as CodesMlpWeights;
        const codes = { indices: slots, values };
        const few = {
          ...{ b: weights.b, b1: weights.b1, W2: weights.W2 },
          W1: rowsOf(params, "W1", rows),
          ...shape.linear && { W: rowsOf(params, "W", rows) },
        };
        const { loss, grads } = mlpLoss(
          few,
          codes,
          target,
          (g) => linearTermGrad(codes, g, rows.shape[0]),
        );
        const byRows = Object.fromEntries(
          Object.entries(grads).map(([name, grad]) => [
            name,
            name === "W" || name === "W1" ? { rows: tf.clone(rows), values: grad } : grad,
          ]),
        );
        return { grads: byRows, scalars: { loss } } as never;
      }),
    tokensPerStep: batchSize,
    every: Math.max(1, Math.floor(steps / 200)),
    checkpoint: run.checkpoint,
    signal: run.signal,
    onStep: run.onStep,
  });
}

function initialWeights(shape: CodesMlpShape, seed: number): Params {
  return Object.fromEntries(
    Object.entries(mlpShapes(shape)).map(([name, size]) => {
      if (name !== "W1") return [name, tf.zeros(size)];
      const values = new Rng(seed, "mlp").normals(size[0] * size[1], Math.sqrt(2 / shape.topN));
      return [name, tf.tensor(values, size as [number, number])];
    }),
  );
}

/** `mlp_weights.safetensors` with the parameters by name, and `training.json` with the rest. */
async function saveMlp(
  { mlp, history, metrics }: Omit<CodesMlpResult, "stopped">,
  dir: string,
): Promise<void> {
  const tensors: Record<string, StoredTensor> = {};
  for (const [name, tensor] of Object.entries(mlp.weights) as [string, tf.Tensor][]) {
    tensors[name] = { dtype: "F32", shape: tensor.shape, data: await tensor.data<"float32">() };
  }
  await writeSafetensors(join(dir, "mlp_weights.safetensors"), tensors);
  const { shape, scales } = mlp;
  const record = { shape, scales, metrics, history };
  await writeFileAtomic(join(dir, "training.json"), JSON.stringify(record));
}

async function loadMlp(dir: string): Promise<Omit<CodesMlpResult, "stopped">> {
  const { shape, scales, metrics, history } = JSON.parse(
    await Deno.readTextFile(join(dir, "training.json")),
  );
  const { tensors } = await readSafetensors(join(dir, "mlp_weights.safetensors"));
  const weights = Object.fromEntries(
    Object.entries(tensors).map(([name, { data, shape }]) => [
      name,
      tf.tensor(data as Float32Array, shape as [number, number]),
    ]),
  ) as unknown as CodesMlpWeights;
  return { mlp: new CodesMlp(shape, weights, scales), metrics, history };
}
