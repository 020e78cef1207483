/**
 * The strongest partners of each feature in a factorization machine, each with what speaks for it and
 * what it would look like if nothing did.
 *
 * @module
 */
import { readCodes } from "../../analysis/mod.ts";
import { type Sae, sequentialBatches, type SplitReader } from "../../dictionary/mod.ts";
import {
  coactivePairs,
  codesAndResidual,
  Nfm,
  type RankedPair,
  strongestPairs,
} from "../../interaction/mod.ts";
import { Rng, tf } from "../../tensor/mod.ts";

/** A partner of a feature, and the evidence for the pair. */
export interface Partner {
  /** Number of the other feature. */
  readonly feature: number;
  /** Tokens on which both are active. */
  readonly together: number;
  /** Tokens on which both would be active if they were so independently. */
  readonly expected: number;
  /**
   * Size of the pair's term f_i f_j T_ij on those tokens, root mean square, over that of the residual
   * of all tokens.
   */
  readonly effect: number;
  /**
   * How much larger the squared error on those tokens is without the pair's term, as a share of it;
   * below 0 where the term harms.
   */
  readonly gain: number;
  /** Draws of permuted embeddings in which the feature has a partner at least as strong as this. */
  readonly asStrong: number;
}

/** Partners of all features. */
export interface PartnerTable {
  /** Strongest first, by feature number. */
  readonly partners: ReadonlyMap<number, readonly Partner[]>;
  /** Draws of permuted embeddings behind `asStrong`. */
  readonly draws: number;
  /** Tokens that were measured. */
  readonly tokens: number;
}

/** What to look for. */
export interface PartnerOptions {
  /** Partners a feature. Default 6. */
  count?: number;
  /** Tokens that a pair must share. Default 10. */
  minCount?: number;
  /** Tokens to measure at most. Default 20,000. */
  maxTokens?: number;
  /** Draws of permuted embeddings. Default 20. */
  draws?: number;
  /** Names the permutations. Default 0. */
  seed?: number;
}

/** Pairs grow with the square of what is active on a token: of more features the largest are taken. */
const MOST_ACTIVE = 32;

/**
 * Ranks the pairs that are active together by the size of their terms over the tokens, √Σ(f_i f_j)²
 * ‖T_ij‖, and measures what each does to the error.
 *
 * @param split Held-out activations in the dictionary's units.
 * @param sae The dictionary.
 * @param nfm A machine with pairs and the linear head.
 * @param options How many.
 */
export async function strongestPartners(
  split: SplitReader,
  { sae, nfm }: { sae: Sae; nfm: Nfm },
  options: PartnerOptions = {},
): Promise<PartnerTable> {
  const { count = 6, minCount = 10, maxTokens = 20_000, draws = 20, seed = 0 } = options;
  const n = Math.min(nfm.shape.topN, MOST_ACTIVE);
  const codes = await readCodes(split, sae, { topN: n, maxTokens });
  const active = new Map<number, number>();
  codes.values.forEach((value, at) => {
    if (value !== 0) active.set(codes.indices[at], (active.get(codes.indices[at]) ?? 0) + 1);
  });
  const pairs = coactivePairs(codes.indices, codes.values, n, { minCount });
  const candidates = pairs.map(({ pair }) => pair);
  const weight = Float64Array.from(pairs, ({ energy }) => Math.sqrt(energy));
  const ranked = await strongestPairs(nfm, candidates, { weight });
  const best = perFeature(ranked, count);

  const reached = new Map<number, number[]>();
  for (let draw = 0; draw < draws; draw++) {
    const permuted = await permutedPairs(nfm, [...active.keys()], new Rng(seed, "pairs", draw));
    const null_ = perFeature(await strongestPairs(permuted, candidates, { weight }), 1);
    permuted.weights.V!.dispose();
    for (const [feature, [{ strength }]] of null_) {
      if (!reached.has(feature)) reached.set(feature, []);
      reached.get(feature)!.push(strength);
    }
  }

  const known = new Map(pairs.map((found) => [keyOf(found.pair), found]));
  const shown = new Map([...best.values()].flat().map((found) => [keyOf(found.pair), found]));
  const { change, error, residual } = await leavingOut(split, { sae, nfm, maxTokens }, shown);
  const partners = new Map<number, Partner[]>();
  for (const [feature, found] of best) {
    partners.set(
      feature,
      found.map(({ pair, strength }) => {
        const key = keyOf(pair);
        const { count } = known.get(key)!;
        return {
          feature: pair[0] === feature ? pair[1] : pair[0],
          together: count,
          expected: active.get(pair[0])! * active.get(pair[1])! / codes.tokens,
          effect: strength / Math.sqrt(count) / residual,
          gain: (change.get(key) ?? 0) / (error.get(key) || 1),
          asStrong: reached.get(feature)!.filter((value) => value >= strength).length,
        };
      }),
    );
  }
  return { partners, draws, tokens: codes.tokens };
}

