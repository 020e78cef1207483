/**
 * A dictionary and a model of its residual, trained together on one loss:
 *
 *     L = mean ‖x − x̂_SAE(f) − b − f_N W − head(p(f_N))‖²
 *
 * f are the k largest codes of a TopK dictionary, f_N the N largest of these. The dictionary
 * learns from what the products miss, since the gradient passes through the codes:
 *
 *     ∂L/∂f_i = Σ_k g_k v_ik (S_k − f_i v_ik) + …
 *
 * After that its own reconstruction is one term of a sum, which nothing made good by itself: the
 * dictionary to compare with is one that was trained alone, not this one without its partner.
 *
 * @module
 */
import { join } from "node:path";
import { type ActivationReader, fingerprint, Sae, type TrainOptions } from "../dictionary/mod.ts";
import { configHash, writeFileAtomic } from "../files/mod.ts";
import type { ReconstructionSummary } from "../metrics/mod.ts";
import {
  bilinearPool,
  embeddingBag,
  scatterRows,
  type SparseCodes,
  tf,
  topK,
  valueAndGrads,
} from "../tensor/mod.ts";
import { cachedRun, fit, type HistoryRow, type Params, type StepResult } from "../training/mod.ts";
import { initialNfmWeights, measureOnResidual, measureScales } from "./fit_nfm.ts";
import { Nfm, type NfmScales, type NfmWeights } from "./nfm.ts";
import { type NfmConfig, type NfmShape, resolveNfmConfig } from "./nfm_config.ts";
import { pooledToOutput } from "./nfm_terms.ts";
import { codesAndResidual } from "./train_nfm.ts";

/** A dictionary and its partner, with how they came about. */
export interface JointResult {
  /** The dictionary; the caller disposes of it. */
  sae: Sae;
  /** The model of what it leaves; the caller disposes of it. */
  nfm: Nfm;
  /** Numbers by step. */
  history: HistoryRow[];
  /** Of the sum of both, on the validation split. */
  metrics: ReconstructionSummary;
  /** True if the run was stopped before its end. */
  stopped: boolean;
}

/** What a joint step computes with beside the parameters. */
export interface JointLossOptions {
  /** Active features a token. */
  k: number;
  /** Largest of them that the linear term and the products see. */
  topN: number;
  /** Units of the model, as in `Nfm`. */
  scales: NfmScales;
}

/** Parameters of both, by name. */
const SAE_WEIGHTS = ["W_enc", "b_enc", "W_dec", "b_dec"] as const;

/**
 * Loss and gradients of a step.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { jointLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const params = {
 *   ...{ W_enc: tf.tensor2d([[1, 1]]), b_enc: tf.zeros([2]) },
 *   ...{ W_dec: tf.tensor2d([[0.5], [0.5]]), b_dec: tf.zeros([1]) },
 *   ...{ b: tf.zeros([1]), V: tf.ones([2, 1]), C: tf.tensor2d([[1]]) },
 * };
 * // f = [3, 3]: 3 from the dictionary and 9 from the product, of 10.
 * const options = { k: 2, topN: 2, scales: { code: 1, target: 1 } };
 * const { scalars } = jointLoss(params, tf.tensor2d([[3]]), options);
 * assertAlmostEquals((await scalars.loss.data())[0], (3 - 12) ** 2, 1e-4);
 * ```
 *
 * @param params `W_enc`, `b_enc`, `W_dec`, `b_dec` of the dictionary, and the model's parameters.
 * @param x Activations, `[tokens, dIn]`.
 * @returns Gradients by name, and the loss in the model's units: mean squared error an element over the
 * square of `scales.target`.
 */
export function jointLoss(params: Params, x: tf.Tensor2D, options: JointLossOptions): StepResult {
  const { k, topN, scales } = options;
  const { loss, grads } = valueAndGrads(params, (params) => {
    const { W_enc, b_enc, W_dec, b_dec } = params as Record<string, tf.Tensor2D>;
    const weights = params as unknown as NfmWeights;
    const pre = tf.add(tf.matMul(tf.sub(x, b_dec) as tf.Tensor2D, W_enc), b_enc) as tf.Tensor2D;
    const codes = activeCodes(pre, k);
    let prediction: tf.Tensor = tf.add(embeddingBag(codes, W_dec), b_dec);
    // Largest first: the first columns are the largest.
    const seen: SparseCodes = {
      indices: tf.slice(codes.indices, [0, 0], [-1, topN]) as tf.Tensor2D,
      values: tf.mul(tf.slice(codes.values, [0, 0], [-1, topN]), scales.code) as tf.Tensor2D,
    };
    let partner: tf.Tensor = weights.b;
    if (weights.W) partner = tf.add(partner, embeddingBag(seen, weights.W));
    if (weights.V) {
      partner = tf.add(partner, pooledToOutput(weights, bilinearPool(seen, weights.V)));
    }
    prediction = tf.add(prediction, tf.mul(partner, scales.target));
    const error = tf.mul(tf.sub(x, prediction), 1 / scales.target);
    return { loss: tf.mean(tf.square(error)) as tf.Scalar };
  });
  return { grads, scalars: { loss } };
}

