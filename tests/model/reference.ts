/**
 * A LLaMA-family forward pass in plain float64, written for the tests alone: loops over numbers,
 * one sequence, separate projections, no fused weight, every head with its own copy of keys.
 */
import { Rng, tf } from "../../lib/tensor/mod.ts";
import type { ModelConfig } from "../../lib/model/mod.ts";
import type { LlamaWeights } from "../../lib/model/llama.ts";

export type Vector = number[];
/** Rows of numbers; weights are `[inputs][outputs]`. */
export type Matrix = number[][];

export interface PlainBlock {
  ln1: Vector;
  q: Matrix;
  k: Matrix;
  v: Matrix;
  o: Matrix;
  /** Added to queries, keys, values and to what attention returns. */
  biases?: { q: Vector; k: Vector; v: Vector; o: Vector };
  ln2: Vector;
  gate: Matrix;
  up: Matrix;
  down: Matrix;
}

export interface PlainWeights {
  /** `[vocab][d_model]` */
  embed: Matrix;
  blocks: PlainBlock[];
  lnFinal: Vector;
  /** `[vocab][d_model]` */
  unembed: Matrix;
}

/** Grouped queries, two groups of two heads; sizes that differ, so that no axis is mistaken. */
export function tinyConfig(overrides: Partial<ModelConfig> = {}): ModelConfig {
  return {
    name: "tiny",
    hash: "0",
    dModel: 12,
    nLayers: 3,
    nHeads: 4,
    nKvHeads: 2,
    dHead: 6,
    dMlp: 20,
    vocabSize: 23,
    contextLength: 16,
    ropeTheta: 100,
    rmsEps: 1e-5,
    tied: true,
    bosId: 1,
    eosId: 2,
    ...overrides,
  };
}

/** Random weights, exactly representable in float32 so that both sides start alike. */
export function plainWeights(
  cfg: ModelConfig,
  seed: number,
  { biases = false }: { biases?: boolean } = {},
): PlainWeights {
  const rng = new Rng(seed, "reference");
  const normals = (rows: number, columns: number, std: number): Matrix =>
    Array.from({ length: rows }, () => [...rng.normals(columns, std)]);
  const projection = (inputs: number, outputs: number) =>
    normals(inputs, outputs, 1 / Math.sqrt(inputs));
  const norm = () => normals(1, cfg.dModel, 0.3)[0].map((w) => Math.fround(1 + w));
  const embed = normals(cfg.vocabSize, cfg.dModel, 1);
  const vector = (length: number) => normals(1, length, 0.5)[0];
  const attentionBiases = () => ({
    q: vector(cfg.nHeads * cfg.dHead),
    k: vector(cfg.nKvHeads * cfg.dHead),
    v: vector(cfg.nKvHeads * cfg.dHead),
    o: vector(cfg.dModel),
  });
  return {
    embed,
    blocks: Array.from({ length: cfg.nLayers }, () => ({
      ln1: norm(),
      q: projection(cfg.dModel, cfg.nHeads * cfg.dHead),
      k: projection(cfg.dModel, cfg.nKvHeads * cfg.dHead),
      v: projection(cfg.dModel, cfg.nKvHeads * cfg.dHead),
      o: projection(cfg.nHeads * cfg.dHead, cfg.dModel),
      ...biases && { biases: attentionBiases() },
      ln2: norm(),
      gate: projection(cfg.dModel, cfg.dMlp),
      up: projection(cfg.dModel, cfg.dMlp),
      down: projection(cfg.dMlp, cfg.dModel),
    })),
    lnFinal: norm(),
    unembed: cfg.tied ? embed : normals(cfg.vocabSize, cfg.dModel, 0.3),
  };
}

/** The same weights as the library holds them. */
export function toLlamaWeights(plain: PlainWeights, tied: boolean): LlamaWeights {
  const embed = tf.tensor2d(plain.embed);
  return {
    embed,
    blocks: plain.blocks.map(({ ln1, q, k, v, o, biases, ln2, gate, up, down }) => ({
      ln1: tf.tensor1d(ln1),
      attn: {
        qkv: tf.tensor2d(q.map((row, i) => [...row, ...k[i], ...v[i]])),
        out: tf.tensor2d(o),
        ...biases && {
          qkvBias: tf.tensor1d([...biases.q, ...biases.k, ...biases.v]),
          outBias: tf.tensor1d(biases.o),
        },
      },
      ln2: tf.tensor1d(ln2),
      mlp: { gate: tf.tensor2d(gate), up: tf.tensor2d(up), down: tf.tensor2d(down) },
    })),
    head: {
      lnFinal: tf.tensor1d(plain.lnFinal),
      unembed: tied ? embed : tf.tensor2d(plain.unembed),
    },
  };
}

