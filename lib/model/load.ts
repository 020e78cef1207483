/**
 * Models from files.
 *
 * @module
 */
import { basename } from "node:path";
import { cacheDir, sha256File } from "../files/mod.ts";
import { tf } from "../tensor/mod.ts";
import { checkConfig, type ModelConfig } from "./config.ts";
import { GgufFile } from "../weights/mod.ts";
import { checkFits, requireDevice } from "./limits.ts";
import type { BlockWeights, LlamaWeights } from "./llama.ts";
import { Model } from "./model.ts";
import { Scope } from "./scope.ts";
import { ggufTokenizer } from "../tokenizer/mod.ts";

/** Options of {@link loadModel}. */
export interface LoadModelOptions {
  /**
   * Loads the blocks before this one and no unembedding, which saves memory and time where only
   * activations are wanted. Default: the whole model.
   */
  stopAtLayer?: number;
}

/**
 * Loads a LLaMA-family model from a GGUF file.
 *
 * Its quantised weights are read as float32; the rows of query and key weights, which llama.cpp
 * reorders, are put back in their original order, so every activation is what Hugging Face's
 * implementation computes from the same numbers.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadModel, openDevice } from "interlens";
 *
 * await openDevice();
 * const model = await loadModel(undefined, { stopAtLayer: 1 }); // SmolLM2-135M-Instruct
 * assertEquals(model.tokenizer.encode("The capital of France is"), [504, 3575, 282, 4649, 314]);
 * assertEquals(model.hookNames().at(-1), "blocks.0.hook_resid_post");
 * model.dispose();
 * ```
 *
 * @param source Path of a GGUF file, as it is or as `{ gguf: path }`. Default: the environment
 * variable `INTERLENS_MODEL`, else the embedded SmolLM2-135M-Instruct.
 * @throws {Error} If no device is open, or if the file is missing, truncated, of an unknown number format or of another
 * architecture, naming the file and the tensor.
 * @throws {RangeError} If `stopAtLayer` is out of range, or a tensor too large for the device.
 */
export async function loadModel(
  source?: string | { readonly gguf: string },
  { stopAtLayer }: LoadModelOptions = {},
): Promise<Model> {
  requireDevice();
  const embedded = cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf");
  const path = typeof source === "object"
    ? source.gguf
    : source ?? (Deno.env.get("INTERLENS_MODEL") || embedded);
  const stat = await Deno.stat(path).catch(() => undefined);
  if (!stat?.isFile) {
    throw new Error(
      path === embedded
        ? `The embedded model "${path}" is missing: run \`deno task setup\``
        : `There is no model file "${path}": check the path, or leave it out to use the ` +
          `embedded model`,
    );
  }
  using file = await GgufFile.open(path);
  const cfg = await readConfig(file);
  if (
    stopAtLayer !== undefined &&
    !(Number.isInteger(stopAtLayer) && stopAtLayer >= 0 && stopAtLayer <= cfg.nLayers)
  ) {
    throw new RangeError(
      `Cannot stop at layer ${stopAtLayer}: expected an integer in 0…${cfg.nLayers}`,
    );
  }
  const tokenizer = ggufTokenizer(file);
  return new Model(cfg, tokenizer, await readWeights(file, cfg, stopAtLayer));
}

async function readConfig(file: GgufFile): Promise<ModelConfig> {
  const architecture = file.get("general.architecture");
  if (architecture !== "llama") {
    throw new Error(
      `Cannot use "${file.path}": its architecture is "${architecture}"; expected "llama"`,
    );
  }
  // Each of these changes the forward pass: reading past them would give wrong activations.
  for (const key of ["llama.rope.scaling.type", "llama.expert_count"]) {
    const value = file.get(key);
    if (value !== undefined && value !== "none" && value !== 0) {
      throw new Error(`Cannot use "${file.path}": "${key}" = ${value} is not supported`);
    }
  }
  const dModel = file.number("llama.embedding_length");
  const nHeads = file.number("llama.attention.head_count");
  const dHead = file.number("llama.attention.key_length", dModel / nHeads);
  const rotated = file.number("llama.rope.dimension_count", dHead);
  if (rotated !== dHead) {
    throw new Error(
      `Cannot use "${file.path}": it rotates ${rotated} of the ${dHead} coordinates of a head; ` +
        `expected all of them`,
    );
  }
  const cfg: ModelConfig = {
    name: basename(file.path, ".gguf"),
    hash: await sha256File(file.path),
    dModel,
    nLayers: file.number("llama.block_count"),
    nHeads,
    nKvHeads: file.number("llama.attention.head_count_kv", nHeads),
    dHead,
    dMlp: file.number("llama.feed_forward_length"),
    vocabSize: file.shape("token_embd.weight")[0],
    contextLength: file.number("llama.context_length"),
    ropeTheta: file.number("llama.rope.freq_base", 10_000),
    rmsEps: file.number("llama.attention.layer_norm_rms_epsilon"),
    tied: !file.has("output.weight"),
    bosId: file.number("tokenizer.ggml.bos_token_id"),
    eosId: file.number("tokenizer.ggml.eos_token_id"),
  };
  checkConfig(cfg);
  return cfg;
}

