/**
 * What the tensors of a model are called in a file, and how the rows of queries and keys are
 * ordered there.
 *
 * @module
 */
import type { WeightFile } from "../weights/mod.ts";
import type { ModelConfig } from "./config.ts";

/** Parts of a block, by the names that this library gives them. */
export const BLOCK_WEIGHTS = ["ln1", "q", "k", "v", "o", "ln2", "gate", "up", "down"] as const;

/** Biases that a block may have. */
export const BLOCK_BIASES = ["qBias", "kBias", "vBias", "oBias"] as const;

/** A part of a block. */
export type BlockPart = typeof BLOCK_WEIGHTS[number] | typeof BLOCK_BIASES[number];

/** Names of tensors in a file. */
export interface Layout {
  readonly embed: string;
  readonly lnFinal: string;
  readonly unembed: string;
  /** Name of a part of block `l`. */
  block(l: number, part: BlockPart): string;
  /**
   * True if the rows of query and key weights are in llama.cpp's order, where the two coordinates
   * of a rotated pair are neighbours.
   */
  readonly interleaved: boolean;
  /** True for a tensor that is stored but not needed, because it follows from the configuration. */
  spare(name: string): boolean;
}

const HF_BLOCK: Record<BlockPart, string> = {
  ln1: "input_layernorm.weight",
  q: "self_attn.q_proj.weight",
  k: "self_attn.k_proj.weight",
  v: "self_attn.v_proj.weight",
  o: "self_attn.o_proj.weight",
  ln2: "post_attention_layernorm.weight",
  gate: "mlp.gate_proj.weight",
  up: "mlp.up_proj.weight",
  down: "mlp.down_proj.weight",
  qBias: "self_attn.q_proj.bias",
  kBias: "self_attn.k_proj.bias",
  vBias: "self_attn.v_proj.bias",
  oBias: "self_attn.o_proj.bias",
};

const GGUF_BLOCK: Record<BlockPart, string> = {
  ln1: "attn_norm.weight",
  q: "attn_q.weight",
  k: "attn_k.weight",
  v: "attn_v.weight",
  o: "attn_output.weight",
  ln2: "ffn_norm.weight",
  gate: "ffn_gate.weight",
  up: "ffn_up.weight",
  down: "ffn_down.weight",
  qBias: "attn_q.bias",
  kBias: "attn_k.bias",
  vBias: "attn_v.bias",
  oBias: "attn_output.bias",
};

/** Names as transformers writes them; a file of the bare model lacks the prefix `model.`. */
export function hfLayout(file: WeightFile): Layout {
  const prefix = file.has("embed_tokens.weight") ? "" : "model.";
  return {
    embed: `${prefix}embed_tokens.weight`,
    lnFinal: `${prefix}norm.weight`,
    unembed: "lm_head.weight",
    block: (l, part) => `${prefix}layers.${l}.${HF_BLOCK[part]}`,
    interleaved: false,
    // Rotary frequencies, which older versions stored with every block.
    spare: (name) => name.endsWith(".rotary_emb.inv_freq"),
  };
}

/** Names as llama.cpp writes them; only its conversion of `llama` reorders rows. */
export function ggufLayout(architecture: string): Layout {
  return {
    embed: "token_embd.weight",
    lnFinal: "output_norm.weight",
    unembed: "output.weight",
    block: (l, part) => `blk.${l}.${GGUF_BLOCK[part]}`,
    interleaved: architecture === "llama",
    spare: (name) => name === "rope_freqs.weight",
  };
}

/**
 * Refuses a file with a tensor that the forward pass would not use, and one that lacks a tensor, by
 * name, before anything is read.
 *
 * @param stopAtLayer Only what comes before it has to be there.
 * @throws {Error} Naming the tensor.
 */
export function checkTensors(
  file: WeightFile,
  layout: Layout,
  cfg: ModelConfig,
  { qkvBias, outBias, stopAtLayer }: { qkvBias: boolean; outBias: boolean; stopAtLayer?: number },
): void {
  const parts: BlockPart[] = [...BLOCK_WEIGHTS];
  if (qkvBias) parts.push("qBias", "kBias", "vBias");
  if (outBias) parts.push("oBias");
  const ofBlock = (l: number) => parts.map((part) => layout.block(l, part));
  const needed = [layout.embed];
  for (let l = 0; l < (stopAtLayer ?? cfg.nLayers); l++) needed.push(...ofBlock(l));
  if (stopAtLayer === undefined) needed.push(layout.lnFinal, ...cfg.tied ? [] : [layout.unembed]);
  const missing = needed.find((name) => !file.has(name));
  if (missing) {
    throw new Error(
      `Cannot use "${file.path}": the tensor "${missing}" is missing` +
        (missing === layout.unembed
          ? "; load it with stopAtLayer if activations are all you need"
          : ""),
    );
  }
  const used = new Set([...needed, layout.lnFinal, layout.unembed]);
  for (let l = stopAtLayer ?? cfg.nLayers; l < cfg.nLayers; l++) {
    for (const name of ofBlock(l)) used.add(name);
  }
  const strange = file.names().find((name) => !used.has(name) && !layout.spare(name));
  if (strange) {
    throw new Error(
      `Cannot use "${file.path}": its tensor "${strange}" has no place in a model of ` +
        `${cfg.nLayers} blocks with this configuration`,
    );
  }
}

/**
 * True for a tensor that a model of the blocks before `stopAtLayer` may need, by its name in either
 * layout: the embedding and those blocks, or everything.
 */
export function beforeLayer(name: string, stopAtLayer: number | undefined): boolean {
  if (stopAtLayer === undefined) return true;
  const block = /(?:^|\.)(?:layers|blk)\.(\d+)\./.exec(name);
  return block ? Number(block[1]) < stopAtLayer : /embed_tokens|token_embd/.test(name);
}
