/**
 * Metadata of a GGUF file, read as {@link ModelConfig}.
 *
 * @module
 */
import { basename } from "node:path";
import type { GgufFile } from "../weights/mod.ts";
import { checkConfig, type ModelConfig, type RopeScaling } from "./config.ts";

/** Architectures with this forward pass, by llama.cpp's names. */
const ARCHITECTURES = ["llama", "qwen2"];

/** Metadata that changes the forward pass, with the values at which it does not. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  "expert_count": [0],
  "expert_used_count": [0],
  "attn_logit_softcapping": [0],
  "final_logit_softcapping": [0],
  "logit_scale": [0, 1],
  "embedding_scale": [0, 1],
  "residual_scale": [0, 1],
  "attention.scale": [0],
  "attention.causal": [true],
  "use_parallel_residual": [false],
  "rope.scaling.attn_factor": [1],
};

/** A configuration, and what else loading needs to know. */
export interface GgufModelConfig {
  readonly cfg: ModelConfig;
  /** llama.cpp's name of the family. */
  readonly architecture: string;
  /** True if queries, keys and values have a bias. */
  readonly qkvBias: boolean;
  /** True if the attention output has one. */
  readonly outBias: boolean;
}

/**
 * Reads the metadata of a model.
 *
 * @param hash Names the weights.
 * @throws {Error} If a value is missing, or asks for something that is not supported, by its key.
 * @throws {RangeError} If no model can have these sizes.
 */
export async function readGgufConfig(file: GgufFile, hash: string): Promise<GgufModelConfig> {
  const architecture = `${file.get("general.architecture")}`;
  if (!ARCHITECTURES.includes(architecture)) {
    throw new Error(
      `Cannot use "${file.path}": its architecture is "${architecture}"; expected ${
        ARCHITECTURES.map((name) => `"${name}"`).join(" or ")
      }`,
    );
  }
  const key = (name: string) => `${architecture}.${name}`;
  const refuse = (name: string, value: unknown): never => {
    throw new Error(`Cannot use "${file.path}": "${key(name)}" = ${value} is not supported`);
  };
  for (const [name, values] of Object.entries(NEUTRAL)) {
    const value = file.get(key(name));
    if (value !== undefined && !values.includes(value)) refuse(name, value);
  }
  const dModel = file.number(key("embedding_length"));
  const nHeads = file.number(key("attention.head_count"));
  const dHead = file.number(key("attention.key_length"), dModel / nHeads);
  const valueLength = file.number(key("attention.value_length"), dHead);
  if (valueLength !== dHead) refuse("attention.value_length", valueLength);
  const rotated = file.number(key("rope.dimension_count"), dHead);
  if (rotated !== dHead) {
    throw new Error(
      `Cannot use "${file.path}": it rotates ${rotated} of the ${dHead} coordinates of a head; ` +
        `expected all of them`,
    );
  }
  const window = file.get(key("attention.sliding_window"));
  const cfg: ModelConfig = {
    name: basename(file.path, ".gguf"),
    hash,
    dModel,
    nLayers: file.number(key("block_count")),
    nHeads,
    nKvHeads: file.number(key("attention.head_count_kv"), nHeads),
    dHead,
    dMlp: file.number(key("feed_forward_length")),
    vocabSize: file.shape("token_embd.weight")[0],
    contextLength: file.number(key("context_length")),
    ropeTheta: file.number(key("rope.freq_base"), 10_000),
    ropeScaling: await readScaling(file, architecture, dHead),
    slidingWindow: typeof window === "number" && window > 0 ? window : undefined,
    rmsEps: file.number(key("attention.layer_norm_rms_epsilon")),
    tied: !file.has("output.weight"),
    bosId: file.number("tokenizer.ggml.bos_token_id", 1),
    eosId: file.number("tokenizer.ggml.eos_token_id"),
  };
  checkConfig(cfg);
  return {
    cfg,
    architecture,
    qkvBias: architecture === "qwen2" || file.has("blk.0.attn_q.bias"),
    outBias: file.has("blk.0.attn_output.bias"),
  };
}

async function readScaling(
  file: GgufFile,
  architecture: string,
  dHead: number,
): Promise<RopeScaling | undefined> {
  const type = file.get(`${architecture}.rope.scaling.type`) ?? "none";
  // Llama 3.1's scaling is stored as a divisor for every pair.
  if (file.has("rope_freqs.weight")) {
    const factors = await file.read("rope_freqs.weight", [dHead / 2]);
    return { type: "factors", factors: [...factors] };
  }
  if (type === "none") return undefined;
  if (type === "linear") {
    return { type, factor: file.number(`${architecture}.rope.scaling.factor`) };
  }
  throw new Error(
    `Cannot use "${file.path}": "${architecture}.rope.scaling.type" = ${type} is not supported`,
  );
}
