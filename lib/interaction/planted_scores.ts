/**
 * Scores on PlantedPairs: does a model reach the noise floor, and does it name the pairs?
 *
 * @module
 */
import { type ActivationReader, memoryStore } from "../dictionary/mod.ts";
import { FvuMeter } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";
import { fitNfm } from "./fit_nfm.ts";
import { type NfmConfig, type NfmShape, resolveNfmConfig } from "./nfm_config.ts";
import type { Nfm } from "./nfm.ts";
import { coactivePairs, type Pair, pairTensor, strongestPairs } from "./pairs.ts";
import type { PlantedSplit, PlantedWorld } from "./planted.ts";

/** What a model scores. */
export interface PlantedScores {
  /** Of the target, on the test tokens. */
  readonly fvu: number;
  /** FVU over the noise floor: 1 is as good as can be. */
  readonly overFloor: number;
  /** Average precision of the planted pairs among all, by mixed difference. */
  readonly averagePrecision: number;
  /** Share of planted pairs among the M first. */
  readonly precisionAtM: number;
  /** Mean cosine of T_ij and u_m over planted pairs. */
  readonly cosine: number;
}

/**
 * Average precision of a ranking, and the precision of as many as there are planted pairs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rankingScores } from "interlens";
 *
 * const { averagePrecision, precisionAtM } = rankingScores([[0, 1], [0, 2], [1, 2]], [[1, 2], [0, 1]]);
 * assertEquals(averagePrecision, (1 + 2 / 3) / 2);
 * assertEquals(precisionAtM, 0.5);
 * ```
 *
 * @param ranked Pairs, the strongest first; planted ones that are missing count as never found.
 * @param planted The truth.
 */
export function rankingScores(
  ranked: readonly Pair[],
  planted: readonly Pair[],
): { averagePrecision: number; precisionAtM: number } {
  const name = ([i, j]: Pair) => i < j ? `${i},${j}` : `${j},${i}`;
  const truth = new Set(planted.map(name));
  let [found, sum, first] = [0, 0, 0];
  ranked.forEach((pair, rank) => {
    if (!truth.has(name(pair))) return;
    found++;
    sum += found / (rank + 1);
    if (rank < truth.size) first++;
  });
  return { averagePrecision: sum / truth.size, precisionAtM: first / truth.size };
}

/**
 * Trains a model on the true codes of a world, to predict what a perfect dictionary leaves of its
 * activations. The defaults are those of the gate: pairs only, K = 2M, 30 epochs of batches of 256, the
 * learning rate falling from 0.01 to 0.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { fitPlanted, openDevice, plantedPairs, scorePlanted } from "interlens";
 *
 * await openDevice();
 * const world = plantedPairs({ n: 8, d: 6, pairs: 2, firing: 0.3, train: 2000, test: 500 });
 * const nfm = await fitPlanted(world, { steps: 600 });
 * const { overFloor, averagePrecision, cosine } = await scorePlanted(world, nfm);
 * assert(overFloor < 1.1 && cosine > 0.99);
 * assertEquals(averagePrecision, 1);
 * nfm.dispose();
 * ```
 *
 * @param world The world.
 * @param config What differs from that.
 * @returns The model; the caller disposes of it.
 */
export async function fitPlanted(
  world: PlantedWorld,
  config: Partial<NfmConfig> = {},
): Promise<Nfm> {
  const { n, d, pairs, train, seed } = world.config;
  const batchSize = config.batchSize ?? Math.min(256, train);
  const steps = config.steps ?? 30 * Math.floor(train / batchSize);
  const store = storeOf(world);
  const resolved = resolveNfmConfig(
    {
      parts: "interaction",
      K: 2 * pairs,
      learningRate: 1e-2,
      warmupSteps: 0,
      decaySteps: steps,
      seed,
      topN: n,
      ...config,
      batchSize,
      steps,
    },
    store,
    { dSae: n, dOut: d },
  );
  const { parts, K, head, topN } = resolved;
  const shape: NfmShape = { parts, K, head, topN, dSae: n, dOut: d };
  const view = (row: tf.Tensor2D) => ({
    codes: tf.slice(row, [0, 0], [-1, n]) as tf.Tensor2D,
    residual: tf.slice(row, [0, n], [-1, d]) as tf.Tensor2D,
  });
  return (await fitNfm({ store, view }, resolved, shape)).nfm;
}

