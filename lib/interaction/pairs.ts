/**
 * Which pairs of features a factorization machine uses, and for what.
 *
 * With the linear head the effect of two active features beyond the sum of each alone is exact: the
 * mixed difference r̂(f) − r̂(f∖i) − r̂(f∖j) + r̂(f∖ij) = f_i f_j T_ij, T_ij = Σ_k v_ik v_jk C_k.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { Nfm } from "./nfm.ts";

/** Two features. */
export type Pair = readonly [number, number];

/** A pair and the strength that it was ranked by. */
export interface RankedPair {
  readonly pair: Pair;
  readonly strength: number;
}

/** Pairs whose products are on the device at a time. */
const CHUNK = 8192;

/**
 * T_ij of chosen pairs, in the units of the residual for codes in those of the dictionary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Nfm, openDevice, pairTensor, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 3, dOut: 2, K: 2, head: "linear", topN: 3 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.zeros([2]),
 *   V: tf.tensor2d([[1, 0], [2, 5], [0, 3]]),
 *   C: tf.tensor2d([[1, 0], [0, 1]]),
 * });
 * assertEquals([...await pairTensor(nfm, [[0, 1], [1, 2], [0, 2]]).data()], [2, 0, 0, 15, 0, 0]);
 * nfm.dispose();
 * ```
 *
 * @param nfm A model with pairs and the linear head.
 * @param pairs Features, in either order.
 * @returns `[pairs, dOut]`, the caller's.
 * @throws {RangeError} If the model has no pair tensor or a feature is not one of its.
 */
export function pairTensor(nfm: Nfm, pairs: readonly Pair[]): tf.Tensor2D {
  requirePairs(nfm, pairs);
  return tf.tidy(() =>
    tf.mul(tf.matMul(products(nfm, pairs), nfm.weights.C!), perPair(nfm)) as tf.Tensor2D
  );
}

/**
 * The pairs of the largest ‖T_ij‖ among candidates; nothing of features × features is made.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Nfm, openDevice, strongestPairs, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 3, dOut: 1, K: 1, head: "linear", topN: 3 } as const;
 * const V = tf.tensor2d([[1], [2], [-5]]);
 * const nfm = new Nfm(shape, { b: tf.zeros([1]), V, C: tf.ones([1, 1]) });
 * const ranked = await strongestPairs(nfm, [[0, 1], [0, 2], [1, 2]], { top: 2 });
 * assertEquals(ranked.map(({ pair }) => pair), [[1, 2], [0, 2]]);
 * assertEquals(ranked[0].strength, 10);
 * nfm.dispose();
 * ```
 *
 * @param nfm A model with pairs and the linear head.
 * @param candidates Pairs, for example those that are active together; see `coactivePairs`.
 * @param options `top`: how many, default all; `weight`: factor of each candidate, such as the root
 * of its sum of (f_i f_j)², which makes strengths mixed differences over tokens. Default 1.
 * @returns Strongest first.
 * @throws {RangeError} As `pairTensor`.
 */
export async function strongestPairs(
  nfm: Nfm,
  candidates: readonly Pair[],
  options: { top?: number; weight?: ArrayLike<number> } = {},
): Promise<RankedPair[]> {
  requirePairs(nfm, candidates);
  const { top = candidates.length, weight } = options;
  const ranked: RankedPair[] = [];
  const { C } = nfm.weights;
  const gram = tf.matMul(C!, C!, false, true); // ‖w C‖² = w C Cᵀ wᵀ: no [pairs, dOut]
  for (let start = 0; start < candidates.length; start += CHUNK) {
    const chunk = candidates.slice(start, start + CHUNK);
    const norms = tf.tidy(() => {
      const w = products(nfm, chunk);
      const squares = tf.sum(tf.mul(tf.matMul(w, gram), w), 1);
      return tf.mul(tf.sqrt(tf.maximum(squares, 0)), perPair(nfm));
    });
    (await norms.data()).forEach((norm, i) =>
      ranked.push({ pair: chunk[i], strength: norm * (weight?.[start + i] ?? 1) })
    );
    norms.dispose();
  }
  gram.dispose();
  return ranked.sort((a, b) => b.strength - a.strength).slice(0, top);
}

/** A pair that was active together. */
export interface CoactivePair {
  readonly pair: Pair;
  /** Tokens on which both were active. */
  readonly count: number;
  /** Σ (f_i f_j)² over these. */
  readonly energy: number;
}

/**
 * Pairs of features that are active together, from index and value pairs of tokens.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { coactivePairs } from "interlens";
 *
 * const found = coactivePairs(Int32Array.of(4, 2, 2, 4, 4, 0), Float32Array.of(1, 3, 1, 1, 2, 0), 2);
 * assertEquals(found, [{ pair: [2, 4], count: 2, energy: 10 }]);
 * ```
 *
 * @param indices Feature numbers, `[tokens · n]`.
 * @param values Their activations; 0 is not active.
 * @param n Entries a token. Time and memory grow with its square: give the largest only.
 * @param options `minCount`: tokens that a pair must share. Default 1.
 * @returns In the order of features.
 */
export function coactivePairs(
  indices: ArrayLike<number>,
  values: ArrayLike<number>,
  n: number,
  options: { minCount?: number } = {},
): CoactivePair[] {
  const sums = new Map<number, { count: number; energy: number }>();
  const SPAN = 2 ** 26; // two features in one exact number
  for (let token = 0; token + n <= indices.length; token += n) {
    for (let a = token; a < token + n; a++) {
      if (values[a] === 0) continue;
      for (let b = token; b < a; b++) {
        if (values[b] === 0 || indices[a] === indices[b]) continue;
        const low = Math.min(indices[a], indices[b]);
        const key = low * SPAN + Math.max(indices[a], indices[b]);
        const energy = (values[a] * values[b]) ** 2;
        const sum = sums.get(key);
        if (sum) {
          sum.count++;
          sum.energy += energy;
        } else sums.set(key, { count: 1, energy });
      }
    }
  }
  const { minCount = 1 } = options;
  return [...sums].filter(([, { count }]) => count >= minCount).sort(([a], [b]) => a - b)
    .map(([key, sum]) => ({ pair: [Math.floor(key / SPAN), key % SPAN] as const, ...sum }));
}

/** `v_i ⊙ v_j`, `[pairs, K]`. */
function products({ weights: { V } }: Nfm, pairs: readonly Pair[]): tf.Tensor2D {
  const side = (s: 0 | 1) => tf.gather(V!, tf.tensor1d(pairs.map((pair) => pair[s]), "int32"));
  return tf.mul(side(0), side(1)) as tf.Tensor2D;
}

/** From the units of the weights to those of codes and residual. */
const perPair = ({ scales }: Nfm) => scales.code ** 2 * scales.target;

function requirePairs(nfm: Nfm, pairs: readonly Pair[]): void {
  const { parts, head, dSae } = nfm.shape;
  if (parts === "linear" || head !== "linear") {
    throw new RangeError(
      `Cannot take pair tensors of a model of parts "${parts}" with head "${head}": they exist for ` +
        'pairs with head "linear"',
    );
  }
  const wrong = pairs.find((pair) =>
    pair.some((feature) => !Number.isInteger(feature) || feature < 0 || feature >= dSae)
  );
  if (wrong) {
    throw new RangeError(
      `Cannot take the pair tensor of features ${wrong.join(" and ")}: the model has ${dSae}`,
    );
  }
}
