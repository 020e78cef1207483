/**
 * What features and dimensions of a factorization machine do on real tokens: the alternative to
 * looking at the size of weights.
 *
 * @module
 */
import { codesAndResidual, type Nfm } from "../interaction/mod.ts";
import { type Sae, sequentialBatches, type SplitReader } from "../dictionary/mod.ts";
import { tf } from "../tensor/mod.ts";
import { requireFeature } from "./embeddings.ts";
import { allOr } from "./selection.ts";

/** Active features of some tokens, in the units of the dictionary. */
export interface TokenCodes {
  /** Feature numbers, `[tokens, n]`. */
  readonly indices: Int32Array;
  /** Their activations; 0 is not active. */
  readonly values: Float32Array;
  /** Entries a token. */
  readonly n: number;
  readonly tokens: number;
  /** The document of each token, `[tokens]`. */
  readonly document: Int32Array;
}

/**
 * The codes that a model sees, on the first tokens of a split.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, readCodes, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(3, -1, 2, 5), document: Int32Array.of(0, 1) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const sae = new Sae({ architecture: "topk", dIn: 2, dSae: 2, k: 1 }, {
 *   W_enc: tf.tensor2d([[1, 0], [0, 1]]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.tensor2d([[1, 0], [0, 1]]),
 *   b_dec: tf.zeros([2]),
 * });
 * const { indices, values, n } = await readCodes(store.split("test"), sae, { topN: 1 });
 * assertEquals([[...indices], [...values], n], [[0, 1], [3, 5], 1]);
 * sae.dispose();
 * ```
 *
 * @param split Activations in the dictionary's units; held-out ones.
 * @param sae The dictionary.
 * @param options `topN`: largest active features of a token, those of `nfm.shape.topN`; `maxTokens`:
 * default all; `batchSize`: tokens that are encoded together, default 1024.
 */
export async function readCodes(
  split: SplitReader,
  sae: Sae,
  { topN, maxTokens = split.tokens, batchSize = 1024 }: {
    topN: number;
    maxTokens?: number;
    batchSize?: number;
  },
): Promise<TokenCodes> {
  const tokens = Math.min(split.tokens, maxTokens);
  const indices = new Int32Array(tokens * topN);
  const values = new Float32Array(tokens * topN);
  const document = new Int32Array(tokens);
  let at = 0;
  for await (const batch of sequentialBatches(split, batchSize, tokens)) {
    const { codes, residual } = codesAndResidual(sae, batch.x, topN);
    residual.dispose();
    const read = await Promise.all([codes.indices.data(), codes.values.data()]);
    tf.dispose([codes.indices, codes.values]);
    indices.set(read[0], at * topN);
    values.set(read[1], at * topN);
    document.set(batch.document, at);
    at += batch.document.length;
  }
  return { indices, values, n: topN, tokens, document };
}

/** What each feature does through each dimension. */
export interface Contributions {
  /** The features, in the order asked for. */
  readonly features: readonly number[];
  readonly K: number;
  /**
   * Σ over tokens of ‖change of the output‖² when the products of a feature leave a dimension,
   * `[features, K]`, in the units of the residual squared.
   */
  readonly energy: Float64Array;
  /** Tokens on which each feature was active. */
  readonly active: Float64Array;
}

/**
 * What each feature does through each dimension on real tokens: with p_k the pooled products and
 * S_k = Σ f_j v_jk, taking feature i out of dimension k takes `c = f_i v_ik (S_k − f_i v_ik)` from p_k.
 * The linear head makes that `c C_k`; of a ReLU head the difference of its outputs is taken.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { contributions, Nfm, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "interaction", dSae: 3, dOut: 1, K: 2, head: "linear", topN: 2 } as const;
 * const V = tf.tensor2d([[9, 1], [0, 1], [1, 0]]); // 0 and 1 meet in dimension 1 only
 * const nfm = new Nfm(shape, { b: tf.zeros([1]), V, C: tf.ones([2, 1]) });
 * const codes = {
 *   indices: Int32Array.of(0, 1),
 *   values: Float32Array.of(2, 3),
 *   n: 2,
 *   tokens: 1,
 *   document: Int32Array.of(0),
 * };
 * const { energy } = await contributions(nfm, codes);
 * assertEquals([...energy], [0, 36, 0, 36, 0, 0]); // its weight of 9 does nothing here
 * nfm.dispose();
 * ```
 *
 * @param nfm A model with pairs.
 * @param codes Codes that it sees.
 * @param options `features`: which; default all with the linear head; a ReLU head needs them named.
 * @throws {RangeError} If the model has no pairs, or a ReLU head and no features are given.
 */
