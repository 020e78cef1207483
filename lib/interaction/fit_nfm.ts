/**
 * The training of a factorization machine on any pairs of codes and targets.
 *
 * @module
 */
import { type ActivationReader, sequentialBatches } from "../dictionary/mod.ts";
import { type Codes, ReconstructionMeter, type ReconstructionSummary } from "../metrics/mod.ts";
import { Rng, tf } from "../tensor/mod.ts";
import {
  type CheckpointOptions,
  fit,
  type HistoryRow,
  loopOptions,
  type Params,
} from "../training/mod.ts";
import { Nfm, type NfmScales, type NfmWeights, weightShapes } from "./nfm.ts";
import type { NfmShape, ResolvedNfmConfig } from "./nfm_config.ts";
import { nfmLoss, nfmRowLoss } from "./nfm_loss.ts";
import { usedRows } from "./nfm_terms.ts";

/** What a model is trained on. */
export interface NfmData<C extends Codes = Codes> {
  /** Where the rows come from. */
  readonly store: ActivationReader;
  /** The codes of some rows of the store, and what is to be predicted from them; the caller's. */
  readonly view: (x: tf.Tensor2D) => { codes: C; residual: tf.Tensor2D };
}

/** How a training is watched and kept. */
export interface NfmRun {
  checkpoint?: CheckpointOptions;
  signal?: AbortSignal;
  onStep?: (row: HistoryRow) => void;
  /** Plain data to keep with the model. */
  metadata?: Record<string, unknown>;
}

/** Tokens from which the scales of codes and residual are measured. */
const SCALE_TOKENS = 16384;

/** Scaled codes and residual of a step, and the rows in use if only they are updated. */
type NfmBatch = {
  /** Absent if the codes are dense. */
  indices?: tf.Tensor2D;
  values: tf.Tensor2D;
  target: tf.Tensor2D;
  rows?: tf.Tensor1D;
  slots?: tf.Tensor2D;
};

/**
 * Trains.
 *
 * @returns The model, which the caller disposes of, and how it came about.
 */
export async function fitNfm(
  data: NfmData,
  config: ResolvedNfmConfig,
  shape: NfmShape,
  run: NfmRun = {},
): Promise<{ nfm: Nfm; history: HistoryRow[]; stopped: boolean }> {
  const { batchSize, seed, dropout, steps, updates, epsilon } = config;
  const scales = await measureScales(data);
  const train = data.store.split("train");
  const name = { linear: "Linear refit", interaction: "NFM, pairs only", both: "NFM" }[shape.parts];
  const { adam, history, stopped } = await fit<NfmBatch>({
    label: shape.parts === "linear" ? name : `${name}, K = ${shape.K}`,
    schedule: config,
    adam: { epsilon, ...config.faithful?.includes("B17") && { precision: "float16" } },
    ...loopOptions(config, async (params) => {
      const nfm = new Nfm(shape, copied(params), { scales });
      const { fvu } = await measureOnResidual(data, nfm);
      nfm.dispose();
      return fvu;
    }),
    parameters: () => initialNfmWeights(shape, config),
    batch: async (step) => {
      const x = await train.shuffledBatch(step, batchSize, seed);
      const batch = tf.tidy(() => {
        const { codes, residual } = data.view(x);
        const scaled = (values: tf.Tensor2D) => tf.mul(values, scales.code) as tf.Tensor2D;
        const target = tf.div(residual, scales.target) as tf.Tensor2D;
        if (codes instanceof tf.Tensor) return { values: scaled(codes), target };
        return { indices: codes.indices, values: scaled(codes.values), target };
      }) as NfmBatch;
      x.dispose();
      const { indices, values } = batch;
      if (!indices || updates === "all") return batch;
      return { ...batch, ...await usedRows({ indices, values }, shape.dSae) };
    },
    loss: (step, params, { indices, values, target, rows, slots }) =>
      tf.tidy(() => {
        const weights = params as unknown as NfmWeights;
        const keep = dropout > 0 && shape.parts !== "linear"
          ? dropoutMask(batchSize, shape.K, { dropout, seed, step })
          : undefined;
        if (!indices) return nfmLoss(weights, values, target, { keep }) as never;
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
  const weights = copied(adam.values);
  adam.dispose();
  return { nfm: new Nfm(shape, weights, { scales, metadata: run.metadata }), history, stopped };
}

function copied(params: Params): NfmWeights {
  return Object.fromEntries(
    Object.entries(params).map(([name, tensor]) => [name, tf.mul(tensor, 1)]),
  ) as unknown as NfmWeights;
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
export async function measureScales({ store, view }: NfmData): Promise<NfmScales> {
  let [codeSquares, active, residualSquares, elements] = [0, 0, 0, 0];
  for await (const { x } of sequentialBatches(store.split("train"), 1024, SCALE_TOKENS)) {
    const { sums, size } = tf.tidy(() => {
      const { codes, residual } = view(x);
      const values = codes instanceof tf.Tensor ? codes : codes.values;
      const sums = tf.stack([
        tf.sum(tf.square(values)),
        tf.sum(tf.cast(tf.notEqual(values, 0), "float32")),
        tf.sum(tf.square(residual)),
      ]);
      return { sums, size: residual.size };
    });
    const [codes, count, residual] = await sums.data();
    sums.dispose();
    codeSquares += codes;
    active += count;
    residualSquares += residual;
    elements += size;
  }
  if (!(codeSquares > 0 && residualSquares > 0)) {
    throw new RangeError(
      "Cannot train on these codes: they or the residual are 0 or not finite on the first training " +
        "tokens",
    );
  }
  return {
    code: Math.sqrt(active / codeSquares),
    target: Math.sqrt(residualSquares / elements),
  };
}

/** Measures what the dictionary and a model of its residual reconstruct, on the validation split. */
export async function measureOnResidual<C extends Codes>(
  { store, view }: NfmData<C>,
  model: { predict(codes: C): tf.Tensor2D },
): Promise<ReconstructionSummary> {
  const meter = new ReconstructionMeter(store.dModel);
  for await (const { x, document } of sequentialBatches(store.split("validation"), 1024)) {
    const reconstruction = tf.tidy(() => {
      const { codes, residual } = view(x);
      return tf.add(tf.sub(x, residual), model.predict(codes)) as tf.Tensor2D;
    });
    await meter.update(x, reconstruction, { document });
    reconstruction.dispose();
  }
  return meter.summary();
}
