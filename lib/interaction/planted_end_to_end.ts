/**
 * PlantedPairs from end to end: what is left of the planted pairs after a dictionary was trained on the
 * activations, and what is found where none was planted.
 *
 * @module
 */
import { type ActivationReader, memoryStore, type Sae, trainSae } from "../dictionary/mod.ts";
import { tf } from "../tensor/mod.ts";
import { exactLadder, type LadderResult, type LadderSplit } from "./exact_ladder.ts";
import { inferCodes } from "./infer_codes.ts";
import type { Pair, RankedPair } from "./pairs.ts";
import { type PlantedConfig, plantedPairs, type PlantedWorld } from "./planted.ts";
import { rankingScores } from "./planted_scores.ts";
import { surrogateNull } from "./surrogate.ts";

/**
 * Where codes come from: the dictionary's encoder, optimisation with its decoder, the truth; or its
 * encoder on surrogate activations, see `surrogateNull`.
 */
export type CodesOrigin = "sae" | "surrogate" | "fista" | "oracle";

/** One line of the table. */
export interface EndToEndRow {
  readonly codes: CodesOrigin;
  /** FVU of the activations on the test tokens, by rung. */
  readonly R0: number;
  readonly R1: number;
  readonly R2: number;
  readonly R3: number;
  /** 100 (R2 − R3) / R0: the share of what these codes leave that pairs explain. */
  readonly gainPercent: number;
  /**
   * Of the planted pairs among all pairs of latents, by effect in R3 (surrogate: by what the effects on
   * activations have more than those on the surrogate); meaningless if none is planted.
   */
  readonly averagePrecision: number;
  readonly precisionAtM: number;
  /** Mean number of active latents. */
  readonly l0: number;
  /** Mean over features of the largest cosine with a decoder row. */
  readonly mmcs: number;
}

/** The study of a world. */
export interface EndToEndConfig extends PlantedConfig {
  /** Active latents a token of the TopK dictionary. Default 6. */
  k?: number;
  /** Steps of its training. Default 3000. */
  saeSteps?: number;
  /** Whether the surrogate is a row, too. Default false. */
  surrogate?: boolean;
  /** Training tokens on which the latents of a pair must be active together. Default 1. */
  minCount?: number;
}

/** The world of the published table: 64 features that fire with probability 0.05, noise of 0.05. */
const WORLD = { n: 64, pairs: 32, firing: 0.05, sigma: 0.05, train: 30_000, test: 10_000 };

/**
 * Trains a TopK dictionary of as many latents as there are features, and climbs the exact ladder on its
 * codes, on codes by optimisation with the same decoder, and on the true codes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, plantedEndToEnd } from "interlens";
 *
 * await openDevice();
 * const rows = await plantedEndToEnd({
 *   ...{ n: 8, d: 4, pairs: 3, firing: 0.2, beta: 1, train: 1000, test: 500 },
 *   ...{ k: 3, saeSteps: 20 },
 * });
 * assertEquals(rows.map(({ codes }) => codes), ["sae", "fista", "oracle"]);
 * assertEquals(rows[2].precisionAtM, 1); // with the true codes every planted pair is found
 * ```
 *
 * @param config The world; `n`, `pairs`, `firing`, `sigma`, `train` and `test` default to 64, 32, 0.05,
 * 0.05, 30,000 and 10,000.
 * @returns A row for each origin of codes.
 * @throws {RangeError} As `plantedPairs` and `exactLadder`.
 */
