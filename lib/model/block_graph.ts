/**
 * A block as one TensorFlow graph, for runs in which nothing waits inside the block and no gradient
 * is recorded. The portable twin, which says what is computed, is in `llama.ts`, `attention.ts`,
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

/** What a block needs beside its weights. */
export interface BlockInputs {
  readonly cfg: ModelConfig;
  /** Tables of the positions of this run. */
  readonly rope: RopeTables;
  /** `[pos, past + pos]`, absent where a single query sees all keys. */
  readonly mask: tf.Tensor2D | undefined;
  /** Keys and values of earlier positions. */
  readonly past?: KeyValues;
}

/**
 * The residual stream after a block, and all keys and values if they are wanted.
 *
 * @param x Residual stream before it, `[batch, pos, d_model]`.
 * @returns All of it is owned by the caller.
 */
export function runBlockGraph(
  x: tf.Tensor3D,
  { ln1, ln2, attn, mlp }: BlockWeights,
  { cfg, rope, mask, past }: BlockInputs,
  wantsKeys: boolean,
): { post: tf.Tensor3D; keyValues?: KeyValues } {
  const inputs = { x, ln1, ln2, ...attn, ...mlp, ...rope, mask, pastK: past?.k, pastV: past?.v };
  const { graph, post, k, v } = compiled(cfg, inputs);
  const found = graph.run(inputs, wantsKeys ? [post, k, v] : [post]);
  return {
    post: found[0] as tf.Tensor3D,
    ...wantsKeys && { keyValues: { k: found[1] as tf.Tensor4D, v: found[2] as tf.Tensor4D } },
  };
}

interface BlockGraph {
  readonly graph: CompiledGraph;
  readonly post: GraphTensor;
  readonly k: GraphTensor;
  readonly v: GraphTensor;
}

type Inputs = Partial<Record<string, tf.Tensor>>;

/** Graphs by what they were built for: they hold no weights, so all models of a shape share them. */
const graphs = new Map<string, BlockGraph>();

function compiled(cfg: ModelConfig, inputs: Inputs): BlockGraph {
  const { nHeads, nKvHeads, dHead, dModel, rmsEps } = cfg;
  const optional = ["mask", "pastK", "qkvBias", "outBias"].filter((name) => inputs[name]);
  const key = [nHeads, nKvHeads, dHead, dModel, rmsEps, ...optional].join();
  let graph = graphs.get(key);
  if (!graph) graphs.set(key, graph = build(cfg, inputs));
  return graph;
}

function build(cfg: ModelConfig, given: Inputs): BlockGraph {
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

  const x = g.input("x");
  const shape = g.shape(x);
  const batch = g.slice(shape, 0, 1);
  const pos = g.slice(shape, 1, 1);
  /** Reshapes to what some int32 vectors say, joined. */
  const reshape = (t: GraphTensor, ...parts: GraphTensor[]) =>
    g.reshape(t, g.concat(parts, 0, "int32"));
  const swapHeads = (t: GraphTensor) => g.transpose(t, [0, 2, 1, 3]);

  const rows = g.reshape(x, g.ints(-1, dModel));
  const qkv = plus(g.matMul(norm(rows, "ln1"), g.input("qkv")), "qkvBias");
  const heads = swapHeads(reshape(qkv, batch, pos, g.ints(nHeads + 2 * nKvHeads, dHead)));
  const [qk, vNow] = g.split(heads, [nHeads + nKvHeads, nKvHeads], 1);
  const [first, second] = g.split(qk, [dHead / 2, dHead / 2], 3);
  const turned = mul(g.concat([second, first], 3), g.input("sin"));
  const [q, kNow] = g.split(add(mul(qk, g.input("cos")), turned), [nHeads, nKvHeads], 1);
  const [pastK, pastV] = [input("pastK"), input("pastV")];
  const k = pastK ? g.concat([pastK, kNow], 2) : kNow;
  const v = pastV ? g.concat([pastV, vNow], 2) : vNow;

  const grouped = reshape(mul(q, g.scalar(dHead ** -0.5)), batch, g.ints(nKvHeads, -1, dHead));
  let scores = g.batchMatMul(grouped, k, true); // [batch, kv_head, group · pos, key]
  const mask = input("mask");
  if (mask) {
    const apart = reshape(scores, batch, g.ints(nHeads), pos, g.ints(-1));
    scores = g.reshape(add(apart, mask), g.shape(scores));
  }
  const mixed = g.batchMatMul(g.op("Softmax", [scores]), v);
  const z = swapHeads(reshape(mixed, batch, g.ints(nHeads, -1, dHead)));
  const attended = g.matMul(g.reshape(z, g.ints(-1, nHeads * dHead)), g.input("out"));

  const mid = add(rows, plus(attended, "outBias"));
  const normMid = norm(mid, "ln2");
  const gate = g.matMul(normMid, g.input("gate"));
  const up = g.matMul(normMid, g.input("up"));
  const hidden = mul(mul(gate, g.op("Sigmoid", [gate])), up);
  const after = add(mid, g.matMul(hidden, g.input("down")));
  const post = g.reshape(after, shape);
  return { graph: g.compile(), post, k, v };
}
