/**
 * The forward pass of a LLaMA-family model (Touvron et al., 2023): pre-norm blocks of grouped-query
 * attention with rotary positions and gated MLPs.
 *
 *     x ← x + attention(rmsNorm(x)),  x ← x + mlp(rmsNorm(x)),  logits = rmsNorm(x) · unembed
 *
 * Weights are raw: nothing is folded or centred.
 *
 * @module
 */
import { canRunGraphs } from "../tensor/graph.ts";
import { tf } from "../tensor/mod.ts";
import { attention, type AttentionWeights, causalMask, type KeyValues } from "./attention.ts";
import { MOST_BLOCKS, runBlocks } from "./block_graph.ts";
import type { ModelConfig } from "./config.ts";
import type { HookTable } from "./hooks.ts";
import { mlp, type MlpWeights } from "./mlp.ts";
import { rmsNorm } from "./norm.ts";
import type { Rope } from "./rope.ts";
import { BLOCK_HOOKS } from "./names.ts";
import type { BlockRun, PastKeys, RunPoint } from "./run.ts";
import { Scope } from "./scope.ts";
import type { Steps } from "./steps.ts";

/** Weights of a block. */
export interface BlockWeights {
  /** `[d_model]` */
  readonly ln1: tf.Tensor1D;
  readonly attn: AttentionWeights;
  /** `[d_model]` */
  readonly ln2: tf.Tensor1D;
  readonly mlp: MlpWeights;
}

/** Weights of a model, or of its first blocks. */
export interface LlamaWeights {
  /** `[vocab, d_model]` */
  readonly embed: tf.Tensor2D;
  /** The blocks that were loaded. */
  readonly blocks: readonly BlockWeights[];
  /** What follows the last block; absent if only the first blocks were loaded. */
  readonly head?: {
    /** `[d_model]` */
    readonly lnFinal: tf.Tensor1D;
    /** `[vocab, d_model]`: the embedding itself where they are tied. */
    readonly unembed: tf.Tensor2D;
  };
}

/** Every tensor of the weights, each once. */
export function allTensors({ embed, blocks, head }: LlamaWeights): tf.Tensor[] {
  const ofBlock = (
    { ln1, ln2, attn, mlp }: BlockWeights,
  ) => [ln1, ln2, ...Object.values(attn), ...Object.values(mlp)];
  const all = [embed, ...blocks.flatMap(ofBlock), ...Object.values(head ?? {})];
  // Biases are absent in most models.
  return [...new Set(all)].filter((tensor) => tensor !== undefined);
}

/** Keys and values of the positions that a run has seen, for the next one to go on from. */
export class KvCache implements Disposable {
  readonly #layers: KeyValues[] = [];

  /** Positions it holds. */
  get length(): number {
    return this.#layers[0]?.k.shape[2] ?? 0;
  }

  /** The part of it that belongs to a block. */
  layer(l: number): PastKeys {
    const held = this.#layers[l];
    const replace = (all: KeyValues) => {
      if (held) tf.dispose([held.k, held.v]);
      this.#layers[l] = all;
    };
    const append = (now: KeyValues) => {
      if (held) {
        const join = (name: "k" | "v") => tf.concat([held[name], now[name]], 2);
        const all = { k: join("k"), v: join("v") };
        tf.dispose([now.k, now.v]);
        replace(all);
        return all;
      }
      replace(now);
      return now;
    };
    return { held, append, replace };
  }