async function readWeights(
  file: GgufFile,
  cfg: ModelConfig,
  stopAtLayer: number | undefined,
): Promise<LlamaWeights> {
  const { dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize } = cfg;
  checkNames(file, cfg);
  const advice = "use another device, or a model with a smaller vocabulary";
  checkFits("the embedding", [vocabSize, dModel], advice);
  using scope = new Scope();

  const vector = async (name: string) => scope.own(tf.tensor1d(await file.read(name, [dModel])));
  const table = async (name: string) =>
    scope.own(tf.tensor2d(await file.read(name, [vocabSize, dModel]), [vocabSize, dModel]));
  /** `[inputs, outputs]`, from the file's `[outputs, inputs]`. */
  const matrix = (rows: Float32Array, outputs: number, inputs: number) =>
    scope.run(() => tf.transpose(tf.tensor2d(rows, [outputs, inputs])));
  const projection = async (name: string, outputs: number, inputs: number) =>
    matrix(await file.read(name, [outputs, inputs]), outputs, inputs);

  const block = async (l: number): Promise<BlockWeights> => {
    const of = (name: string) => `blk.${l}.${name}.weight`;
    const q = await file.read(of("attn_q"), [nHeads * dHead, dModel]);
    const k = await file.read(of("attn_k"), [nKvHeads * dHead, dModel]);
    const v = await file.read(of("attn_v"), [nKvHeads * dHead, dModel]);
    const qkv = new Float32Array(q.length + k.length + v.length);
    copyHalves(q, qkv.subarray(0), dHead, dModel);
    copyHalves(k, qkv.subarray(q.length), dHead, dModel);
    qkv.set(v, q.length + k.length);
    return {
      ln1: await vector(of("attn_norm")),
      attn: {
        qkv: matrix(qkv, (nHeads + 2 * nKvHeads) * dHead, dModel),
        out: await projection(of("attn_output"), dModel, nHeads * dHead),
      },
      ln2: await vector(of("ffn_norm")),
      mlp: {
        gate: await projection(of("ffn_gate"), dMlp, dModel),
        up: await projection(of("ffn_up"), dMlp, dModel),
        down: await projection(of("ffn_down"), dModel, dMlp),
      },
    };
  };

  const embed = await table("token_embd.weight");
  const blocks: BlockWeights[] = [];
  for (let l = 0; l < (stopAtLayer ?? cfg.nLayers); l++) blocks.push(await block(l));
  const head = stopAtLayer !== undefined ? undefined : {
    lnFinal: await vector("output_norm.weight"),
    unembed: cfg.tied ? embed : await table("output.weight"),
  };
  scope.releaseAll();
  return { embed, blocks, head };
}

/**
 * Copies the rows of query or key weights from the order of llama.cpp, where the two coordinates of
 * a rotated pair are neighbours, to that of Hugging Face, where they are half a head apart.
 */
export function copyHalves(
  from: Float32Array,
  to: Float32Array,
  dHead: number,
  rowLength: number,
): void {
  const half = dHead / 2;
  for (let row = 0; row < from.length / rowLength; row++) {
    const within = row % dHead;
    const source = row - within + 2 * (within % half) + (within < half ? 0 : 1);
    to.set(from.subarray(source * rowLength, (source + 1) * rowLength), row * rowLength);
  }
}

/** Refuses a file with a tensor that this forward pass would not use, such as a bias. */
function checkNames(file: GgufFile, cfg: ModelConfig): void {
  const used = new Set(["token_embd.weight", "output_norm.weight", "output.weight"]);
  const inBlock = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"];
  for (let l = 0; l < cfg.nLayers; l++) {
    for (const name of [...inBlock, "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]) {
      used.add(`blk.${l}.${name}.weight`);
    }
  }
  for (const name of file.names()) {
    if (!used.has(name)) {
      throw new Error(
        `Cannot use "${file.path}": its tensor "${name}" has no place in a plain LLaMA model`,
      );
    }
  }
}