export async function contributions(
  nfm: Nfm,
  codes: TokenCodes,
  { features }: { features?: readonly number[] } = {},
): Promise<Contributions> {
  const { parts, head, dSae, K } = nfm.shape;
  if (parts === "linear") {
    throw new RangeError('Cannot measure the products of a model of parts "linear": it has none');
  }
  if (head === "relu" && features === undefined) {
    throw new RangeError(
      "Cannot measure every feature of a model with a ReLU head: each takes K outputs a token, name " +
        "the features",
    );
  }
  const chosen = allOr(features, dSae);
  chosen.forEach((feature) => requireFeature(feature, dSae));
  const V = await nfm.weights.V!.data<"float32">();
  const place = new Int32Array(dSae).fill(-1);
  chosen.forEach((feature, at) => place[feature] = at);
  const energy = new Float64Array(chosen.length * K);
  const active = new Float64Array(chosen.length);
  /** By feature: p and what it takes from p, `[its tokens, K]`, for a head that needs them. */
  const taken = chosen.map(() => ({ p: [] as Float32Array[], c: [] as Float32Array[] }));
  const S = new Float64Array(K);
  const Q = new Float64Array(K);
  const { indices, values, n, tokens } = codes;
  for (let token = 0; token < tokens; token++) {
    S.fill(0);
    Q.fill(0);
    for (let e = token * n; e < (token + 1) * n; e++) {
      const f = values[e] * nfm.scales.code;
      if (f === 0) continue;
      for (let k = 0, v = indices[e] * K; k < K; k++, v++) {
        const w = f * V[v];
        S[k] += w;
        Q[k] += w * w;
      }
    }
    for (let e = token * n; e < (token + 1) * n; e++) {
      const f = values[e] * nfm.scales.code;
      const at = place[indices[e]];
      if (f === 0 || at < 0) continue;
      active[at]++;
      const c = head === "relu" ? new Float32Array(K) : undefined;
      for (let k = 0, v = indices[e] * K; k < K; k++, v++) {
        const w = f * V[v];
        const change = w * (S[k] - w);
        if (c) c[k] = change;
        else energy[at * K + k] += change * change;
      }
      if (c) {
        taken[at].c.push(c);
        taken[at].p.push(Float32Array.from(S, (s, k) => 0.5 * (s * s - Q[k])));
      }
    }
  }
  const unit = nfm.scales.target ** 2;
  if (head === "linear") {
    const gains = tf.tidy(() => tf.sum(tf.square(nfm.weights.C!), 1));
    const gain = await gains.data();
    gains.dispose();
    for (let i = 0; i < energy.length; i++) energy[i] *= gain[i % K] * unit;
  } else {
    for (const [at, { p, c }] of taken.entries()) {
      if (p.length === 0) continue;
      const sums = await leftOut(nfm, p, c);
      for (let k = 0; k < K; k++) energy[at * K + k] = sums[k] * unit;
    }
  }
  return { features: chosen, K, energy, active };
}

/** Σ over tokens of ‖head(p) − head(p without c_k)‖² for every k. */
async function leftOut(nfm: Nfm, p: Float32Array[], c: Float32Array[]): Promise<Float64Array> {
  const { K } = nfm.shape;
  const { W1, b1, W2 } = nfm.weights;
  const sums = new Float64Array(K);
  const rows = 64; // [rows, K, K] at a time
  for (let start = 0; start < p.length; start += rows) {
    const count = Math.min(rows, p.length - start);
    const matrix = (parts: Float32Array[]) => {
      const flat = new Float32Array(count * K);
      for (let i = 0; i < count; i++) flat.set(parts[start + i], i * K);
      return tf.tensor2d(flat, [count, K]);
    };
    const energies = tf.tidy(() => {
      const before = tf.add(tf.matMul(matrix(p), W1!), b1!);
      const less = tf.mul(tf.reshape(matrix(c), [count, K, 1]), tf.reshape(W1!, [1, K, K]));
      const whole = tf.reshape(before, [count, 1, K]);
      const change = tf.sub(tf.relu(whole), tf.relu(tf.sub(whole, less)));
      const flat = tf.reshape(change, [count * K, K]) as tf.Tensor2D;
      const gram = tf.matMul(W2!, W2!, false, true);
      const squares = tf.sum(tf.mul(tf.matMul(flat, gram), flat), 1);
      return tf.sum(tf.reshape(squares, [count, K]), 0);
    });
    (await energies.data()).forEach((value, k) => sums[k] += value);
    energies.dispose();
  }
  return sums;
}

/** A dimension with what it does. */
export interface ContributingK {
  readonly k: number;
  /** Its energy over that of all dimensions, 0 to 1. */
  readonly share: number;
}

/**
 * The dimensions of a group of features by what the features do through them, strongest first.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rankByContribution } from "interlens";
 *
 * const energy = Float64Array.of(1, 3, 2, 6);
 * const measured = { features: [7, 4], K: 2, energy, active: Float64Array.of(1, 1) };
 * assertEquals(rankByContribution(measured, [7])[0], { k: 1, share: 0.75 });
 * ```
 *
 * @param features Default: all that were measured.
 * @throws {RangeError} If a feature was not measured.
 */
