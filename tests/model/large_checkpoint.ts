/** Generated checkpoints of real size: random float16 weights as `torch.save` writes them. */
import { join } from "node:path";
import { Rng } from "../../lib/tensor/mod.ts";
import { type TorchTensor, writeTorch } from "../weights/torch_writer.ts";
import { tokenizerFiles } from "./checkpoint.ts";

/** Sizes of a checkpoint. */
export interface Sizes {
  dModel: number;
  nHeads: number;
  dMlp: number;
  vocabSize: number;
  /** Blocks that the configuration names. */
  nLayers: number;
  /** Blocks that are in the file. */
  storedLayers: number;
}

/** OpenLLaMA 3B with its first 16 blocks. */
export const OPEN_LLAMA_3B: Sizes = {
  dModel: 3200,
  nHeads: 32,
  dMlp: 8640,
  vocabSize: 32_000,
  nLayers: 26,
  storedLayers: 16,
};

/** Writes config.json, a small tokenizer and pytorch_model.bin. */
export async function writeCheckpoint(folder: string, sizes: Sizes): Promise<void> {
  const { dModel, nHeads, dMlp, vocabSize, nLayers, storedLayers } = sizes;
  await Deno.writeTextFile(
    join(folder, "config.json"),
    JSON.stringify({
      model_type: "llama",
      hidden_size: dModel,
      num_hidden_layers: nLayers,
      num_attention_heads: nHeads,
      intermediate_size: dMlp,
      vocab_size: vocabSize,
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-6,
      hidden_act: "silu",
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: 2,
    }),
  );
  await tokenizerFiles(folder);
  const tensors: Record<string, TorchTensor> = {};
  const add = (name: string, ...shape: number[]) => tensors[name] = halves(shape, name.length);
  add("model.embed_tokens.weight", vocabSize, dModel);
  for (let l = 0; l < storedLayers; l++) {
    const block = `model.layers.${l}.`;
    for (const part of "qkvo") add(`${block}self_attn.${part}_proj.weight`, dModel, dModel);
    add(`${block}mlp.gate_proj.weight`, dMlp, dModel);
    add(`${block}mlp.up_proj.weight`, dMlp, dModel);
    add(`${block}mlp.down_proj.weight`, dModel, dMlp);
    add(`${block}input_layernorm.weight`, dModel);
    add(`${block}post_attention_layernorm.weight`, dModel);
  }
  add("model.norm.weight", dModel);
  add("lm_head.weight", vocabSize, dModel);
  await writeTorch(join(folder, "pytorch_model.bin"), tensors);
}

/** A million random numbers, used over and over: a checkpoint has thousands of times as many. */
const pool = new Uint8Array(new Float16Array(new Rng(0, "pool").normals(1 << 20, 0.02)).buffer);

function halves(shape: number[], seed: number): TorchTensor {
  const bytes = 2 * shape.reduce((a, b) => a * b, 1);
  return {
    shape,
    storage: "HalfStorage",
    *chunks() {
      let from = (seed * 7919 * 2) % pool.length;
      for (let left = bytes; left > 0;) {
        const chunk = pool.subarray(from, Math.min(pool.length, from + left));
        yield chunk;
        left -= chunk.length;
        from = 0;
      }
    },
  };
}

/** Bytes that the weights of these blocks and the embedding take as float32. */
export function keptBytes({ dModel, dMlp, vocabSize }: Sizes, layers: number): number {
  return 4 * (vocabSize * dModel + layers * (4 * dModel ** 2 + 3 * dModel * dMlp + 2 * dModel));
}
