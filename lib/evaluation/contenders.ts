/**
 * The usual rivals for what a dictionary leaves behind, ready for `tune`: a second dictionary, a wider
 * one, affine maps, factorization machines, networks.
 *
 * Each takes the configuration that its trials share and the values that they try. The numbers of
 * parameters that `tune` reports are those beyond the dictionary.
 *
 * @module
 */
import {
  type Sae,
  type SaeResult,
  type SaeTrainingConfig,
  type TrainOptions,
  trainResidualSae,
} from "../dictionary/mod.ts";
import {
  codesAndResidual,
  type Nfm,
  type NfmConfig,
  type NfmResult,
  parameterCount,
  trainNfm,
} from "../interaction/mod.ts";
import { type SparseCodes, tf } from "../tensor/mod.ts";
import { affineRefit, type AffineRefitOptions } from "./affine_refit.ts";
import { mlpParameterCount } from "./codes_mlp.ts";
import type { Reconstruct } from "./evaluate.ts";
import { type CodesMlpConfig, type CodesMlpResult, trainCodesMlp } from "./train_codes_mlp.ts";
import type { Contender, Space } from "./tune.ts";
import { saeParameterCount, trainWiderSae, type WiderSaeConfig } from "./wider_sae.ts";

/**
 * A secondary dictionary on the residual, of any architecture.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, Rng, secondarySaeContender, trainSae, tune } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const base = { architecture: "topk", dSae: 8, k: 1, steps: 40, batchSize: 64, cache: false } as const;
 * const { sae } = await trainSae(store, { ...base, learningRate: 1e-2 }, { cache: false });
 * const { secondary } = await tune(store, {
 *   secondary: secondarySaeContender(sae, base, { learningRate: [1e-5, 1e-2] }),
 * }, { trials: 2 });
 * assertEquals(secondary.config, { learningRate: 1e-2 }); // the other did not train
 * ```
 *
 * @param sae The first dictionary.
 * @param base What all trials share.
 * @param space What is tried.
 */
export function secondarySaeContender(
  sae: Sae,
  base: SaeTrainingConfig & TrainOptions,
  space: Space<SaeTrainingConfig>,
): Contender<Partial<SaeTrainingConfig>, SaeResult> {
  return {
    space,
    train: (config, store) => trainResidualSae(store, sae, { ...base, ...config }),
    reconstruct: ({ sae: second }) => ({ x }) => {
      const first = sae.reconstruct(x);
      return tf.add(first, second.reconstruct(tf.sub(x, first)));
    },
    parameters: ({ sae }) => saeParameterCount(sae.config),
    trainingTokens: (config) => tokensOf({ ...base, ...config }),
    dispose: ({ sae }) => sae.dispose(),
  };
}

/**
 * A wider dictionary with the parameters of a second model; see `trainWiderSae`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, Rng, trainSae, tune, widerSaeContender } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const base = { steps: 10, batchSize: 64, cache: false };
 * const { sae } = await trainSae(store, { architecture: "topk", dSae: 8, k: 1, ...base }, base);
 * const { wider } = await tune(store, {
 *   wider: widerSaeContender(sae, { parameters: 90, ...base }, { learningRate: [1e-2] }),
 * }, { trials: 1 });
 * assertEquals(wider.trials[0].parameters, 90);
 * ```
 *
 * @param sae The first dictionary.
 * @param base What all trials share, with the `parameters` of the second model.
 * @param space What is tried.
 */
export function widerSaeContender(
  sae: Sae,
  base: WiderSaeConfig & TrainOptions,
  space: Space<WiderSaeConfig>,
): Contender<Partial<WiderSaeConfig>, SaeResult> {
  return {
    space,
    train: (config, store) => trainWiderSae(store, sae, { ...base, ...config }),
    reconstruct: ({ sae }) => ({ x }) => sae.reconstruct(x),
    parameters: (wider) => saeParameterCount(wider.sae.config) - saeParameterCount(sae.config),
    trainingTokens: (config) => tokensOf({ ...base, ...config }),
    dispose: ({ sae }) => sae.dispose(),
  };
}