export function rankByContribution(
  { features: measured, K, energy }: Contributions,
  features: readonly number[] = measured,
): ContributingK[] {
  const sums = new Float64Array(K);
  for (const feature of features) {
    const at = measured.indexOf(feature);
    if (at < 0) {
      throw new RangeError(
        `Cannot rank the dimensions of feature ${feature}: it was not measured`,
      );
    }
    for (let k = 0; k < K; k++) sums[k] += energy[at * K + k];
  }
  const total = sums.reduce((all, value) => all + value, 0);
  return Array.from(sums, (value, k) => ({ k, share: total > 0 ? value / total : 0 }))
    .sort((a, b) => b.share - a.share);
}

/** How much of a model is interaction. */
export interface InteractionShare {
  /** What was measured: the energy of the output, or the norms of the weights. */
  readonly measure: "energy" | "norms";
  /** Mean ‖b + f W‖² a token; or the mean norm of a column of W over the features. */
  readonly linear: number;
  /** Mean ‖head(p)‖² a token; or the mean norm of an embedding. */
  readonly interaction: number;
  /** Mean ‖output‖² less both energies: what they share, or cancel. 0 for norms. */
  readonly covariance: number;
  /** interaction / (linear + interaction), 0 to 1. */
  readonly share: number;
}

/**
 * How much of a model is interaction: by the energy of its two terms in the output.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { interactionShare, Nfm, openDevice, Rng, tf } from "interlens";
 *
 * await openDevice();
 * // Norms of weights that were only drawn, of the study's widths of 0.01 and 0.05.
 * const draw = (name: string, shape: [number, number], std: number) =>
 *   tf.tensor2d(new Rng(0, name).normals(shape[0] * shape[1], std), shape);
 * const shape = { parts: "both", dSae: 5000, dOut: 8, K: 15, head: "linear", topN: 4 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.zeros([8]),
 *   W: draw("W", [5000, 8], 0.01),
 *   V: draw("V", [5000, 15], 0.05),
 *   C: tf.ones([15, 8]),
 * });
 * const { measure, linear } = await interactionShare(nfm, { faithful: ["B2"] });
 * assertEquals(measure, "norms");
 * assertAlmostEquals(linear, 0.01 * Math.sqrt(5000), 0.02);
 * nfm.dispose();
 * ```
 *
 * @param nfm A model of parts `"both"`.
 * @param options `codes`: codes that it sees, which the energy needs; `faithful`: `"B2"` compares the
 * mean norm of W's columns with that of the embeddings, as the study printed it: other units, no
 * token, no output.
 * @throws {RangeError} If the model has not both parts, or there are no codes.
 */
export async function interactionShare(
  nfm: Nfm,
  { codes, faithful = [] }: { codes?: TokenCodes; faithful?: readonly "B2"[] } = {},
): Promise<InteractionShare> {
  const { parts } = nfm.shape;
  if (parts !== "both") {
    throw new RangeError(`Cannot split a model of parts "${parts}": expected "both"`);
  }
  const result = (measure: "energy" | "norms", sums: ArrayLike<number>): InteractionShare => {
    const [linear, interaction, covariance] = Array.from(sums);
    const share = interaction / (linear + interaction);
    return { measure, linear, interaction, covariance, share };
  };
  if (faithful.includes("B2")) {
    const norms = tf.tidy(() =>
      tf.stack([
        tf.mean(tf.norm(nfm.weights.W!, 2, 0)),
        tf.mean(tf.norm(nfm.weights.V!, 2, 1)),
        tf.scalar(0),
      ])
    );
    const sums = await norms.data();
    norms.dispose();
    return result("norms", sums);
  }
  if (!codes || codes.tokens === 0) {
    throw new RangeError("Cannot measure the energy of an output without tokens: give codes");
  }
  const totals = new Float64Array(3);
  for (const batch of codeBatches(codes, 1024)) {
    const sums = tf.tidy(() => {
      const { linear, interaction } = nfm.pieces(batch);
      const both = tf.add(linear, interaction);
      return tf.stack([linear, interaction, both].map((term) => tf.sum(tf.square(term))));
    });
    tf.dispose([batch.indices, batch.values]);
    (await sums.data()).forEach((value, i) => totals[i] += value / codes.tokens);
    sums.dispose();
  }
  const [linear, interaction, both] = totals;
  return result("energy", [linear, interaction, both - linear - interaction]);
}

/** Codes as tensors, some tokens at a time; each is the caller's. */
export function* codeBatches(
  { indices, values, n, tokens }: TokenCodes,
  batchSize: number,
): Generator<{ indices: tf.Tensor2D; values: tf.Tensor2D }> {
  for (let start = 0; start < tokens; start += batchSize) {
    const count = Math.min(batchSize, tokens - start);
    const part = <T extends Int32Array | Float32Array>(all: T) =>
      all.slice(start * n, (start + count) * n) as T;
    yield {
      indices: tf.tensor2d(part(indices), [count, n], "int32"),
      values: tf.tensor2d(part(values), [count, n]),
    };
  }
}