const keyOf = (pair: readonly [number, number]) => pair[0] * 2 ** 26 + pair[1];

/** The strongest pairs of each feature; `ranked` is in order. */
function perFeature(ranked: readonly RankedPair[], count: number): Map<number, RankedPair[]> {
  const best = new Map<number, RankedPair[]>();
  for (const found of ranked) {
    for (const feature of found.pair) {
      const list = best.get(feature);
      if (!list) best.set(feature, [found]);
      else if (list.length < count) list.push(found);
    }
  }
  return best;
}

/** The machine with the embeddings of active features dealt out to one another. */
async function permutedPairs(nfm: Nfm, active: number[], rng: Rng): Promise<Nfm> {
  const { dSae, K } = nfm.shape;
  const V = await nfm.weights.V!.data<"float32">();
  const order = rng.permutation(active.length);
  const permuted = V.slice();
  active.forEach((feature, at) => {
    const from = active[order[at]];
    permuted.set(V.subarray(from * K, (from + 1) * K), feature * K);
  });
  return new Nfm(nfm.shape, { ...nfm.weights, V: tf.tensor2d(permuted, [dSae, K]) }, {
    scales: nfm.scales,
  });
}

/**
 * Without the term z T of a pair, z = f_i f_j, the error e of a token becomes e + z T, and its square
 * changes by 2 z e·T + z²‖T‖². With T = Σ_k v_ik v_jk C_k that needs e·C_k only, `[tokens, K]`.
 */
async function leavingOut(
  split: SplitReader,
  { sae, nfm, maxTokens }: { sae: Sae; nfm: Nfm; maxTokens: number },
  pairs: ReadonlyMap<number, RankedPair>,
): Promise<{ change: Map<number, number>; error: Map<number, number>; residual: number }> {
  const { topN, K } = nfm.shape;
  const unit = nfm.scales.code ** 2 * nfm.scales.target;
  const { V: embeddings, C } = nfm.weights;
  const V = await embeddings!.data<"float32">();
  const change = new Map<number, number>();
  const error = new Map<number, number>();
  const lengths = await strengths(nfm, pairs);
  let [squares, tokens] = [0, 0];
  for await (const { x } of sequentialBatches(split, 1024, Math.min(split.tokens, maxTokens))) {
    const { codes, residual } = codesAndResidual(sae, x, topN);
    const [left, along, sum] = tf.tidy(() => {
      const e = tf.sub(residual, nfm.predict(codes));
      return [
        tf.sum(tf.square(e), 1),
        tf.matMul(e as tf.Tensor2D, C!, false, true),
        tf.sum(tf.square(residual)),
      ];
    });
    const read = await Promise.all(
      [codes.indices, codes.values, left, along, sum].map((t) => t.data()),
    );
    tf.dispose([codes.indices, codes.values, residual, left, along, sum]);
    const [indices, values, e2, eC] = read;
    squares += read[4][0];
    for (let token = 0; token < e2.length; token++) {
      for (let a = token * topN; a < (token + 1) * topN; a++) {
        if (values[a] === 0) continue;
        for (let b = token * topN; b < a; b++) {
          if (values[b] === 0) continue;
          const i = Math.min(indices[a], indices[b]);
          const j = Math.max(indices[a], indices[b]);
          const key = keyOf([i, j]);
          const length = lengths.get(key);
          if (length === undefined) continue;
          const z = values[a] * values[b];
          let eT = 0;
          for (let k = 0; k < K; k++) eT += V[i * K + k] * V[j * K + k] * eC[token * K + k];
          change.set(key, (change.get(key) ?? 0) + 2 * z * unit * eT + (z * length) ** 2);
          error.set(key, (error.get(key) ?? 0) + e2[token]);
        }
      }
    }
    tokens += e2.length;
  }
  return { change, error, residual: Math.sqrt(squares / tokens) };
}

/** ‖T_ij‖ of each pair. */
async function strengths(
  nfm: Nfm,
  pairs: ReadonlyMap<number, RankedPair>,
): Promise<Map<number, number>> {
  const ranked = await strongestPairs(nfm, [...pairs.values()].map(({ pair }) => pair));
  return new Map(ranked.map(({ pair, strength }) => [keyOf(pair), strength]));
}