/** The `k` largest of ReLU(pre), largest first; the gradient of their values passes to `pre`. */
function activeCodes(pre: tf.Tensor2D, k: number): SparseCodes {
  const features = pre.shape[1];
  // The selection has no gradient in tfjs, and its indices need none.
  const { indices, values } = topK(tf.relu(pre), k);
  const differentiable = tf.customGrad((_, save) => {
    const value = tf.clone(values);
    (save as unknown as (tensors: tf.Tensor[]) => void)([value, indices]);
    return {
      value,
      gradFunc: (dy: tf.Tensor, [values, indices]: tf.Tensor[]) =>
        scatterRows(
          { indices: indices as tf.Tensor2D, values: tf.mul(dy, tf.step(values)) },
          features,
        ),
    };
  });
  return { indices, values: differentiable(pre) as tf.Tensor2D };
}

/**
 * Trains both, from a dictionary that was trained alone, or loads what this configuration gave before.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, trainJoint, trainNfm, trainSae } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const rows = Array.from({ length: 600 }, () => {
 *   const [a, b] = [rng.uniform() < 0.5 ? 0 : 1, 1 + rng.uniform()];
 *   return [a, b, a * b];
 * });
 * const split = { rows: Float32Array.from(rows.flat()), document: new Int32Array(600) };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const shape = { architecture: "topk", dSae: 4, k: 2 } as const;
 * const { sae } = await trainSae(store, { ...shape, steps: 100, batchSize: 100 }, { cache: false });
 * const config = { K: 4, steps: 200, batchSize: 100, learningRate: 1e-2, cache: false };
 * const apart = await trainNfm(store, sae, config);
 * const together = await trainJoint(store, sae, config);
 * assert(together.metrics.fvu < apart.metrics.fvu);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param start A TopK dictionary, which stays as it is.
 * @param config As for `trainNfm`, less `input` and `updates`: every step is Adam's on all parameters.
 * @throws {RangeError} If the configuration is impossible or the dictionary is not TopK; before any work.
 * @throws {Error} If activations or loss are not finite, naming the step.
 */
export async function trainJoint(
  store: ActivationReader,
  start: Sae,
  config: Omit<NfmConfig, "input" | "updates" | "dropout"> & TrainOptions,
): Promise<JointResult> {
  const { signal, cache, onStep, ...training } = config;
  const { architecture, dSae, dIn: dOut, k } = start.config;
  if (architecture !== "topk") {
    throw new RangeError(
      `Cannot train with a dictionary of architecture "${architecture}": expected "topk"`,
    );
  }
  const resolved = resolveNfmConfig({ ...training, updates: "all" }, store, { dSae, dOut, k });
  const { parts, K, head, topN, steps, batchSize, seed, epsilon } = resolved;
  const shape: NfmShape = { parts, K, head, topN, dSae, dOut };
  const key = { ...resolved, store: configHash(store.manifest), sae: await fingerprint(start) };
  return await cachedRun<JointResult>({ kind: "joint", config: key, cache }, {
    train: async (checkpoint) => {
      const view = (sae: Sae) => (x: tf.Tensor2D) => codesAndResidual(sae, x, topN);
      const scales = await measureScales({ store, view: view(start) });
      const train = store.split("train");
      const { adam, history, stopped } = await fit<tf.Tensor2D>({
        label: `SAE and NFM, K = ${K}`,
        schedule: resolved,
        adam: { epsilon },
        parameters: () => ({
          ...Object.fromEntries(SAE_WEIGHTS.map((name) => [name, tf.mul(start[name], 1)])),
          ...initialNfmWeights(shape, resolved),
        }),
        batch: (step) => train.shuffledBatch(step, batchSize, seed),
        loss: (_, params, x) => jointLoss(params, x, { k: k!, topN, scales }),
        tokensPerStep: batchSize,
        every: Math.max(1, Math.floor(steps / 200)),
        checkpoint,
        signal,
        onStep,
      });
      const copies = Object.fromEntries(
        Object.entries(adam.values).map(([name, tensor]) => [name, tf.mul(tensor, 1)]),
      ) as Record<string, tf.Tensor2D>;
      adam.dispose();
      const { W_enc, b_enc, W_dec, b_dec, ...rest } = copies;
      const saeWeights = { W_enc, W_dec, b_enc, b_dec } as unknown as Sae;
      const { normalizer, metadata } = start;
      const sae = new Sae(start.config, saeWeights, { normalizer, metadata });
      const weights = rest as unknown as NfmWeights;
      const nfm = new Nfm(shape, weights, { scales, metadata: { training: key } });
      const metrics = await measureOnResidual({ store, view: view(sae) }, nfm);
      return { sae, nfm, history, metrics, stopped };
    },
    save: async ({ sae, nfm, history, metrics }, dir) => {
      await sae.save(dir);
      await nfm.save(dir);
      await writeFileAtomic(join(dir, "training.json"), JSON.stringify({ metrics, history }));
    },
    load: async (dir) => {
      const { metrics, history } = JSON.parse(await Deno.readTextFile(join(dir, "training.json")));
      const [sae, nfm] = [await Sae.load(dir), await Nfm.load(dir)];
      return { sae, nfm, metrics, history, stopped: false };
    },
    dispose: ({ sae, nfm }) => {
      sae.dispose();
      nfm.dispose();
    },
  });
}
