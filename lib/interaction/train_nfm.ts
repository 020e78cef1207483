/**
 * Training of factorization machines on what a dictionary leaves behind.
 *
 * @module
 */
import { join } from "node:path";
import {
  type ActivationReader,
  fingerprint,
  type Sae,
  sequentialBatches,
  type TrainOptions,
} from "../dictionary/mod.ts";
import { configHash, writeFileAtomic } from "../files/mod.ts";
import { ReconstructionMeter, type ReconstructionSummary } from "../metrics/mod.ts";
import { Rng, type SparseCodes, tf, topK } from "../tensor/mod.ts";
import {
  cachedRun,
  type CheckpointOptions,
  fit,
  type HistoryRow,
  type Params,
} from "../training/mod.ts";
import { Nfm, type NfmScales, type NfmWeights, weightShapes } from "./nfm.ts";
import {
  type NfmConfig,
  type NfmShape,
  type ResolvedNfmConfig,
  resolveNfmConfig,
} from "./nfm_config.ts";
import { nfmLoss, nfmRowLoss } from "./nfm_loss.ts";
import { usedRows } from "./nfm_terms.ts";

/** A trained model with how it came about. */
export interface NfmResult {
  /** The model; the caller disposes of it. */
  nfm: Nfm;
  /** Numbers by step. */
  history: HistoryRow[];
  /** Of `sae(x) + nfm(codes)` against x, on the validation split. */
  metrics: ReconstructionSummary;
  /** True if the run was stopped before its end. */
  stopped: boolean;
}

/** Tokens from which the scales of codes and residual are measured. */
const SCALE_TOKENS = 16384;

/**
 * Trains a model of the residual `x − sae(x)` on the codes of x, or loads the one that this
 * configuration gave before.
 *
 * `parts: "linear"` is the baseline of every comparison: it refits the dictionary's decoder on the
 * same codes, and only what `"both"` explains beyond it is owed to pairs of features.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, Sae, tf, trainNfm } from "interlens";
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
 * const config = { K: 4, steps: 300, batchSize: 100, learningRate: 3e-2, cache: false };
 * const both = await trainNfm(store, sae, config);
 * const linear = await trainNfm(store, sae, { ...config, parts: "linear" });
 * assert(both.metrics.fvu < 0.2 * linear.metrics.fvu);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary, which stays as it is.
 * @param config What to train, and how to watch and keep it.
 * @throws {RangeError} If the configuration is impossible; before any work.
 * @throws {Error} If activations or loss are not finite, naming the step.
 */
export async function trainNfm(
  store: ActivationReader,
  sae: Sae,
  config: NfmConfig & TrainOptions,
): Promise<NfmResult> {
  const { signal, cache, onStep, ...training } = config;
  const resolved = resolveNfmConfig(training, store, sae);
  const { parts, K, head, topN } = resolved;
  const shape: NfmShape = { parts, K, head, topN, dSae: sae.config.dSae, dOut: sae.config.dIn };
  const key = { ...resolved, store: configHash(store.manifest), sae: await fingerprint(sae) };
  return await cachedRun<NfmResult>({ kind: "nfm", config: key, cache }, {
    train: async (checkpoint) => {
      const scales = await measureScales(store, sae, topN);
      const run = { shape, scales, checkpoint, signal, onStep };
      const { adam, history, stopped } = await fitNfm(store, sae, resolved, run);
      const weights = Object.fromEntries(
        Object.entries(adam.values).map(([name, tensor]) => [name, tf.mul(tensor, 1)]),
      ) as unknown as NfmWeights;
      adam.dispose();
      const nfm = new Nfm(shape, weights, { scales, metadata: { training: key } });
      const metrics = await measureNfm(store, sae, nfm);
      return { nfm, history, metrics, stopped };
    },
    save: async ({ nfm, history, metrics }, dir) => {
      await nfm.save(dir);
      await writeFileAtomic(join(dir, "training.json"), JSON.stringify({ metrics, history }));
    },
    load: async (dir) => {
      const { metrics, history } = JSON.parse(await Deno.readTextFile(join(dir, "training.json")));
      return { nfm: await Nfm.load(dir), metrics, history, stopped: false };
    },
    dispose: ({ nfm }) => nfm.dispose(),
  });
}

/** Scaled codes and residual of a step, and the rows in use if only they are updated. */
type NfmBatch = {
  indices: tf.Tensor2D;
  values: tf.Tensor2D;
  target: tf.Tensor2D;
  rows?: tf.Tensor1D;
  slots?: tf.Tensor2D;
};

async function fitNfm(
  store: ActivationReader,
  sae: Sae,
  config: ResolvedNfmConfig,
  run: {
    shape: NfmShape;
    scales: NfmScales;
    checkpoint?: CheckpointOptions;
    signal?: AbortSignal;
    onStep?: (row: HistoryRow) => void;
  },
) {
  const { batchSize, seed, dropout, steps, topN, updates } = config;
  const { shape, scales } = run;
  const train = store.split("train");
  const name = { linear: "Linear refit", interaction: "NFM, pairs only", both: "NFM" }[shape.parts];
  return await fit<NfmBatch>({
    label: shape.parts === "linear" ? name : `${name}, K = ${shape.K}`,
    schedule: config,
    parameters: () => initialNfmWeights(shape, config),
    batch: async (step) => {
      const x = await train.shuffledBatch(step, batchSize, seed);
      const batch = tf.tidy(() => {
        const { codes, residual } = codesAndResidual(sae, x, topN);
        return {
          indices: codes.indices,
          values: tf.mul(codes.values, scales.code) as tf.Tensor2D,
          target: tf.div(residual, scales.target) as tf.Tensor2D,
        };
      });
      x.dispose();
      return updates === "rows" ? { ...batch, ...await usedRows(batch, shape.dSae) } : batch;
    },
    loss: (step, params, { indices, values, target, rows, slots }) =>
      tf.tidy(() => {
        const weights = params as unknown as NfmWeights;
        const keep = dropout > 0 && shape.parts !== "linear"
          ? dropoutMask(batchSize, shape.K, { dropout, seed, step })
          : undefined;
        const codes = { indices, values };
        const used = rows && slots && { rows, slots };
        return (used
          ? nfmRowLoss(weights, codes, target, { used, keep })
          : nfmLoss(weights, codes, target, { keep })) as never;
      }),
    tokensPerStep: batchSize,
    every: Math.max(1, Math.floor(steps / 200)),
    checkpoint: run.checkpoint,
    signal: run.signal,
    onStep: run.onStep,
  });
}