/** Rows of codes and target side by side. */
function storeOf({ config, train, test }: PlantedWorld): ActivationReader {
  const { n, d } = config;
  const rowsOf = ({ tokens, codes, target }: PlantedSplit) => {
    const rows = new Float32Array(tokens * (n + d));
    for (let token = 0; token < tokens; token++) {
      rows.set(codes.subarray(token * n, (token + 1) * n), token * (n + d));
      rows.set(target.subarray(token * d, (token + 1) * d), token * (n + d) + n);
    }
    return { rows, document: new Int32Array(tokens) };
  };
  const held = rowsOf(test);
  return memoryStore(n + d, { train: rowsOf(train), validation: held, test: held }, config);
}

/**
 * Scores a model on the test tokens, with the linear head on all pairs of features.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { Nfm, openDevice, plantedPairs, scorePlanted, tf } from "interlens";
 *
 * await openDevice();
 * const world = plantedPairs({ n: 4, d: 2, pairs: 1, train: 500, test: 500, firing: 0.5 });
 * const [i, j] = world.pairs[0];
 * const V = tf.tensor2d([0, 1, 2, 3].map((feature) => [feature === i || feature === j ? 1 : 0]));
 * const C = tf.tensor2d([[...world.directions]]); // the one pair that was planted, and its direction
 * const shape = { parts: "interaction", dSae: 4, dOut: 2, K: 1, head: "linear", topN: 4 } as const;
 * const { averagePrecision, cosine } = await scorePlanted(world, new Nfm(shape, { b: tf.zeros([2]), V, C }));
 * assert(averagePrecision === 1 && cosine > 0.99);
 * ```
 *
 * @param world The world.
 * @param nfm A model of its target on its codes.
 * @throws {RangeError} If the model has no pair tensor.
 */
export async function scorePlanted(world: PlantedWorld, nfm: Nfm): Promise<PlantedScores> {
  const { config, train, pairs, directions } = world;
  const { n, d } = config;
  const fvu = await plantedFvu(world, (codes) => nfm.predict(codes));
  const all: Pair[] = [];
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) all.push([i, j]);
  // ‖T_ij‖ times the root of Σ (f_i f_j)²: the mixed differences of all training tokens.
  const everyone = Int32Array.from({ length: n * train.tokens }, (_, i) => i % n);
  const energy = new Map(
    coactivePairs(everyone, train.codes, n).map(({ pair, energy }) => [`${pair}`, energy]),
  );
  const weight = all.map((pair) => Math.sqrt(energy.get(`${pair}`) ?? 0));
  const ranked = await strongestPairs(nfm, all, { weight });
  const T = pairTensor(nfm, pairs);
  const vectors = await T.data();
  T.dispose();
  let cosine = 0;
  for (let m = 0; m < pairs.length; m++) {
    let [dot, square] = [0, 0];
    for (let k = m * d; k < (m + 1) * d; k++) {
      dot += vectors[k] * directions[k];
      square += vectors[k] ** 2;
    }
    cosine += dot / Math.sqrt(square || 1) / pairs.length;
  }
  const ranking = rankingScores(ranked.map(({ pair }) => pair), pairs);
  return { fvu, overFloor: fvu / world.noiseFloor, ...ranking, cosine };
}

/**
 * FVU of the target on the test tokens.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { openDevice, plantedFvu, plantedPairs, tf } from "interlens";
 *
 * await openDevice();
 * const world = plantedPairs({ n: 4, d: 2, pairs: 1, train: 10, test: 100 });
 * const mean = tf.mean(tf.tensor2d(world.test.target, [100, 2]), 0);
 * const predict = (codes: tf.Tensor2D) => tf.tile(tf.reshape(mean, [1, 2]), [codes.shape[0], 1]);
 * assertAlmostEquals(await plantedFvu(world, predict as never), 1, 1e-4); // the mean predictor
 * ```
 *
 * @param predict From true codes, `[tokens, n]`, to the target, `[tokens, d]`.
 */
export async function plantedFvu(
  { config, test }: PlantedWorld,
  predict: (codes: tf.Tensor2D) => tf.Tensor2D,
): Promise<number> {
  const { n, d } = config;
  const meter = new FvuMeter(d);
  const codes = tf.tensor2d(test.codes, [test.tokens, n]);
  const target = tf.tensor2d(test.target, [test.tokens, d]);
  const prediction = tf.tidy(() => predict(codes));
  await meter.update(target, prediction);
  tf.dispose([codes, target, prediction]);
  return meter.fvu();
}
