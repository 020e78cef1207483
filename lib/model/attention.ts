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
import type { Steps } from "./steps.ts";

/**
 * What masks a key that a query may not see. Finite, because ∞ - ∞ is NaN and shaders may assume
 * that there is none; far enough below every score that its exponential is 0.
 */
export const MASKED = -1e9;

/** Weights of an attention layer: fused where they are read together. */
export interface AttentionWeights {
  /** `[d_model, (heads + 2 kv_heads) · d_head]`: queries, keys, values. */
  readonly qkv: tf.Tensor2D;
  /** `[(heads + 2 kv_heads) · d_head]`, added to queries, keys and values (Qwen2). */
  readonly qkvBias?: tf.Tensor1D;
  /** `[heads · d_head, d_model]` */
  readonly out: tf.Tensor2D;
  /** `[d_model]`, added to what attention returns. */
  readonly outBias?: tf.Tensor1D;
}

/** Keys and values of the positions that came before. */
export interface KeyValues {
  /** `[batch, kv_head, pos, d_head]`, rotated. */
  readonly k: tf.Tensor4D;
  /** `[batch, kv_head, pos, d_head]` */
  readonly v: tf.Tensor4D;
}

/**
 * What the queries of `pos` positions may see of `past + pos` keys: 0, or {@link MASKED}.
 *
 * @param window Keys that a query sees, its own included. Default: all before it.
 */
export function causalMask(pos: number, past: number, window = Infinity): tf.Tensor2D {
  const keys = past + pos;
  const mask = new Float32Array(pos * keys);
  for (let query = 0; query < pos; query++) {
    const own = past + query;
    const row = mask.subarray(query * keys, (query + 1) * keys);
    row.fill(MASKED, own + 1);
    row.fill(MASKED, 0, Math.max(0, own + 1 - window));
  }
  return tf.tensor2d(mask, [pos, keys]);
}

/**
 * What attention adds to the residual stream.
 *
 * @param x Normalised residual, `[batch, pos, d_model]`.
 * @returns `[batch, pos, d_model]`, owned by the caller.
 */
export function* attention(
  x: tf.Tensor3D,
  weights: AttentionWeights,
  run: BlockRun,
): Steps<tf.Tensor3D> {
  using scope = new Scope();
  const [projQ, projK, projV] = scope.run(() => project(x, weights, run.cfg));
  const q = yield* atHeadsLast("attn.hook_q", projQ, run, scope);
  const k = yield* atHeadsLast("attn.hook_k", projK, run, scope);
  const v = yield* atHeadsLast("attn.hook_v", projV, run, scope);
  const turnedQ = scope.run(() => rotate(q, run.rope));
  const turnedK = scope.run(() => rotate(k, run.rope));
  scope.free(q, k);
  const rotQ = yield* atHeadsLast("attn.hook_rot_q", turnedQ, run, scope);
  const rotK = yield* atHeadsLast("attn.hook_rot_k", turnedK, run, scope);
  const now = { k: scope.release(rotK), v: scope.release(v) };
  const all = run.past?.append(now) ?? { k: scope.own(now.k), v: scope.own(now.v) };

  const mixed = yield* mix(rotQ, all, run, scope);
  const z = yield* run.at("attn.hook_z", mixed, scope);
  return yield* writeOut(z, weights, run);
}

/** Queries, keys and values of every head, each `[batch, head, pos, d_head]`. */
function project(x: tf.Tensor3D, weights: AttentionWeights, cfg: ModelConfig): tf.Tensor4D[] {
  const [batch, pos, dModel] = x.shape;
  const { nHeads, nKvHeads, dHead } = cfg;
  const products = tf.matMul(tf.reshape(x, [batch * pos, dModel]), weights.qkv);
  const all = withBias(products, weights.qkvBias);
  const heads = swapHeads(tf.reshape(all, [batch, pos, nHeads + 2 * nKvHeads, dHead]));
  return tf.split(heads, [nHeads, nKvHeads, nKvHeads], 1);
}

/**
 * Values mixed by scores and pattern, which exist only here: a fused kernel can take this place in
 * a run where `run.hooked` is false for both of their points and no gradient is recorded.
 *
 * @param q `[batch, head, pos, d_head]`; the scope frees it, and the keys, once they were read.
 * @returns `[batch, pos, head, d_head]`, owned by the scope.
 */
