/**
 * Blocks as one TensorFlow graph, for runs in which nothing waits inside or between them and no
 * gradient is recorded. The portable twin, which says what is computed, is in `llama.ts`, `attention.ts`,
 * `mlp.ts` and `norm.ts`; a test compares the two.
 *
 * @module
 */
import type { tf } from "../tensor/mod.ts";
import { type CompiledGraph, Graph, type GraphTensor } from "../tensor/graph.ts";
import type { KeyValues } from "./attention.ts";
import type { ModelConfig } from "./config.ts";
import type { BlockWeights } from "./llama.ts";
import type { RopeTables } from "./rope.ts";

/** What all blocks of a run share. */
export interface BlockInputs {
  readonly cfg: ModelConfig;
  /** Tables of the positions of this run. */
  readonly rope: RopeTables;
  /** `[pos, past + pos]`, absent where a single query sees all keys. */
  readonly mask: tf.Tensor2D | undefined;
}

/** A block, and keys and values of earlier positions. */
export interface GraphBlock {
  readonly weights: BlockWeights;
  readonly past?: KeyValues;
}

/** Blocks that one graph holds at most: with more, building it takes longer than they save. */
export const MOST_BLOCKS = 10;

/**
 * The residual stream after consecutive blocks, and all keys and values if they are wanted.
 *
 * @param x Residual stream before them, `[batch, pos, d_model]`.
 * @param blocks At most {@link MOST_BLOCKS}; with keys of earlier positions in all or in none.
 * @returns Keys and values block by block, none if not wanted; all owned by the caller.
 */
export function runBlocks(
  x: tf.Tensor3D,
  blocks: readonly GraphBlock[],
  { cfg, rope, mask }: BlockInputs,
  wantsKeys: boolean,
): { post: tf.Tensor3D; keyValues: KeyValues[] } {
  const inputs: Inputs = { x, ...rope, mask };
  for (const [i, { weights: { ln1, ln2, attn, mlp }, past }] of blocks.entries()) {
    const own = { ln1, ln2, ...attn, ...mlp, pastK: past?.k, pastV: past?.v };
    for (const [name, tensor] of Object.entries(own)) inputs[name + i] = tensor;
  }
  const { graph, post, keyValues } = compiled(cfg, inputs, blocks.length);
  const [after, ...found] = graph.run(inputs, [
    post,
    ...wantsKeys ? keyValues.flatMap(({ k, v }) => [k, v]) : [],
  ]);
  return {
    post: after as tf.Tensor3D,
    keyValues: wantsKeys
      ? blocks.map((_, i) => ({
        k: found[2 * i] as tf.Tensor4D,
        v: found[2 * i + 1] as tf.Tensor4D,
      }))
      : [],
  };
}

interface BlocksGraph {
  readonly graph: CompiledGraph;
  readonly post: GraphTensor;
  readonly keyValues: { readonly k: GraphTensor; readonly v: GraphTensor }[];
}

type Inputs = Record<string, tf.Tensor | undefined>;

/** Graphs by what they were built for: they hold no weights, so all models of a shape share them. */
const graphs = new Map<string, BlocksGraph>();

function compiled(cfg: ModelConfig, inputs: Inputs, blocks: number): BlocksGraph {
  const { nHeads, nKvHeads, dHead, dModel, rmsEps } = cfg;
  const given = Object.keys(inputs).filter((name) => inputs[name]);
  const key = [nHeads, nKvHeads, dHead, dModel, rmsEps, ...given].join();
  let graph = graphs.get(key);
  if (!graph) graphs.set(key, graph = build(cfg, inputs, blocks));
  return graph;
}

function build(cfg: ModelConfig, given: Inputs, blocks: number): BlocksGraph {
  const { nHeads, nKvHeads, dHead, dModel, rmsEps } = cfg;
  const g = new Graph();
  const input = (name: string) => given[name] && g.input(name);
  const add = (a: GraphTensor, b: GraphTensor) => g.op("AddV2", [a, b]);
  const mul = (a: GraphTensor, b: GraphTensor) => g.op("Mul", [a, b]);
  const plus = (a: GraphTensor, bias: string) => given[bias] ? add(a, g.input(bias)) : a;
  const norm = (x: GraphTensor, weight: string) => {
    const meanSquare = mul(g.sumLast(g.op("Square", [x])), g.scalar(1 / dModel));
    const scale = g.op("Rsqrt", [add(meanSquare, g.scalar(rmsEps))]);
    return mul(mul(x, scale), g.input(weight));
  };
  const swapHeads = (t: GraphTensor) => g.transpose(t, [0, 2, 1, 3]);

  const [x, cos, sin, mask] = [g.input("x"), g.input("cos"), g.input("sin"), input("mask")];
  const shape = g.shape(x);
  const [batch, pos] = [g.slice(shape, 0, 1), g.slice(shape, 1, 1)];
  const shapeOf = (...parts: GraphTensor[]) => g.concat(parts, 0, "int32");
  const byHead = shapeOf(batch, pos, g.ints(nHeads + 2 * nKvHeads, dHead));
  const headsFirst = shapeOf(batch, g.ints(nHeads, -1, dHead));
  const grouped = shapeOf(batch, g.ints(nKvHeads, -1, dHead));
  const ungrouped = shapeOf(batch, g.ints(nHeads), pos, g.ints(-1));

  let rows = g.reshape(x, g.ints(-1, dModel));
  const keyValues = Array.from({ length: blocks }, (_, i) => {
    const qkv = plus(g.matMul(norm(rows, `ln1${i}`), g.input(`qkv${i}`)), `qkvBias${i}`);
    const heads = swapHeads(g.reshape(qkv, byHead));
    const [qk, vNow] = g.split(heads, [nHeads + nKvHeads, nKvHeads], 1);
    const [first, second] = g.split(qk, [dHead / 2, dHead / 2], 3);
    const turned = add(mul(qk, cos), mul(g.concat([second, first], 3), sin));
    const [q, kNow] = g.split(turned, [nHeads, nKvHeads], 1);
    const [pastK, pastV] = [input(`pastK${i}`), input(`pastV${i}`)];
    const k = pastK ? g.concat([pastK, kNow], 2) : kNow;
    const v = pastV ? g.concat([pastV, vNow], 2) : vNow;

    // [batch, kv_head, group · pos, key]
    let scores = g.batchMatMul(g.reshape(mul(q, g.scalar(dHead ** -0.5)), grouped), k, true);
    if (mask) scores = g.reshape(add(g.reshape(scores, ungrouped), mask), g.shape(scores));
    const mixed = g.batchMatMul(g.op("Softmax", [scores]), v);
    const z = g.reshape(swapHeads(g.reshape(mixed, headsFirst)), g.ints(-1, nHeads * dHead));
    const mid = add(rows, plus(g.matMul(z, g.input(`out${i}`)), `outBias${i}`));

    const normMid = norm(mid, `ln2${i}`);
    const gate = g.matMul(normMid, g.input(`gate${i}`));
    const up = g.matMul(normMid, g.input(`up${i}`));
    const hidden = mul(mul(gate, g.op("Sigmoid", [gate])), up);
    rows = add(mid, g.matMul(hidden, g.input(`down${i}`)));
    return { k, v };
  });
  const post = g.reshape(rows, shape);
  return { graph: g.compile(), post, keyValues };
}
