/**
 * The ladder of models of an activation given its codes, trained: for dictionaries of any size, where
 * `exactLadder` solves small ones.
 *
 * | rung | model                                      | trained on                       |
 * | ---- | ------------------------------------------ | -------------------------------- |
 * | R0   | the dictionary                             |                                  |
 * | R1   | affine in the codes                        | what R0 leaves                   |
 * | R2   | affine in f_i, f_i² and 1[f_i ≠ 0]         | what R0 leaves                   |
 * | R3   | + pairs, a factorization machine           | what R2 leaves                   |
 *
 * The gain from interactions is FVU(R2) − FVU(R3) on documents that no rung was trained on. R3 has linear
 * terms too, so that those of R2 may move; what it cannot undo is R2, which makes the gain a lower bound.
 *
 * @module
 */
import {
  type ActivationReader,
  fingerprint,
  type Sae,
  sequentialBatches,
  type SplitName,
  type TrainOptions,
} from "../dictionary/mod.ts";
import { configHash } from "../files/mod.ts";
import {
  type Interval,
  pairedBootstrap,
  ReconstructionMeter,
  type ReconstructionSummary,
} from "../metrics/mod.ts";
import { type SparseCodes, tf } from "../tensor/mod.ts";
import { cachedRun } from "../training/mod.ts";
import { fitNfm, type NfmData } from "./fit_nfm.ts";
import { Nfm } from "./nfm.ts";
import {
  type NfmConfig,
  type NfmShape,
  type ResolvedNfmConfig,
  resolveNfmConfig,
} from "./nfm_config.ts";
import { codesAndResidual, trainNfm } from "./train_nfm.ts";

/** Names of the rungs. */
export type Rung = "R0" | "R1" | "R2" | "R3";

/** A ladder that was climbed. */
export interface TrainedLadder {
  /** Of each rung, on the split that was asked for. */
  readonly rungs: Record<Rung, ReconstructionSummary>;
  /** FVU(R2) − FVU(R3), with its 95 % interval over documents. */
  readonly gain: Interval;
  /** The model with pairs, R3; the caller disposes of it. */
  readonly pairs: Nfm;
  /** True if a training was stopped before its end. */
  readonly stopped: boolean;
}

/**
 * Codes with their squares and indicators: features i, dSae + i and 2 · dSae + i are f_i, f_i² / unit and
 * unit · 1[f_i ≠ 0].
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, singleFeatureCodes, tf } from "interlens";
 *
 * await openDevice();
 * const codes = { indices: tf.tensor2d([[4, 0]], [1, 2], "int32"), values: tf.tensor2d([[3, 0]]) };
 * const { indices, values } = singleFeatureCodes(codes, 5, 2);
 * assertEquals([...await indices.data()], [4, 0, 9, 5, 14, 10]);
 * assertEquals([...await values.data()], [3, 0, 4.5, 0, 2, 0]);
 * ```
 *
 * @param codes `[tokens, n]`.
 * @param dSae Number of features.
 * @param unit A usual size of a code, so that the three are of one size.
 * @returns `[tokens, 3 n]`.
 */
export function singleFeatureCodes(codes: SparseCodes, dSae: number, unit: number): SparseCodes {
  return tf.tidy(() => {
    const { indices, values } = codes;
    const at = (n: number) => tf.add(indices, tf.scalar(n * dSae, "int32"));
    const active = tf.cast(tf.notEqual(values, 0), "float32");
    return {
      indices: tf.concat([indices, at(1), at(2)], 1) as tf.Tensor2D,
      values: tf.concat(
        [values, tf.mul(tf.square(values), 1 / unit), tf.mul(active, unit)],
        1,
      ) as tf.Tensor2D,
    };
  });
}

/**
 * Trains the rungs, or loads what this configuration gave before, and measures them.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, Sae, tf, trainLadder } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a·b), of which the dictionary knows a and b.
 * const rng = new Rng(0);
 * const rows = Array.from({ length: 600 }, () => {
 *   const [a, b] = [2 * rng.uniform(), 2 * rng.uniform()];
 *   return [a, b, a * b];
 * });
 * const document = Int32Array.from({ length: 600 }, (_, i) => i % 20);
 * const split = { rows: Float32Array.from(rows.flat()), document };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const W_dec = tf.tensor2d([[1, 0, 0], [0, 1, 0]]);
 * const sae = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([2]),
 *   W_dec,
 *   b_dec: tf.zeros([3]),
 * });
 * const config = { K: 4, steps: 300, batchSize: 100, learningRate: 3e-2, cache: false };
 * const { gain, rungs, pairs } = await trainLadder(store, sae, config);
 * assert(gain.low > 0.5 * rungs.R2.fvu);
 * pairs.dispose();
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary, which stays as it is.
 * @param config As for `trainNfm`, for all rungs; `split` is what they are measured on, default
 * `"validation"`. `parts` and `input` do not apply.
 * @throws {RangeError} If the configuration is impossible; before any work.
 */
