/**
 * What a dictionary's own interference makes of interactions: the ladder on surrogate activations
 * that are linear in their codes by construction.
 *
 * An encoder of one pass mistakes features that are not orthogonal for each other, and its mistakes
 * depend on several features at once: a model with pairs gains where nothing interacts. The surrogate
 * keeps the decoder, its codes and what they leave, and nothing else:
 *
 *     x* = a* W_dec + b_dec + e,   a* by optimisation,   e ~ N(mean, covariance of x − a* W_dec − b_dec)
 *
 * Encoded again by the same dictionary it has the same interference and no interaction, so the gain
 * from pairs on it is a null for the gain on the activations. In planted worlds without any pair it is
 * a little smaller than the true null: a surplus must be compared with the surplus of such a world.
 *
 * @module
 */
import { Rng, tf } from "../tensor/mod.ts";
import { exactLadder, type LadderResult } from "./exact_ladder.ts";
import { inferCodes, type InferOptions } from "./infer_codes.ts";
import { choleskyFactor } from "./least_squares.ts";
import type { RankedPair } from "./pairs.ts";

/** The parts of a dictionary that a surrogate uses; `Sae` has them. */
export interface SurrogateDictionary {
  /** `[features, d]`. */
  readonly W_dec: tf.Tensor2D;
  /** `[d]`. */
  readonly b_dec: tf.Tensor1D;
  /** Codes of activations, `[tokens, d]` to `[tokens, features]`. */
  encode(x: tf.Tensor2D): tf.Tensor2D;
  /** And back. */
  decode(codes: tf.Tensor2D): tf.Tensor2D;
}

/** How a surrogate is made. */
export interface SurrogateOptions {
  /** How its codes are inferred. Default: as `inferCodes`. */
  infer?: InferOptions;
  /** λ of the ladder, as a share of each regressor's sum of squares. Default 1e-6. */
  ridge?: number;
  /**
   * Training tokens on which the features of a pair must be active together. Default 10: an effect
   * that was fitted on one token can be anything on others.
   */
  minCount?: number;
  /** Names the noise. Default 0. */
  seed?: number;
}

/** The ladder on activations and on their surrogate. */
export interface SurrogateNull {
  readonly observed: LadderResult;
  readonly surrogate: LadderResult;
  /** 100 · gain / R0 of each: the share of what the codes leave that pairs explain, in %. */
  readonly gainPercent: { readonly observed: number; readonly surrogate: number };
  /** Observed less surrogate, in points of %. */
  readonly surplusPercent: number;
  /** Pairs by the norm of the difference of their two effects, on the observed codes. */
  readonly pairs: RankedPair[];
}

/**
 * Climbs the exact ladder on activations and on their surrogate.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { openDevice, plantedPairs, surrogateNull, tf } from "interlens";
 *
 * await openDevice();
 * // Features that interfere, an encoder of one pass, and no pair anywhere.
 * const world = plantedPairs({ kind: "independent", n: 6, d: 3, pairs: 1, firing: 0.3, train: 2000, test: 1000 });
 * const W_dec = tf.tensor2d([...world.features], [6, 3]);
 * const b_dec = tf.zeros<tf.Rank.R1>([3]);
 * const encode = (x: tf.Tensor2D) => tf.relu(tf.matMul(x, W_dec, false, true)) as tf.Tensor2D;
 * const decode = (codes: tf.Tensor2D) => tf.matMul(codes, W_dec) as tf.Tensor2D;
 * const [train, test] = [world.train, world.test].map(({ tokens, x }) => tf.tensor2d(x, [tokens, 3]));
 * const { gainPercent, surplusPercent } = await surrogateNull({ W_dec, b_dec, encode, decode }, { train, test });
 * assert(Math.abs(surplusPercent) < gainPercent.surrogate); // most of the gain is interference
 * ```
 *
 * @param dictionary Encoder and decoder; rows of `W_dec` of about norm 1.
 * @param x Activations that the ladder is fitted on and measured on, `[tokens, d]` each.
 * @param options How.
 * @throws {RangeError} If there are more pairs than can be solved.
 */