function* mix(
  q: tf.Tensor4D,
  { k, v }: KeyValues,
  run: BlockRun,
  scope: Scope,
): Steps<tf.Tensor4D> {
  const [batch, nHeads, pos, dHead] = q.shape;
  const [, nKvHeads, keys] = k.shape;
  const grouped: [number, number, number] = [batch * nKvHeads, (nHeads / nKvHeads) * pos, -1];
  const ungrouped: [number, number, number, number] = [batch, nHeads, pos, keys];
  let scores = scope.run(() => {
    // Scaling the keys is the smallest of the three places for 1/√d_head.
    const scaled = tf.reshape(tf.mul(k, dHead ** -0.5), [batch * nKvHeads, keys, dHead]);
    const products = tf.reshape(tf.matMul(tf.reshape(q, grouped), scaled, false, true), ungrouped);
    return run.mask ? tf.add(products, run.mask) as tf.Tensor4D : products;
  });
  scope.free(q, k);
  scores = yield* run.at("attn.hook_attn_scores", scores, scope);
  let pattern = scope.run(() => tf.softmax(scores));
  scope.free(scores);
  pattern = yield* run.at("attn.hook_pattern", pattern, scope);
  const mixed = scope.run(() => {
    const flat = tf.reshape(v, [batch * nKvHeads, keys, dHead]);
    const rows = tf.matMul(tf.reshape(pattern, grouped), flat);
    return swapHeads(tf.reshape(rows, [batch, nHeads, pos, dHead]));
  });
  scope.free(pattern, v);
  return mixed;
}

/**
 * The sum over heads of what each writes, and the bias.
 *
 * @param z `[batch, pos, head, d_head]`
 * @returns `[batch, pos, d_model]`, owned by the caller.
 */
function* writeOut(
  z: tf.Tensor4D,
  { out, outBias }: AttentionWeights,
  run: BlockRun,
): Steps<tf.Tensor3D> {
  using scope = new Scope();
  const [batch, pos, nHeads, dHead] = z.shape;
  if (run.hooked("attn.hook_result")) {
    // d_model numbers a head: many, so they are made only where somebody asks.
    const each = scope.run(() => {
      const byHead = tf.reshape(tf.transpose(z, [2, 0, 1, 3]), [nHeads, batch * pos, dHead]);
      const written = tf.matMul(byHead, tf.reshape(out, [nHeads, dHead, -1]));
      return tf.transpose(tf.reshape(written, [nHeads, batch, pos, -1]), [1, 2, 0, 3]);
    }) as tf.Tensor4D;
    const result = yield* run.at("attn.hook_result", each, scope);
    // A hook that only read must not change the order of the sum.
    if (result !== each) {
      return tf.tidy(() => withBias(tf.sum(result, 2) as tf.Tensor3D, outBias));
    }
  }
  return tf.tidy(() => {
    const sum = tf.matMul(tf.reshape(z, [batch * pos, nHeads * dHead]), out);
    return tf.reshape(withBias(sum, outBias), [batch, pos, -1]);
  });
}

// The bias of a fused product is wrong on the wasm backend.
function withBias<T extends tf.Tensor>(x: T, bias: tf.Tensor1D | undefined): T {
  return bias ? tf.add(x, bias) as T : x;
}

/** `[batch, pos, head, d_head]` to `[batch, head, pos, d_head]`, and back. */
function swapHeads(x: tf.Tensor4D): tf.Tensor4D {
  return tf.transpose(x, [0, 2, 1, 3]);
}

/** A hook point sees positions before heads; the products want heads first. */
function* atHeadsLast(
  name: string,
  headsFirst: tf.Tensor4D,
  run: BlockRun,
  scope: Scope,
): Steps<tf.Tensor4D> {
  if (!run.hooked(name)) return headsFirst;
  const seen = yield* run.at(name, scope.run(() => swapHeads(headsFirst)), scope);
  const result = scope.run(() => swapHeads(seen));
  scope.free(headsFirst, seen);
  return result;
}
