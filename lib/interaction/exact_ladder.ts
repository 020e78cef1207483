/**
 * The ladder of models of an activation given its codes, each solved exactly by least squares: for
 * dictionaries small enough for all pairs.
 *
 * | rung | model                          | what it takes out of the comparison               |
 * | ---- | ------------------------------ | ------------------------------------------------- |
 * | R0   | the dictionary's decoder       |                                                   |
 * | R1   | affine in the codes            | shrinkage, a missing bias, unfinished training    |
 * | R2   | + f_i² and 1[f_i > 0]          | what bends in single features, thresholds         |
 * | R3   | + f_i f_j                      | pairs                                             |
 *
 * The gain from interactions is FVU(R2) − FVU(R3) on tokens that no rung was fitted on, never R0 − R3.
 *
 * @module
 */
import { FvuMeter } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";
import { LeastSquares } from "./least_squares.ts";
import { productsOf, singleFeatureTerms } from "./pair_scan.ts";
import type { Pair, RankedPair } from "./pairs.ts";

/** Tokens of a split: dense codes `[tokens, features]` and activations `[tokens, d]`. */
export interface LadderSplit {
  readonly codes: tf.Tensor2D;
  readonly x: tf.Tensor2D;
}

/** FVU of each rung on the test tokens. */
export interface LadderResult {
  readonly R0: number;
  readonly R1: number;
  readonly R2: number;
  readonly R3: number;
  /** R2 − R3. */
  readonly gain: number;
  /** Pairs by the root of the sum of their squared effects on the training tokens. */
  readonly pairs: RankedPair[];
  /** What a product of each pair adds, `[pairs, d]` row-major, in the order of `pairs`. */
  readonly effects: Float32Array;
}

/** With more, the matrix of the normal equations takes more than half a gigabyte. */
const MOST_REGRESSORS = 8000;

/**
 * Fits all rungs on one split and measures them on another.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { exactLadder, openDevice, plantedPairs, tf } from "interlens";
 *
 * await openDevice();
 * const world = plantedPairs({ n: 8, d: 4, pairs: 2, firing: 0.3, train: 2000, test: 500 });
 * const split = ({ tokens, codes, x }: typeof world.train) => ({
 *   codes: tf.tensor2d(codes, [tokens, 8]),
 *   x: tf.tensor2d(x, [tokens, 4]),
 * });
 * const G = tf.tensor2d([...world.features], [8, 4]);
 * const test = split(world.test);
 * const ladder = await exactLadder(split(world.train), test, tf.matMul(test.codes, G));
 * assert(ladder.gain > 0.5 * ladder.R2); // what is left below it is noise
 * const strongest = ladder.pairs.slice(0, 2).map(({ pair }) => `${pair}`);
 * assertEquals(strongest.sort(), world.pairs.map((pair) => `${pair}`).sort());
 * ```
 *
 * @param train Fitted on.
 * @param test Measured on.
 * @param reconstruction What the dictionary makes of the test codes, `[tokens, d]`: R0.
 * @param options `ridge`: λ as a share of each regressor's sum of squares, default 1e-6; `minCount`:
 * training tokens on which the features of a pair must be active together, default 1.
 * @throws {RangeError} If there are too many pairs.
 */
export async function exactLadder(
  train: LadderSplit,
  test: LadderSplit,
  reconstruction: tf.Tensor2D,
  options: { ridge?: number; minCount?: number } = {},
): Promise<LadderResult> {
  const { ridge = 1e-6, minCount = 1 } = options;
  const features = train.codes.shape[1];
  const counts = await read(() => {
    const active = tf.cast(tf.notEqual(train.codes, 0), "float32");
    return tf.matMul(active, active, true);
  });
  const pairs: Pair[] = [];
  for (let i = 0; i < features; i++) {
    for (let j = i + 1; j < features; j++) {
      if (counts[i * features + j] >= minCount) pairs.push([i, j]);
    }
  }
  const regressors = 1 + 3 * features + pairs.length;
  if (regressors > MOST_REGRESSORS) {
    throw new RangeError(
      `Cannot solve ${regressors} regressors exactly: at most ${MOST_REGRESSORS}, raise minCount`,
    );
  }
  const rungs = {
    R1: ({ codes }: LadderSplit) =>
      tf.concat([tf.ones<tf.Rank.R2>([codes.shape[0], 1]), codes], 1) as tf.Tensor2D,
    R2: ({ codes }: LadderSplit) => singleFeatureTerms(codes),
    R3: ({ codes }: LadderSplit) =>
      tf.concat([singleFeatureTerms(codes), productsOf(codes, pairs)], 1) as tf.Tensor2D,
  };
  const fvu: Record<string, number> = { R0: await fvuOf(test.x, reconstruction) };
  let ranked: Ranking = { pairs: [], effects: new Float32Array() };
  for (const [rung, terms] of Object.entries(rungs)) {
    const X = tf.tidy(() => terms(train));
    const B = await (await LeastSquares.of(X, ridge)).solve(train.x);
    X.dispose();
    const predicted = tf.tidy(() => tf.matMul(terms(test), B) as tf.Tensor2D);
    fvu[rung] = await fvuOf(test.x, predicted);
    predicted.dispose();
    if (rung === "R3") ranked = await rank(pairs, B, train.codes);
    B.dispose();
  }
  const { R0, R1, R2, R3 } = fvu;
  return { R0, R1, R2, R3, gain: R2 - R3, ...ranked };
}

type Ranking = Pick<LadderResult, "pairs" | "effects">;

async function rank(pairs: Pair[], B: tf.Tensor2D, codes: tf.Tensor2D): Promise<Ranking> {
  if (pairs.length === 0) return { pairs: [], effects: new Float32Array() };
  const d = B.shape[1];
  const rows = tf.slice(B, [B.shape[0] - pairs.length, 0]);
  const strengths = await read(() => {
    const energy = tf.sum(tf.square(productsOf(codes, pairs)), 0);
    return tf.sqrt(tf.mul(tf.sum(tf.square(rows), 1), energy));
  });
  const all = await rows.data();
  rows.dispose();
  const order = pairs.map((_, i) => i).sort((i, j) => strengths[j] - strengths[i]);
  const effects = new Float32Array(pairs.length * d);
  order.forEach((i, rank) => effects.set(all.slice(i * d, (i + 1) * d), rank * d));
  return { pairs: order.map((i) => ({ pair: pairs[i], strength: strengths[i] })), effects };
}

async function fvuOf(x: tf.Tensor2D, prediction: tf.Tensor2D): Promise<number> {
  const meter = new FvuMeter(x.shape[1]);
  await meter.update(x, prediction);
  return meter.fvu();
}

async function read(compute: () => tf.Tensor): Promise<ArrayLike<number>> {
  const tensor = tf.tidy(compute);
  const values = await tensor.data();
  tensor.dispose();
  return values;
}