export async function surrogateNull(
  dictionary: SurrogateDictionary,
  x: { train: tf.Tensor2D; test: tf.Tensor2D },
  options: SurrogateOptions = {},
): Promise<SurrogateNull> {
  const observed = await climb(dictionary, x, options);
  const made = await surrogateOf(dictionary, x, options);
  const surrogate = await climb(dictionary, made, options);
  tf.dispose([made.train, made.test]);
  const percent = ({ gain, R0 }: LadderResult) => 100 * gain / R0;
  const gainPercent = { observed: percent(observed), surrogate: percent(surrogate) };
  return {
    observed,
    surrogate,
    gainPercent,
    surplusPercent: gainPercent.observed - gainPercent.surrogate,
    pairs: subtracted(observed, surrogate, x.train.shape[1]),
  };
}

async function climb(
  dictionary: SurrogateDictionary,
  x: { train: tf.Tensor2D; test: tf.Tensor2D },
  { ridge, minCount = 10 }: SurrogateOptions,
): Promise<LadderResult> {
  const [train, test] = [x.train, x.test].map((rows) => ({
    x: rows,
    codes: tf.tidy(() => dictionary.encode(rows)),
  }));
  const reconstruction = tf.tidy(() => dictionary.decode(test.codes));
  const ladder = await exactLadder(train, test, reconstruction, { ridge, minCount });
  tf.dispose([train.codes, test.codes, reconstruction]);
  return ladder;
}

/** Surrogates of both splits, the caller's. The noise is that of the training tokens. */
async function surrogateOf(
  { W_dec, b_dec }: SurrogateDictionary,
  x: { train: tf.Tensor2D; test: tf.Tensor2D },
  { infer, seed = 0 }: SurrogateOptions,
): Promise<{ train: tf.Tensor2D; test: tf.Tensor2D }> {
  const linear = (rows: tf.Tensor2D) =>
    tf.tidy(() => {
      const codes = inferCodes(tf.sub(rows, b_dec) as tf.Tensor2D, W_dec, infer);
      return tf.add(tf.matMul(codes, W_dec), b_dec) as tf.Tensor2D;
    });
  const [train, test] = [linear(x.train), linear(x.test)];
  const d = W_dec.shape[1];
  const [mean, covariance] = tf.tidy(() => {
    const left = tf.sub(x.train, train) as tf.Tensor2D;
    const mean = tf.mean(left, 0);
    const centred = tf.sub(left, mean) as tf.Tensor2D;
    return [mean, tf.div(tf.matMul(centred, centred, true), x.train.shape[0])];
  });
  const L = tf.tensor2d(choleskyFactor(await covariance.data(), d), [d, d]);
  const noisy = (rows: tf.Tensor2D, name: string) =>
    tf.tidy(() => {
      const normal = new Rng(seed, "surrogate", name).normals(rows.shape[0] * d, 1);
      const noise = tf.matMul(tf.tensor2d(normal, [rows.shape[0], d]), L, false, true);
      return tf.addN([rows, tf.add(noise, mean)]) as tf.Tensor2D;
    });
  const made = { train: noisy(train, "train"), test: noisy(test, "test") };
  tf.dispose([train, test, mean, covariance, L]);
  return made;
}

/** Pairs of the observed ladder, ranked by what of their effect the surrogate has not. */
function subtracted(observed: LadderResult, surrogate: LadderResult, d: number): RankedPair[] {
  const rows = new Map(surrogate.pairs.map(({ pair }, i) => [`${pair}`, i]));
  return observed.pairs.map(({ pair, strength }, i) => {
    const at = rows.get(`${pair}`);
    let [whole, left] = [0, 0];
    for (let k = 0; k < d; k++) {
      const effect = observed.effects[i * d + k];
      whole += effect ** 2;
      left += (effect - (at === undefined ? 0 : surrogate.effects[at * d + k])) ** 2;
    }
    // The strength is the norm of the effect times the root of the product's sum of squares.
    return { pair, strength: whole > 0 ? strength * Math.sqrt(left / whole) : 0 };
  }).sort((a, b) => b.strength - a.strength);
}