/**
 * The codes that a model of `topN` features sees, and what the dictionary leaves of x. The residual
 * is that of the whole code, whatever `topN` is.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { codesAndResidual, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const sae = new Sae({ architecture: "standard", dIn: 1, dSae: 2 }, {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.zeros([1]),
 * });
 * const { codes, residual } = codesAndResidual(sae, tf.tensor2d([[2]]), 1);
 * assertEquals([...await codes.values.data()], [2]); // the largest of 2 and 1
 * assertEquals([...await residual.data()], [2 - 3]); // of the whole code
 * ```
 */
export function codesAndResidual(
  sae: Sae,
  x: tf.Tensor2D,
  topN: number,
): { codes: SparseCodes; residual: tf.Tensor2D } {
  return tf.tidy(() => {
    if (sae.config.architecture === "topk") {
      const all = sae.encodeSparse(x);
      // Largest first: the first columns are the largest.
      const codes = topN === sae.config.k ? all : {
        indices: tf.slice(all.indices, [0, 0], [-1, topN]),
        values: tf.slice(all.values, [0, 0], [-1, topN]),
      };
      return { codes: { ...codes }, residual: tf.sub(x, sae.decodeSparse(all)) };
    }
    const dense = sae.encode(x);
    return { codes: { ...topK(dense, topN) }, residual: tf.sub(x, sae.decode(dense)) };
  }) as { codes: SparseCodes; residual: tf.Tensor2D };
}

/**
 * First parameters: `W` from N(0, linearStd), `V` from N(0, embeddingStd), the head from
 * N(0, headStd), biases 0. Each is drawn from a stream of its own, so that models that share a part
 * start from the same one.
 */
export function initialNfmWeights(shape: NfmShape, config: ResolvedNfmConfig): Params {
  const { seed, linearStd, embeddingStd, headStd } = config;
  const std: Record<string, number> = {
    W: linearStd,
    V: embeddingStd,
    C: headStd,
    W1: headStd,
    W2: headStd,
  };
  return Object.fromEntries(
    Object.entries(weightShapes(shape)).map(([name, size]) => {
      if (!std[name]) return [name, tf.zeros(size)];
      const count = size.reduce((product, n) => product * n);
      const values = new Rng(seed, "nfm", name).normals(count, std[name]);
      return [name, tf.tensor(values, size as [number, number])];
    }),
  );
}

/** 0 with the probability `dropout`, else 1 / (1 − dropout): a pure function of seed and step. */
function dropoutMask(
  tokens: number,
  K: number,
  { dropout, seed, step }: { dropout: number; seed: number; step: number },
): tf.Tensor2D {
  const rng = new Rng(seed, "dropout", step);
  const kept = 1 / (1 - dropout);
  const mask = Float32Array.from({ length: tokens * K }, () => rng.uniform() < dropout ? 0 : kept);
  return tf.tensor2d(mask, [tokens, K]);
}

/** Root mean squares over the first training tokens: of active codes, and of residual elements. */
async function measureScales(store: ActivationReader, sae: Sae, topN: number): Promise<NfmScales> {
  let [codeSquares, active, residualSquares, elements] = [0, 0, 0, 0];
  for await (const { x } of sequentialBatches(store.split("train"), 1024, SCALE_TOKENS)) {
    const sums = tf.tidy(() => {
      const { codes, residual } = codesAndResidual(sae, x, topN);
      return tf.stack([
        tf.sum(tf.square(codes.values)),
        tf.sum(tf.cast(tf.greater(codes.values, 0), "float32")),
        tf.sum(tf.square(residual)),
      ]);
    });
    const [codes, count, residual] = await sums.data();
    sums.dispose();
    codeSquares += codes;
    active += count;
    residualSquares += residual;
    elements += x.size;
  }
  if (!(codeSquares > 0 && residualSquares > 0)) {
    throw new RangeError(
      "Cannot train on this dictionary: its codes or its residual are 0 or not finite on the first " +
        "training tokens",
    );
  }
  return {
    code: Math.sqrt(active / codeSquares),
    target: Math.sqrt(residualSquares / elements),
  };
}

async function measureNfm(
  store: ActivationReader,
  sae: Sae,
  nfm: Nfm,
): Promise<ReconstructionSummary> {
  const meter = new ReconstructionMeter(store.dModel);
  for await (const { x, document } of sequentialBatches(store.split("validation"), 1024)) {
    const reconstruction = tf.tidy(() => {
      const { codes, residual } = codesAndResidual(sae, x, nfm.shape.topN);
      return tf.add(tf.sub(x, residual), nfm.predict(codes)) as tf.Tensor2D;
    });
    await meter.update(x, reconstruction, { document });
    reconstruction.dispose();
  }
  return meter.summary();
}
