/**
 * Which pairs of features a factorization machine uses on real tokens, and for what.
 *
 * The effect of a pair on a token is what the two do together beyond the sum of what each does alone,
 * the mixed second difference
 *
 *     Δ_ij = r̂(f) − r̂(f∖i) − r̂(f∖j) + r̂(f∖ij)
 *
 * With the linear head it is f_i f_j T_ij; of a ReLU head the four predictions are taken.
 *
 * @module
 */
import {
  type CoactivePair,
  coactivePairs,
  type Nfm,
  type Pair,
  pairTensor,
  strongestPairs,
} from "../interaction/mod.ts";
import { Rng, tf } from "../tensor/mod.ts";
import { codeBatches, type TokenCodes } from "./contributions.ts";
import { rankCorrelation } from "./stability.ts";
import { compareWithNull, type NullComparison, requireNullDraws } from "./null_weights.ts";

/** The effect of a pair on each token on which both of its features are active. */
export interface MixedDifference {
  /** Numbers of these tokens. */
  readonly tokens: Int32Array;
  /** Δ_ij, `[tokens, dOut]`, in the units of the residual. */
  readonly effect: Float32Array;
}

/**
 * The effect of a pair on every token where it is active, by four predictions; for any head.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { mixedDifference, Nfm, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 3, dOut: 1, K: 1, head: "linear", topN: 2 } as const;
 * const V = tf.tensor2d([[1], [2], [5]]);
 * const nfm = new Nfm(shape, { b: tf.zeros([1]), V, C: tf.ones([1, 1]) });
 * const codes = {
 *   indices: Int32Array.of(0, 1, 1, 2),
 *   values: Float32Array.of(3, 1, 1, 1),
 *   n: 2,
 *   tokens: 2,
 *   document: Int32Array.of(0, 0),
 * };
 * const { tokens, effect } = await mixedDifference(nfm, codes, [0, 1]);
 * assertEquals([[...tokens], [...effect]], [[0], [3 * 1 * 1 * 2]]);
 * nfm.dispose();
 * ```
 *
 * @param nfm A model with pairs.
 * @param codes Codes that it sees.
 * @throws {RangeError} If the model has no pairs or the pair is not one of its.
 */
export async function mixedDifference(
  nfm: Nfm,
  codes: TokenCodes,
  pair: Pair,
): Promise<MixedDifference> {
  requireModel(nfm, [pair]);
  const { n } = codes;
  const [i, j] = pair;
  const tokens = tokensOf(codes, pair);
  const { dOut } = nfm.shape;
  const effect = new Float32Array(tokens.length * dOut);
  const rows = 512;
  for (let start = 0; start < tokens.length; start += rows) {
    const some = tokens.subarray(start, start + rows);
    const pick = <T extends Int32Array | Float32Array>(all: T, into: T): T => {
      some.forEach((token, at) => into.set(all.subarray(token * n, (token + 1) * n), at * n));
      return into;
    };
    const indices = pick(codes.indices, new Int32Array(some.length * n));
    const values = pick(codes.values, new Float32Array(some.length * n));
    const without = (...features: number[]) =>
      tf.tensor2d(values.map((v, at) => features.includes(indices[at]) ? 0 : v), [some.length, n]);
    const difference = tf.tidy(() => {
      const ids = tf.tensor2d(indices, [some.length, n], "int32");
      const [both, noI, noJ, neither] = [without(), without(i), without(j), without(i, j)]
        .map((values) => nfm.pieces({ indices: ids, values }).interaction);
      return tf.add(tf.sub(tf.sub(both, noI), noJ), neither);
    });
    effect.set(await difference.data(), start * dOut);
    difference.dispose();
  }
  return { tokens, effect };
}

/** A pair on the tokens where it is active. */
export interface PairEffect {
  readonly pair: Pair;
  /** Tokens on which both are active. */
  readonly count: number;
  /** What it was ranked by; see `attributePairs`. */
  readonly strength: number;
  /** Σ ‖Δ‖² over these tokens, in the units of the residual squared. */
  readonly energy: number;
  /**
   * That over the energy of the whole interaction term. Effects of pairs overlap and cancel, so shares
   * do not add up to 1.
   */
  readonly share: number;
  /** Mean of Δ over these tokens, `[dOut]`, in the units of the residual. */
  readonly mean: Float32Array;
  /** ‖mean‖². count / energy: 1 if the effect is the same on each token, 0 if it cancels. */
  readonly consistency: number;
  /** Draws in which this pair is as strong with another partner, one-sided p. */
  readonly p: number;
  /** Draws in which any pair is as strong as this one. */
  readonly pHighest: number;
}