export async function plantedEndToEnd(config: EndToEndConfig = {}): Promise<EndToEndRow[]> {
  const { k = 6, saeSteps = 3000, surrogate = false, minCount = 1, ...rest } = config;
  const world = plantedPairs({ ...WORLD, ...rest });
  const { n, d, seed } = world.config;
  const { sae } = await trainSae(storeOf(world), {
    architecture: "topk",
    dSae: n,
    k,
    steps: saeSteps,
    batchSize: Math.min(1024, world.train.tokens),
    learningRate: 3e-3,
    seed,
  }, { cache: false });
  const G = tf.tensor2d(Float32Array.from(world.features), [n, d]);
  const rows: EndToEndRow[] = [];
  for (const origin of ["sae", "fista", "oracle"] as const) {
    const { train, test, decoder, reconstruction } = codesOf(origin, world, sae, G);
    const { nearest, mmcs } = await nearestLatents(G, decoder);
    const planted = world.pairs.map(([i, j]): Pair => [nearest[i], nearest[j]])
      .filter(([i, j]) => i !== j);
    const active = tf.tidy(() => tf.mean(tf.sum(tf.cast(tf.notEqual(test.codes, 0), "int32"), 1)));
    const [l0] = await active.data();
    const row = (
      codes: CodesOrigin,
      { R0, R1, R2, R3, gain }: LadderResult,
      ranked: RankedPair[],
    ) =>
      rows.push({
        ...{ codes, R0, R1, R2, R3, gainPercent: 100 * gain / R0 },
        ...rankingScores(ranked.map(({ pair }) => pair), planted),
        ...{ l0, mmcs },
      });
    if (origin === "sae" && surrogate) {
      const x = { train: train.x, test: test.x };
      const compared = await surrogateNull(sae, x, { infer: { maxActive: k }, minCount, seed });
      row("sae", compared.observed, compared.observed.pairs);
      row("surrogate", compared.surrogate, compared.pairs);
    } else {
      const ladder = await exactLadder(train, test, reconstruction, { minCount });
      row(origin, ladder, ladder.pairs);
    }
    tf.dispose([train, test, decoder, reconstruction, active] as tf.TensorContainer);
  }
  sae.dispose();
  G.dispose();
  return rows;
}

function storeOf({ config, train, test }: PlantedWorld): ActivationReader {
  const document = (tokens: number) => new Int32Array(tokens);
  const held = { rows: test.x, document: document(test.tokens) };
  const split = { rows: train.x, document: document(train.tokens) };
  return memoryStore(config.d, { train: split, validation: held, test: held }, config);
}

/** Codes of both splits, the decoder that they are of, and its reconstruction of the test split. */
function codesOf(origin: CodesOrigin, world: PlantedWorld, sae: Sae, G: tf.Tensor2D) {
  const { n, d } = world.config;
  const split = (of: "train" | "test"): LadderSplit => {
    const { tokens, codes, x: rows } = world[of];
    const x = tf.tensor2d(rows, [tokens, d]);
    if (origin === "oracle") return { x, codes: tf.tensor2d(codes, [tokens, n]) };
    if (origin === "sae") return { x, codes: sae.encode(x) };
    const centred = tf.sub(x, sae.b_dec) as tf.Tensor2D;
    const inferred = inferCodes(centred, sae.W_dec, { maxActive: sae.config.k });
    centred.dispose();
    return { x, codes: inferred };
  };
  const [train, test] = [split("train"), split("test")];
  const decoder = tf.clone(origin === "oracle" ? G : sae.W_dec);
  const reconstruction: tf.Tensor2D = origin === "oracle"
    ? tf.matMul(test.codes, G)
    : sae.decode(test.codes);
  return { train, test, decoder, reconstruction };
}

/** The decoder row that is nearest to each feature in direction, and the mean of these cosines. */
async function nearestLatents(G: tf.Tensor2D, decoder: tf.Tensor2D) {
  const [at, cosine] = tf.tidy(() => {
    const unit = tf.div(decoder, tf.maximum(tf.norm(decoder, 2, 1, true), 1e-12));
    const cosines = tf.matMul(G, unit as tf.Tensor2D, false, true);
    return [tf.argMax(cosines, 1), tf.mean(tf.max(cosines, 1))];
  });
  const [nearest, [mmcs]] = [await at.data(), await cosine.data()];
  tf.dispose([at, cosine]);
  return { nearest, mmcs };
}