/** Every activation of one sequence by the name of its hook point, flat; and `logits`. */
export function reference(
  tokens: number[],
  weights: PlainWeights,
  cfg: ModelConfig,
): Map<string, number[]> {
  const seen = new Map<string, number[]>();
  // deno-lint-ignore no-explicit-any
  const see = <T extends any[]>(name: string, value: T): T => {
    seen.set(name, value.flat(3));
    return value;
  };
  const norm = (name: string, x: Matrix, w: Vector): Matrix => {
    const scale = see(`${name}.hook_scale`, x.map((row) => rootMeanSquare(row, cfg.rmsEps)));
    const normalized = x.map((row, p) => row.map((value) => value / scale[p]));
    return see(`${name}.hook_normalized`, normalized).map((row) => row.map((y, i) => y * w[i]));
  };
  let x = see("hook_embed", tokens.map((id) => weights.embed[id]));
  weights.blocks.forEach((block, l) => {
    const at = `blocks.${l}`;
    see(`${at}.hook_resid_pre`, x);
    const attended = attend(
      norm(`${at}.ln1`, x, block.ln1),
      block,
      cfg,
      (name, value) => see(`${at}.attn.${name}`, value),
    );
    see(`${at}.hook_attn_out`, attended);
    x = see(`${at}.hook_resid_mid`, add(x, attended));
    const input = norm(`${at}.ln2`, x, block.ln2);
    const gate = see(`${at}.mlp.hook_pre`, times(input, block.gate));
    const up = see(`${at}.mlp.hook_pre_linear`, times(input, block.up));
    const hidden = gate.map((row, p) => row.map((g, i) => g / (1 + Math.exp(-g)) * up[p][i]));
    const out = see(`${at}.hook_mlp_out`, times(see(`${at}.mlp.hook_post`, hidden), block.down));
    x = see(`${at}.hook_resid_post`, add(x, out));
  });
  const last = norm("ln_final", x, weights.lnFinal);
  see("logits", last.map((row) => weights.unembed.map((to) => dot(row, to))));
  return seen;
}

function attend(
  x: Matrix,
  { q, k, v, o, biases }: PlainBlock,
  { nHeads, nKvHeads, dHead, ropeTheta, slidingWindow = Infinity }: ModelConfig,
  // deno-lint-ignore no-explicit-any
  see: <T extends any[]>(name: string, value: T) => T,
): Matrix {
  // [position][head][coordinate]
  const heads = (w: Matrix, count: number, bias: Vector | undefined) =>
    times(x, w).map((row) => {
      const sum = row.map((value, i) => value + (bias?.[i] ?? 0));
      return Array.from({ length: count }, (_, h) => sum.slice(h * dHead, (h + 1) * dHead));
    });
  const queries = see("hook_q", heads(q, nHeads, biases?.q));
  const keys = see("hook_k", heads(k, nKvHeads, biases?.k));
  const values = see("hook_v", heads(v, nKvHeads, biases?.v));
  const turn = (all: number[][][]) =>
    all.map((ofHead, p) => ofHead.map((vector) => rope(vector, p, ropeTheta)));
  const rotQ = see("hook_rot_q", turn(queries));
  const rotK = see("hook_rot_k", turn(keys));
  const scores = Array.from({ length: nHeads }, (_, h) => {
    const source = Math.floor(h / (nHeads / nKvHeads));
    return rotQ.map((query, i) =>
      rotK.map((key, j) =>
        j > i || j <= i - slidingWindow ? -1e9 : dot(query[h], key[source]) / Math.sqrt(dHead)
      )
    );
  });
  const pattern = see("hook_pattern", see("hook_attn_scores", scores).map((m) => m.map(softmax)));
  const z = x.map((_, p) =>
    pattern.map((ofHead, h) => {
      const source = Math.floor(h / (nHeads / nKvHeads));
      return values[0][source].map((_, c) =>
        ofHead[p].reduce((sum, weight, j) => sum + weight * values[j][source][c], 0)
      );
    })
  );
  const result = see("hook_z", z).map((ofPosition) =>
    ofPosition.map((ofHead, h) => times([ofHead], o.slice(h * dHead, (h + 1) * dHead))[0])
  );
  return see("hook_result", result).map((ofPosition) =>
    ofPosition[0].map((_, i) =>
      ofPosition.reduce((sum, ofHead) => sum + ofHead[i], biases?.o[i] ?? 0)
    )
  );
}

/** The rotation of coordinates (i, i + d/2) by p · θ^(-2i/d), pair by pair. */
export function rope(vector: Vector, p: number, theta: number): Vector {
  const half = vector.length / 2;
  const out = [...vector];
  for (let i = 0; i < half; i++) {
    const angle = p * Math.pow(theta, -2 * i / vector.length);
    const [a, b] = [vector[i], vector[i + half]];
    out[i] = a * Math.cos(angle) - b * Math.sin(angle);
    out[i + half] = a * Math.sin(angle) + b * Math.cos(angle);
  }
  return out;
}

export function rootMeanSquare(row: Vector, eps: number): number {
  return Math.sqrt(dot(row, row) / row.length + eps);
}

export function softmax(row: Vector): Vector {
  const exponentials = row.map((value) => Math.exp(value - Math.max(...row)));
  const total = exponentials.reduce((sum, e) => sum + e, 0);
  return exponentials.map((e) => e / total);
}

export function dot(a: Vector, b: Vector): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function times(x: Matrix, w: Matrix): Matrix {
  return x.map((row) => w[0].map((_, j) => row.reduce((sum, v, i) => sum + v * w[i][j], 0)));
}

function add(a: Matrix, b: Matrix): Matrix {
  return a.map((row, p) => row.map((value, i) => value + b[p][i]));
}