/** What pairs do. */
export interface PairAttribution {
  /** Strongest first. */
  readonly pairs: readonly PairEffect[];
  /** The strongest pair against the strongest of each draw. */
  readonly highest: NullComparison;
  readonly tokens: number;
  /** Pairs that are active together on enough tokens, and how many of them were looked at. */
  readonly coactive: number;
  readonly candidates: number;
  /** Σ ‖interaction term‖² over all tokens, less what it is without any product. */
  readonly interactionEnergy: number;
  /**
   * Spearman correlation of the strength of one product, ‖T_ij‖, with the number of tokens on which
   * the pair is active, over the candidates.
   */
  readonly cooccurrence: number;
}

/** How pairs are attributed. */
export interface AttributeOptions {
  /** How many pairs are described. Default 20. */
  top?: number;
  /** Only pairs with this feature. */
  feature?: number;
  /** Tokens that a pair must share. Default 10. */
  minCount?: number;
  /** Candidates at most: those of the largest Σ (f_i f_j)². Default 20,000. */
  maxPairs?: number;
  /** Draws of partners. Default 99. */
  draws?: number;
  /** Features of similar frequency whose weights are exchanged. Default 32. */
  band?: number;
  /** Names the draws. Default 0. */
  seed?: number;
}

/**
 * The pairs that do most on real tokens.
 *
 * Pairs are ranked by the root of the energy of their effect, `√Σ (f_i f_j)² ‖T_ij‖`. A ReLU head has no
 * T; there the pooled products v_i ⊙ v_j take its place for the ranking, and the effects that are
 * described are the exact ones.
 *
 * In the null the partners' embeddings are exchanged between features that are active about equally
 * often, while the activations stay: what is left is the strength that a pair has because its features
 * are frequent and their embeddings long.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { attributePairs, Nfm, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 4, dOut: 1, K: 1, head: "linear", topN: 2 } as const;
 * const V = tf.tensor2d([[1], [2], [0.1], [0.1]]);
 * const nfm = new Nfm(shape, { b: tf.zeros([1]), V, C: tf.ones([1, 1]) });
 * const tokens = 40; // features 0 and 1 on one half of the tokens, 2 and 3 on the other
 * const codes = {
 *   indices: Int32Array.from({ length: 2 * tokens }, (_, i) => i < tokens ? i % 2 : 2 + i % 2),
 *   values: new Float32Array(2 * tokens).fill(1),
 *   n: 2,
 *   tokens,
 *   document: new Int32Array(tokens),
 * };
 * const { pairs: [first] } = await attributePairs(nfm, codes, { top: 1 });
 * assertEquals([first.pair, first.count, first.mean[0], first.consistency], [[0, 1], 20, 2, 1]);
 * assert(first.share > 0.99);
 * nfm.dispose();
 * ```
 *
 * @param nfm A model with pairs.
 * @param codes Codes that it sees, of held-out tokens.
 * @throws {RangeError} If the model has no pairs, no pair shares enough tokens, or an option is out of
 * range.
 */