  [Symbol.dispose](): void {
    for (const { k, v } of this.#layers) tf.dispose([k, v]);
    this.#layers.length = 0;
  }
}

/** What a run does besides computing. */
export interface ForwardOptions {
  /** What waits on the way. */
  hooks: HookTable;
  /** Ends before this block; without it the run ends in logits. */
  stopAtLayer?: number;
  /** Positions before these tokens; it learns theirs. */
  past?: KvCache;
  /** Computes the logits of the last position only. */
  lastOnly?: boolean;
}

/**
 * Runs the model.
 *
 * @param tokens `[batch, pos]`, int32.
 * @returns Logits `[batch, pos, vocab]`, or undefined if the run stops at a layer.
 */
export function* forward(
  tokens: tf.Tensor2D,
  model: { cfg: ModelConfig; weights: LlamaWeights; rope: Rope },
  { hooks, stopAtLayer, past, lastOnly }: ForwardOptions,
): Steps<tf.Tensor3D | undefined> {
  using scope = new Scope();
  const { cfg, weights } = model;
  const pos = tokens.shape[1];
  const offset = past?.length ?? 0;
  const at: RunPoint<string> = (name, tensor, scope) => hooks.at(name, tensor, scope);
  const rope = model.rope.tables(offset, pos);
  scope.own(rope.cos);
  scope.own(rope.sin);
  const window = cfg.slidingWindow ?? Infinity;
  const seesAll = pos === 1 && offset < window;
  const mask = seesAll ? undefined : scope.own(causalMask(pos, offset, window));

  let x = scope.run(() => tf.gather(weights.embed, tokens) as tf.Tensor) as tf.Tensor3D;
  x = yield* at("hook_embed", x, scope);
  const blocks = weights.blocks.slice(0, stopAtLayer).map((weights, l): Block => {
    const inBlock = `blocks.${l}.`;
    const at: RunPoint<string> = (name, t, scope) => hooks.at(inBlock + name, t, scope);
    const hooked = (name: string) => hooks.has(inBlock + name);
    return { weights, run: { cfg, rope, mask, at, hooked, past: past?.layer(l) } };
  });
  while (blocks.length > 0) {
    const together = canRunGraphs() ? freeBlocks(blocks) : 0;
    const after = yield* several(x, blocks.splice(0, together || 1), together > 0);
    scope.free(x);
    x = scope.own(after);
  }
  if (stopAtLayer !== undefined || !weights.head) return undefined;

  const { lnFinal, unembed } = weights.head;
  if (lastOnly) x = scope.run(() => tf.slice(x, [0, pos - 1, 0]));
  const normalized = scope.own(
    yield* rmsNorm(x, lnFinal, cfg.rmsEps, (name, t, scope) => at(`ln_final.${name}`, t, scope)),
  );
  return tf.tidy(() => {
    const rows = tf.reshape(normalized, [-1, cfg.dModel]) as tf.Tensor2D;
    const logits = tf.matMul(rows, unembed, false, true);
    return tf.reshape(logits, [x.shape[0], x.shape[1], cfg.vocabSize]);
  });
}

interface Block {
  readonly weights: BlockWeights;
  readonly run: BlockRun;
}

/** How many of the first blocks a graph can take: nothing waits inside them or between them. */
function freeBlocks(blocks: readonly Block[]): number {
  const end = blocks.findIndex(({ run: { hooked } }, i) =>
    i === MOST_BLOCKS || INSIDE.some(hooked) ||
    i > 0 && (hooked("hook_resid_pre") || blocks[i - 1].run.hooked("hook_resid_post"))
  );
  return end === -1 ? blocks.length : end;
}

/** Hook points inside a block. */
const INSIDE = BLOCK_HOOKS.slice(1, -1);

/** Blocks one after the other: one op by op, or all of them as a graph. */
function* several(x: tf.Tensor3D, blocks: Block[], asGraph: boolean): Steps<tf.Tensor3D> {
  using scope = new Scope();
  const { run: first, weights } = blocks[0];
  const pre = yield* first.at("hook_resid_pre", x, scope);
  const post = scope.own(asGraph ? inGraph(pre, blocks) : yield* opByOp(pre, weights, first));
  return scope.release(yield* blocks.at(-1)!.run.at("hook_resid_post", post, scope));
}

function inGraph(x: tf.Tensor3D, blocks: Block[]): tf.Tensor3D {
  const known = blocks.map(({ weights, run }) => ({ weights, past: run.past?.held }));
  const { run } = blocks[0];
  const { post, keyValues } = runBlocks(x, known, run, run.past !== undefined);
  keyValues.forEach((all, i) => blocks[i].run.past!.replace(all));
  return post;
}

function* opByOp(
  pre: tf.Tensor3D,
  weights: BlockWeights,
  run: BlockRun,
): Steps<tf.Tensor3D> {
  using scope = new Scope();
  const { at, cfg: { rmsEps } } = run;
  const norm = function* (input: tf.Tensor3D, name: "ln1" | "ln2"): Steps<tf.Tensor3D> {
    return scope.own(
      yield* rmsNorm(input, weights[name], rmsEps, (p, t, scope) => at(`${name}.${p}`, t, scope)),
    );
  };

  const normPre = yield* norm(pre, "ln1");
  const attended = scope.own(yield* attention(normPre, weights.attn, run));
  scope.free(normPre);
  const attnOut = yield* at("hook_attn_out", attended, scope);
  const mid = yield* at(
    "hook_resid_mid",
    scope.run(() => tf.add(pre, attnOut) as tf.Tensor3D),
    scope,
  );
  const normMid = yield* norm(mid, "ln2");
  const transformed = scope.own(yield* mlp(normMid, weights.mlp, run));
  scope.free(normMid);
  const mlpOut = yield* at("hook_mlp_out", transformed, scope);
  return tf.tidy(() => tf.add(mid, mlpOut));
}