/**
 * A factorization machine, or with `parts: "linear"` an affine refit by Adam.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, nfmContender, openDevice, Rng, trainSae, tune } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const base = { steps: 10, batchSize: 64, cache: false };
 * const { sae } = await trainSae(store, { architecture: "topk", dSae: 8, k: 2, ...base }, base);
 * const { linear } = await tune(store, {
 *   linear: nfmContender(sae, { parts: "linear", ...base }, { learningRate: [1e-3, 1e-2] }),
 * }, { trials: 2 });
 * assertEquals(linear.trials.map(({ trainingTokens }) => trainingTokens), [640, 640]);
 * ```
 *
 * @param sae The dictionary.
 * @param base What all trials share.
 * @param space What is tried.
 */
export function nfmContender(
  sae: Sae,
  base: NfmConfig & TrainOptions,
  space: Space<NfmConfig>,
): Contender<Partial<NfmConfig>, NfmResult> {
  return {
    space,
    train: (config, store) => trainNfm(store, sae, { ...base, ...config }),
    reconstruct: ({ nfm }) => onCodes(sae, nfm),
    parameters: ({ nfm }) => parameterCount(nfm.shape).total,
    trainingTokens: (config) => tokensOf({ ...base, ...config }),
    dispose: ({ nfm }) => nfm.dispose(),
  };
}

/**
 * The affine refit in closed form; only its ridge can be tuned.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { affineContender, memoryStore, openDevice, Rng, trainSae, tune } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const { sae } = await trainSae(store, {
 *   architecture: "topk",
 *   dSae: 8,
 *   k: 2,
 *   steps: 10,
 *   batchSize: 64,
 * }, { cache: false });
 * const { refit } = await tune(store, {
 *   refit: affineContender(sae, {}, { ridge: [1e-3, 10] }),
 * }, { trials: 2 });
 * assertEquals(refit.config, { ridge: 1e-3 });
 * ```
 *
 * @param sae The dictionary.
 * @param base What all trials share.
 * @param space What is tried.
 */
export function affineContender(
  sae: Sae,
  base: AffineRefitOptions,
  space: Space<AffineRefitOptions>,
): Contender<Partial<AffineRefitOptions>, Nfm> {
  return {
    space,
    train: (config, store) => affineRefit(store, sae, { ...base, ...config }),
    reconstruct: (refit) => onCodes(sae, refit),
    parameters: (refit) => parameterCount(refit.shape).total,
    dispose: (refit) => refit.dispose(),
  };
}

/**
 * A network on codes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, mlpContender, openDevice, Rng, trainSae, tune } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const base = { steps: 10, batchSize: 64, cache: false };
 * const { sae } = await trainSae(store, { architecture: "topk", dSae: 8, k: 2, ...base }, base);
 * const { network } = await tune(store, {
 *   network: mlpContender(sae, { hidden: 3, ...base }, { learningRate: [1e-3, 1e-2] }),
 * }, { trials: 2 });
 * assertEquals(network.trials[0].parameters, 8 * 3 + 3 + 3 * 4 + 8 * 4 + 4);
 * ```
 *
 * @param sae The dictionary.
 * @param base What all trials share.
 * @param space What is tried.
 */
export function mlpContender(
  sae: Sae,
  base: CodesMlpConfig & TrainOptions,
  space: Space<CodesMlpConfig>,
): Contender<Partial<CodesMlpConfig>, CodesMlpResult> {
  return {
    space,
    train: (config, store) => trainCodesMlp(store, sae, { ...base, ...config }),
    reconstruct: ({ mlp }) => onCodes(sae, mlp),
    parameters: ({ mlp }) => mlpParameterCount(mlp.shape),
    trainingTokens: (config) => tokensOf({ ...base, ...config }),
    dispose: ({ mlp }) => mlp.dispose(),
  };
}

/** `sae(x)` and what a model of its codes adds. */
function onCodes(
  sae: Sae,
  model: { predict(codes: SparseCodes): tf.Tensor2D; readonly shape: { readonly topN: number } },
): Reconstruct {
  return ({ x }) => {
    const { codes, residual } = codesAndResidual(sae, x, model.shape.topN);
    return tf.add(tf.sub(x, residual), model.predict(codes));
  };
}

function tokensOf({ steps, batchSize = 1024 }: { steps: number; batchSize?: number }): number {
  return steps * batchSize;
}
