/** Writes small GGUF files, version 3, for the tests: what llama.cpp's converter would write. */
import type { ModelConfig } from "../../lib/model/mod.ts";
import type { Matrix, PlainWeights, Vector } from "../model/reference.ts";

/** A tensor as the file stores it. */
export interface GgufTensor {
  /** Rows first. */
  shape: number[];
  /** Number of the format: 0 is F32. */
  type: number;
  bytes: Uint8Array;
}

type Value = string | number | boolean | { float: number } | string[] | number[];

/** Bytes of a file. */
export function ggufBytes(
  metadata: Record<string, Value>,
  tensors: Record<string, GgufTensor>,
): Uint8Array {
  const parts: Uint8Array[] = [];
  const u32 = (n: number) => parts.push(new Uint8Array(Uint32Array.of(n).buffer));
  const u64 = (n: number) => parts.push(new Uint8Array(BigUint64Array.of(BigInt(n)).buffer));
  const text = (s: string) => {
    const bytes = new TextEncoder().encode(s);
    u64(bytes.length);
    parts.push(bytes);
  };
  const value = (v: Value) => {
    if (typeof v === "string") u32(8), text(v);
    else if (typeof v === "number") u32(4), u32(v);
    else if (typeof v === "boolean") u32(7), parts.push(Uint8Array.of(v ? 1 : 0));
    else if (!Array.isArray(v)) {
      u32(6), parts.push(new Uint8Array(Float32Array.of(v.float).buffer));
    } else {
      const strings = typeof v[0] === "string";
      u32(9), u32(strings ? 8 : 5), u64(v.length);
      for (const item of v) strings ? text(item as string) : u32(item as number);
    }
  };
  const padded = (n: number) => Math.ceil(n / 32) * 32;

  parts.push(new TextEncoder().encode("GGUF"));
  u32(3);
  u64(Object.keys(tensors).length);
  u64(Object.keys(metadata).length);
  for (const [key, v] of Object.entries(metadata)) text(key), value(v);
  let offset = 0;
  for (const [name, { shape, type, bytes }] of Object.entries(tensors)) {
    text(name);
    u32(shape.length);
    for (const length of shape.toReversed()) u64(length);
    u32(type);
    u64(offset);
    offset = padded(offset + bytes.length);
  }
  const pad = () => {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    parts.push(new Uint8Array(padded(length) - length));
  };
  pad();
  for (const { bytes } of Object.values(tensors)) parts.push(bytes), pad();
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) all.set(part, at), at += part.length;
  return all;
}

/** A float32 tensor. */
export function f32(shape: number[], values: number[]): GgufTensor {
  return { shape, type: 0, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

/** Metadata of a model. */
export function ggufMetadata(cfg: ModelConfig): Record<string, Value> {
  return {
    "general.architecture": "llama",
    "general.name": cfg.name,
    "llama.block_count": cfg.nLayers,
    "llama.context_length": cfg.contextLength,
    "llama.embedding_length": cfg.dModel,
    "llama.feed_forward_length": cfg.dMlp,
    "llama.attention.head_count": cfg.nHeads,
    "llama.attention.head_count_kv": cfg.nKvHeads,
    "llama.attention.key_length": cfg.dHead,
    "llama.rope.dimension_count": cfg.dHead,
    "llama.rope.freq_base": { float: cfg.ropeTheta },
    "llama.attention.layer_norm_rms_epsilon": { float: cfg.rmsEps },
    "tokenizer.ggml.bos_token_id": cfg.bosId,
    "tokenizer.ggml.eos_token_id": cfg.eosId,
    "tokenizer.ggml.add_bos_token": true,
    ...tokenizerMetadata(cfg.vocabSize),
  };
}

/** Unused, BOS, EOS, then single characters and one merge. */
function tokenizerMetadata(vocabSize: number): Record<string, Value> {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789Ġ".split("").slice(0, vocabSize - 4);
  const tokens = ["<unk>", "<s>", "</s>", "ab", ...letters];
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": tokens.map((_, id) => id < 3 ? 3 : 1),
    "tokenizer.ggml.merges": ["a b"],
  };
}

/** Tensors of a model, query and key rows in llama.cpp's order. */
export function ggufTensors(plain: PlainWeights, cfg: ModelConfig): Record<string, GgufTensor> {
  const vector = (v: Vector) => f32([v.length], v);
  const table = (m: Matrix) => f32([m.length, m[0].length], m.flat());
  // Files hold [outputs][inputs].
  const transposed = (m: Matrix) => table(m[0].map((_, j) => m.map((row) => row[j])));
  // Row 2i + a of a head is row a · d/2 + i of the original.
  const interleaved = (m: Matrix) =>
    transposed(m.map((row) =>
      row.map((_, j) => {
        const within = j % cfg.dHead;
        return row[j - within + (within % 2) * cfg.dHead / 2 + Math.floor(within / 2)];
      })
    ));
  const blocks = plain.blocks.flatMap((block, l) =>
    Object.entries({
      attn_norm: vector(block.ln1),
      attn_q: interleaved(block.q),
      attn_k: interleaved(block.k),
      attn_v: transposed(block.v),
      attn_output: transposed(block.o),
      ffn_norm: vector(block.ln2),
      ffn_gate: transposed(block.gate),
      ffn_up: transposed(block.up),
      ffn_down: transposed(block.down),
    }).map(([name, t]): [string, GgufTensor] => [`blk.${l}.${name}.weight`, t])
  );
  return {
    "token_embd.weight": table(plain.embed),
    ...Object.fromEntries(blocks),
    "output_norm.weight": vector(plain.lnFinal),
    ...cfg.tied ? {} : { "output.weight": table(plain.unembed) },
  };
}

/** Rows of query or key weights in llama.cpp's order: row 2i + a of a head is row a · d/2 + i. */
export function interleaveRows(
  rows: Float32Array<ArrayBuffer>,
  dHead: number,
  width: number,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(rows.length);
  for (let row = 0; row < rows.length / width; row++) {
    const within = row % dHead;
    const from = row - within + (within % 2) * dHead / 2 + Math.floor(within / 2);
    out.set(rows.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}