export async function attributePairs(
  nfm: Nfm,
  codes: TokenCodes,
  options: AttributeOptions = {},
): Promise<PairAttribution> {
  const { top = 20, feature, minCount = 10, maxPairs = 20_000, draws = 99, seed = 0 } = options;
  requireModel(nfm, []);
  requireNullDraws(draws);
  const active = activeCounts(nfm, codes);
  const together = coactivePairs(codes.indices, codes.values, codes.n, { minCount })
    .filter(({ pair }) => feature === undefined || pair.includes(feature));
  if (together.length === 0) {
    throw new RangeError(
      `Cannot attribute to pairs${
        feature === undefined ? "" : ` of feature ${feature}`
      }: none is ` +
        `active on ${minCount} of ${codes.tokens} tokens; give more tokens or a smaller minCount`,
    );
  }
  const candidates = together.toSorted((a, b) => b.energy - a.energy).slice(0, maxPairs);
  const pairs = candidates.map(({ pair }) => pair);
  const weight = candidates.map(({ energy }) => Math.sqrt(energy));
  const unit = await unitStrengths(nfm, pairs);
  const strengths = unit.map((strength, at) => strength * weight[at]);

  const asStrong = new Float64Array(pairs.length);
  const highest = new Float64Array(draws);
  const rng = new Rng(seed, "partners");
  for (let draw = 0; draw < draws; draw++) {
    const partner = exchangeWithinBands(active, options.band ?? 32, rng);
    const exchanged = pairs.map(([i, j]): Pair => {
      // The named feature stays; without one, either may be the partner.
      const [stays, other] = feature === j ? [j, i] : [i, j];
      return [stays, partner[other] === stays ? other : partner[other]];
    });
    const drawn = await unitStrengths(nfm, exchanged);
    drawn.forEach((strength, at) => {
      const value = strength * weight[at];
      if (value >= strengths[at] * (1 - 1e-6)) asStrong[at]++;
      if (value > highest[draw]) highest[draw] = value;
    });
  }

  const order = pairs.map((_, at) => at).sort((a, b) => strengths[b] - strengths[a]).slice(0, top);
  const interactionEnergy = await energyOfInteraction(nfm, codes);
  const described = await describe(nfm, codes, order.map((at) => candidates[at]));
  const sorted = compareWithNull(strengths[order[0]], highest, { kind: "exchanged partners" });
  return {
    pairs: described.map((effect, rank) => {
      const at = order[rank];
      const above = sorted.draws.filter((value) => value >= strengths[at] * (1 - 1e-6)).length;
      return {
        ...effect,
        strength: strengths[at],
        share: effect.energy / interactionEnergy,
        p: (1 + asStrong[at]) / (1 + draws),
        pHighest: (1 + above) / (1 + draws),
      };
    }),
    highest: sorted,
    tokens: codes.tokens,
    coactive: together.length,
    candidates: pairs.length,
    interactionEnergy,
    cooccurrence: pairs.length < 2
      ? 0
      : rankCorrelation(unit, candidates.map(({ count }) => count)),
  };
}

/** Strength of one product f_i f_j = 1: ‖T_ij‖, or ‖v_i ⊙ v_j‖ before a ReLU head. */
async function unitStrengths(nfm: Nfm, pairs: readonly Pair[]): Promise<Float64Array> {
  const strengths = new Float64Array(pairs.length);
  if (nfm.shape.head === "linear") {
    // In the order given: strongestPairs sorts, and a weight of 1 changes nothing.
    const place = new Map(pairs.map((pair, at) => [pair, at]));
    for (const { pair, strength } of await strongestPairs(nfm, pairs)) {
      strengths[place.get(pair)!] = strength;
    }
    return strengths;
  }
  const rows = 8192;
  for (let start = 0; start < pairs.length; start += rows) {
    const some = pairs.slice(start, start + rows);
    const norms = tf.tidy(() => {
      const side = (s: 0 | 1) =>
        tf.gather(nfm.weights.V!, tf.tensor1d(some.map((pair) => pair[s]), "int32"));
      return tf.mul(tf.norm(tf.mul(side(0), side(1)), 2, 1), nfm.scales.code ** 2);
    });
    strengths.set(await norms.data(), start);
    norms.dispose();
  }
  return strengths;
}

type Described = Pick<PairEffect, "pair" | "count" | "energy" | "mean" | "consistency">;

