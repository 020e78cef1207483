/**
 * Causal self-attention with grouped queries (Ainslie et al., 2023).
 *
 *     pattern = softmax(q kᵀ / √d_head + mask),  z = pattern v
 *
 * Query head h reads key and value head ⌊h / (heads / kv_heads)⌋. The query heads of a group are
 * stacked along the position axis, `[batch, kv_head, group · pos, d_head]`, so one batched product
 * serves them all and keys and values are never repeated.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { ModelConfig } from "./config.ts";
import { rotate } from "./rope.ts";
import type { BlockRun } from "./run.ts";
import { Scope } from "./scope.ts";

/**
 * What masks a key that lies in the query's future. Finite, because ∞ - ∞ is NaN and shaders may
 * assume that there is none; far enough below every score that its exponential is 0.
 */
export const MASKED = -1e9;

/** Weights of an attention layer: fused where they are read together. */
export interface AttentionWeights {
  /** `[d_model, (heads + 2 kv_heads) · d_head]`: queries, keys, values. */
  readonly qkv: tf.Tensor2D;
  /** `[heads · d_head, d_model]` */
  readonly out: tf.Tensor2D;
}

/** Keys and values of the positions that came before. */
export interface KeyValues {
  /** `[batch, kv_head, pos, d_head]`, rotated. */
  readonly k: tf.Tensor4D;
  /** `[batch, kv_head, pos, d_head]` */
  readonly v: tf.Tensor4D;
}

/** What the queries of `pos` positions may see of `past + pos` keys: 0, or {@link MASKED}. */
export function causalMask(pos: number, past: number): tf.Tensor2D {
  const mask = new Float32Array(pos * (past + pos));
  for (let query = 0; query < pos; query++) {
    mask.fill(MASKED, query * (past + pos) + past + query + 1, (query + 1) * (past + pos));
  }
  return tf.tensor2d(mask, [pos, past + pos]);
}

/**
 * What attention adds to the residual stream.
 *
 * @param x Normalised residual, `[batch, pos, d_model]`.
 * @returns `[batch, pos, d_model]`, owned by the caller.
 */
export async function attention(
  x: tf.Tensor3D,
  weights: AttentionWeights,
  run: BlockRun,
): Promise<tf.Tensor3D> {
  using scope = new Scope();
  const { cfg, at } = run;
  const [batch, pos] = x.shape;
  const { nHeads, nKvHeads, dHead } = cfg;

  const [projQ, projK, projV] = scope.run(() => project(x, weights.qkv, cfg));
  const q = await atHeadsLast("attn.hook_q", projQ, run, scope);
  const k = await atHeadsLast("attn.hook_k", projK, run, scope);
  const v = await atHeadsLast("attn.hook_v", projV, run, scope);
  const turnedQ = scope.run(() => rotate(q, run.rope));
  const turnedK = scope.run(() => rotate(k, run.rope));
  scope.free(q, k);
  const rotQ = await atHeadsLast("attn.hook_rot_q", turnedQ, run, scope);
  const rotK = await atHeadsLast("attn.hook_rot_k", turnedK, run, scope);
  const { k: allK, v: allV } = run.remember({ k: rotK, v }, scope);

  const keys = allK.shape[2];
  const grouped: [number, number, number] = [batch * nKvHeads, (nHeads / nKvHeads) * pos, -1];
  const ungrouped: [number, number, number, number] = [batch, nHeads, pos, keys];
  let scores = scope.run(() => {
    // Scaling the keys is the smallest of the three places for 1/√d_head.
    const scaled = tf.reshape(tf.mul(allK, dHead ** -0.5), [batch * nKvHeads, keys, dHead]);
    const products = tf.reshape(
      tf.matMul(tf.reshape(rotQ, grouped), scaled, false, true),
      ungrouped,
    );
    return run.mask ? tf.add(products, run.mask) as tf.Tensor4D : products;
  });
  scope.free(rotQ, allK);
  scores = await at("attn.hook_attn_scores", scores, scope);
  let pattern = scope.run(() => tf.softmax(scores));
  scope.free(scores);
  pattern = await at("attn.hook_pattern", pattern, scope);

  let z = scope.run(() => {
    const flat = tf.reshape(allV, [batch * nKvHeads, keys, dHead]);
    const mixed = tf.matMul(tf.reshape(pattern, grouped), flat);
    return swapHeads(tf.reshape(mixed, [batch, nHeads, pos, dHead]));
  });
  scope.free(pattern, allV);
  z = await at("attn.hook_z", z, scope);
  return tf.tidy(() =>
    tf.reshape(tf.matMul(tf.reshape(z, [batch * pos, -1]), weights.out), [batch, pos, -1])
  );
}

/** Queries, keys and values of every head, each `[batch, head, pos, d_head]`. */
function project(x: tf.Tensor3D, qkv: tf.Tensor2D, cfg: ModelConfig): tf.Tensor4D[] {
  const [batch, pos, dModel] = x.shape;
  const { nHeads, nKvHeads, dHead } = cfg;
  const all = tf.matMul(tf.reshape(x, [batch * pos, dModel]), qkv);
  const heads = swapHeads(tf.reshape(all, [batch, pos, nHeads + 2 * nKvHeads, dHead]));
  return tf.split(heads, [nHeads, nKvHeads, nKvHeads], 1);
}

/** `[batch, pos, head, d_head]` to `[batch, head, pos, d_head]`, and back. */
function swapHeads(x: tf.Tensor4D): tf.Tensor4D {
  return tf.transpose(x, [0, 2, 1, 3]);
}

/** A hook point sees positions before heads; the products want heads first. */
async function atHeadsLast(
  name: string,
  headsFirst: tf.Tensor4D,
  run: BlockRun,
  scope: Scope,
): Promise<tf.Tensor4D> {
  if (!run.hooked(name)) return headsFirst;
  const seen = await run.at(name, scope.run(() => swapHeads(headsFirst)), scope);
  const result = scope.run(() => swapHeads(seen));
  scope.free(headsFirst, seen);
  return result;
}