export async function trainLadder(
  store: ActivationReader,
  sae: Sae,
  config: Omit<NfmConfig, "parts" | "input"> & TrainOptions & { split?: SplitName },
): Promise<TrainedLadder> {
  const { split = "validation", ...training } = config;
  const rungs = await trainRungs(store, sae, training);
  const names = ["R0", "R1", "R2", "R3"] as const;
  const meters = names.map(() => new ReconstructionMeter(store.dModel));
  for await (const { x, document } of sequentialBatches(store.split(split), 1024)) {
    const reconstructions = tf.tidy(() => {
      const { codes, residual } = codesAndResidual(sae, x, rungs.topN);
      const R0 = tf.sub(x, residual);
      return names.map((name) => name === "R0" ? R0 : tf.add(R0, rungs.predict(name, codes)));
    }) as tf.Tensor2D[];
    for (const [i, meter] of meters.entries()) {
      await meter.update(x, reconstructions[i], { document });
    }
    tf.dispose(reconstructions);
  }
  rungs.R1.dispose();
  rungs.R2.dispose();
  const [, , second, third] = meters.map((meter) => meter.perDocument());
  return {
    rungs: Object.fromEntries(names.map((name, i) => [name, meters[i].summary()])) as Record<
      Rung,
      ReconstructionSummary
    >,
    gain: pairedBootstrap(second, third, { statistic: "difference" }),
    pairs: rungs.R3,
    stopped: rungs.stopped,
  };
}

/** The trained models of a ladder; the caller disposes of the three. */
export interface Rungs {
  readonly R1: Nfm;
  readonly R2: Nfm;
  readonly R3: Nfm;
  /** Largest active features of a token that they see. */
  readonly topN: number;
  /** Names R2: everything that decides it. */
  readonly key: unknown;
  readonly stopped: boolean;
  /** What a rung adds to the dictionary's reconstruction, from the codes of `codesAndResidual`. */
  predict(rung: "R1" | "R2" | "R3", codes: SparseCodes): tf.Tensor2D;
}

/** Trains R1 to R3, or loads what this configuration gave before. */
export async function trainRungs(
  store: ActivationReader,
  sae: Sae,
  training: Omit<NfmConfig, "parts" | "input"> & TrainOptions,
): Promise<Rungs> {
  const { signal, cache, onStep, ...settings } = training;
  const { dSae, dIn: dOut, k } = sae.config;
  const both = resolveNfmConfig({ ...settings, parts: "both" }, store, { dSae, dOut, k });
  const { topN } = both;
  const key = { store: configHash(store.manifest), sae: await fingerprint(sae) };

  const R1 = await trainNfm(store, sae, { ...training, parts: "linear" });
  const unit = 1 / R1.nfm.scales.code;
  const singles = (codes: SparseCodes) => singleFeatureCodes(codes, dSae, unit);
  const climb = async (rung: Rung, data: NfmData, resolved: ResolvedNfmConfig, shape: NfmShape) =>
    await cachedRun<{ nfm: Nfm; stopped: boolean }>(
      { kind: "ladder", config: { ...resolved, ...key, rung }, cache },
      {
        train: (checkpoint) => fitNfm(data, resolved, shape, { checkpoint, signal, onStep }),
        save: ({ nfm }, dir) => nfm.save(dir),
        load: async (dir) => ({ nfm: await Nfm.load(dir), stopped: false }),
        dispose: ({ nfm }) => nfm.dispose(),
      },
    );
  const wide = { dSae: 3 * dSae, dOut, k: 3 * topN };
  const linear = resolveNfmConfig({ ...settings, parts: "linear", topN: 3 * topN }, store, wide);
  const common = { head: both.head, dOut };
  const R2 = await climb(
    "R2",
    {
      store,
      view: (x) => {
        const { codes, residual } = codesAndResidual(sae, x, topN);
        return { codes: singles(codes), residual };
      },
    },
    linear,
    { ...common, parts: "linear", K: 0, topN: 3 * topN, dSae: 3 * dSae },
  );
  const R3 = await climb(
    "R3",
    {
      store,
      view: (x) => {
        const { codes, residual } = codesAndResidual(sae, x, topN);
        return { codes, residual: tf.sub(residual, R2.nfm.predict(singles(codes))) as tf.Tensor2D };
      },
    },
    both,
    { ...common, parts: "both", K: both.K, topN, dSae },
  );
  return {
    R1: R1.nfm,
    R2: R2.nfm,
    R3: R3.nfm,
    topN,
    key: { ...linear, ...key, rung: "R2" },
    stopped: R1.stopped || R2.stopped || R3.stopped,
    predict: (rung, codes) =>
      tf.tidy(() => {
        if (rung === "R1") return R1.nfm.predict(codes);
        const second = R2.nfm.predict(singles(codes));
        return rung === "R2" ? second : tf.add(second, R3.nfm.predict(codes)) as tf.Tensor2D;
      }),
  };
}