async function describe(
  nfm: Nfm,
  codes: TokenCodes,
  chosen: readonly CoactivePair[],
): Promise<Described[]> {
  const { dOut, head } = nfm.shape;
  const result = (pair: Pair, count: number, energy: number, mean: Float32Array): Described => {
    const square = mean.reduce((all, value) => all + value * value, 0);
    return { pair, count, energy, mean, consistency: energy > 0 ? square * count / energy : 0 };
  };
  if (head === "linear") {
    const tensor = pairTensor(nfm, chosen.map(({ pair }) => pair));
    const T = await tensor.data<"float32">();
    tensor.dispose();
    return chosen.map(({ pair, count, energy }, at) => {
      const row = T.subarray(at * dOut, (at + 1) * dOut);
      const square = row.reduce((all, value) => all + value * value, 0);
      const product = meanProduct(codes, pair, count);
      return result(pair, count, energy * square, row.map((value) => value * product));
    });
  }
  const found: Described[] = [];
  for (const { pair } of chosen) {
    const { tokens, effect } = await mixedDifference(nfm, codes, pair);
    const sum = new Float64Array(dOut);
    let energy = 0;
    effect.forEach((value, at) => {
      sum[at % dOut] += value;
      energy += value * value;
    });
    const mean = Float32Array.from(sum, (value) => value / tokens.length);
    found.push(result(pair, tokens.length, energy, mean));
  }
  return found;
}

/** Mean of f_i f_j over the tokens where both are active. */
function meanProduct(codes: TokenCodes, pair: Pair, count: number): number {
  const { indices, values, n } = codes;
  let sum = 0;
  for (const token of tokensOf(codes, pair)) {
    const product = [1, 1];
    for (let e = token * n; e < (token + 1) * n; e++) {
      if (values[e] === 0) continue;
      if (indices[e] === pair[0]) product[0] = values[e];
      if (indices[e] === pair[1]) product[1] = values[e];
    }
    sum += product[0] * product[1];
  }
  return sum / count;
}

function tokensOf({ indices, values, n, tokens }: TokenCodes, [i, j]: Pair): Int32Array {
  const found: number[] = [];
  for (let token = 0; token < tokens; token++) {
    let [hasI, hasJ] = [false, false];
    for (let e = token * n; e < (token + 1) * n; e++) {
      if (values[e] === 0) continue;
      hasI ||= indices[e] === i;
      hasJ ||= indices[e] === j;
    }
    if (hasI && hasJ) found.push(token);
  }
  return Int32Array.from(found);
}

function activeCounts(nfm: Nfm, { indices, values }: TokenCodes): Float64Array {
  const counts = new Float64Array(nfm.shape.dSae);
  for (let e = 0; e < indices.length; e++) if (values[e] !== 0) counts[indices[e]]++;
  return counts;
}

/** Another feature of about the same frequency for each feature that is active at all. */
function exchangeWithinBands(active: Float64Array, band: number, rng: Rng): Int32Array {
  const partner = Int32Array.from(active, (_, feature) => feature);
  const order = Array.from(active, (_, feature) => feature).filter((f) => active[f] > 0)
    .sort((i, j) => active[j] - active[i]);
  for (let start = 0; start < order.length; start += band) {
    const some = order.slice(start, start + band);
    const shuffled = rng.shuffle([...some]);
    some.forEach((feature, at) => partner[feature] = shuffled[at]);
  }
  return partner;
}

/** Σ ‖head(p) − head(0)‖²: a ReLU head has an output without any product. */
async function energyOfInteraction(nfm: Nfm, codes: TokenCodes): Promise<number> {
  let total = 0;
  for (const batch of codeBatches(codes, 1024)) {
    const energy = tf.tidy(() => {
      const { interaction } = nfm.pieces(batch);
      const nothing = nfm.pieces({
        indices: tf.zeros([1, codes.n], "int32"),
        values: tf.zeros([1, codes.n]),
      }).interaction;
      return tf.sum(tf.square(tf.sub(interaction, nothing)));
    });
    tf.dispose([batch.indices, batch.values]);
    total += (await energy.data())[0];
    energy.dispose();
  }
  return total;
}

function requireModel(nfm: Nfm, pairs: readonly Pair[]): void {
  const { parts, dSae } = nfm.shape;
  if (parts === "linear") {
    throw new RangeError('Cannot attribute a model of parts "linear" to pairs: it has none');
  }
  for (const [i, j] of pairs) {
    const known = [i, j].every((f) => Number.isInteger(f) && f >= 0 && f < dSae);
    if (!known || i === j) {
      throw new RangeError(
        `Cannot take the effect of features ${i} and ${j}: expected two of the model's ${dSae}`,
      );
    }
  }
}
