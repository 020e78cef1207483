/**
 * Models from files.
 *
 * @module
 */
import { join } from "node:path";
import { progress } from "../display/mod.ts";
import { tf } from "../tensor/mod.ts";
import {
  checkVocabulary,
  folderTokenizer,
  ggufTokenizer,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import { whileRunning } from "../training/mod.ts";
import { GgufFile, openWeights, type WeightFile } from "../weights/mod.ts";
import type { ModelConfig } from "./config.ts";
import { readGgufConfig } from "./gguf_config.ts";
import { readHfConfig } from "./hf_config.ts";
import { beforeLayer, checkTensors, ggufLayout, hfLayout, type Layout } from "./layout.ts";
import { requireDevice } from "./limits.ts";
import { Model } from "./model.ts";
import { readWeights } from "./read_weights.ts";
import { findModel, type ModelFiles } from "./source.ts";

/** Options of {@link loadModel}. */
export interface LoadModelOptions {
  /**
   * Loads the blocks before this one and no unembedding, which saves memory and time where only
   * activations are wanted; of a repository in several files only those are downloaded that hold
   * them. Default: the whole model.
   */
  stopAtLayer?: number;
  /** Branch, tag or commit of a repository on the hub. Default "main". */
  revision?: string;
  /** Stops loading, a download included, which the next call resumes. */
  signal?: AbortSignal;
}

/** Values from which on loading takes long enough for a progress line to be read. */
const SHOWN_VALUES = 400e6;

/**
 * Loads a LLaMA-family model (LLaMA 1 to 3, Mistral, Qwen2).
 *
 * From
 * - a folder as transformers writes it: `config.json`, weights as safetensors or PyTorch's `.bin`,
 *   one file or several, and `tokenizer.json` or sentencepiece's `tokenizer.model`;
 * - a repository on the hub, `"openlm-research/open_llama_3b"`, whose files are downloaded into the
 *   cache that Python tools share (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`);
 * - a GGUF file, here or in a repository (`"owner/name/model-Q8_0.gguf"`).
 *
 * Whatever the number format, weights are held as float32 and every activation is what Hugging
 * Face's implementation computes from the same numbers. Tensors are read one at a time: beside what
 * is kept, loading holds a few of them. No code in a file is run, and a configuration that asks for
 * something that is not supported is refused by name.
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
 * @param source Path of a folder or a GGUF file, or a repository. Default: the environment variable
 * `INTERLENS_MODEL`, else the embedded SmolLM2-135M-Instruct.
 * @throws {Error} If no device is open, or if the model is nowhere, damaged, or of a kind that is not
 * supported, naming the file and the field, the tensor or the offset.
 * @throws {RangeError} If `stopAtLayer` is out of range, or the weights do not fit the memory of this
 * machine or a tensor of the device.
 */
export async function loadModel(
  source?: string,
  { stopAtLayer, revision, signal }: LoadModelOptions = {},
): Promise<Model> {
  requireDevice();
  return await whileRunning(signal, async () => {
    const wanted = source ?? (Deno.env.get("INTERLENS_MODEL") || undefined);
    const files = await findModel(wanted, { revision, stopAtLayer, signal });
    using opened = await open(files, stopAtLayer);
    const { weights, layout, cfg, tokenizer, ...biases } = opened;
    checkStop(stopAtLayer, cfg);
    checkTensors(weights, layout, cfg, { ...biases, stopAtLayer });
    checkVocabulary(tokenizer, cfg.vocabSize, files.path);
    const total = countValues(cfg, stopAtLayer);
    checkMemory(4 * total, cfg.name);
    const full = { ...cfg, hash: await files.hash() };
    const line = total < SHOWN_VALUES ? undefined : progress(`Loading ${cfg.name}`, {
      total: Math.round(total / 1e6),
      unit: "million weights",
    });
    let read = 0;
    try {
      const tensors = await readWeights(weights, layout, full, {
        ...biases,
        stopAtLayer,
        signal,
        onRead: (values) => line?.update(Math.round((read += values) / 1e6)),
      });
      line?.finish();
      return new Model(full, tokenizer, tensors);
    } catch (error) {
      line?.stop(signal?.aborted ? "stopped" : "failed");
      throw error;
    }
  });
}

/** A model whose weights are still on disk. */
interface OpenedModel extends Disposable {
  readonly weights: WeightFile;
  readonly layout: Layout;
  readonly cfg: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly qkvBias: boolean;
  readonly outBias: boolean;
}

async function open(files: ModelFiles, stopAtLayer: number | undefined): Promise<OpenedModel> {
  const weights = files.kind === "gguf"
    ? await GgufFile.open(files.path)
    : await openWeights(files.path, { needed: (name) => beforeLayer(name, stopAtLayer) });
  try {
    const opened = weights instanceof GgufFile
      ? await openGguf(weights, files)
      : await openFolder(weights, files);
    return { ...opened, weights, [Symbol.dispose]: () => weights[Symbol.dispose]() };
  } catch (error) {
    weights[Symbol.dispose]();
    throw error;
  }
}

async function openGguf(file: GgufFile, { name }: ModelFiles) {
  const { cfg, architecture, qkvBias, outBias } = await readGgufConfig(file, "");
  const tokenizer = ggufTokenizer(file);
  const layout = ggufLayout(architecture);
  return { layout, cfg: { ...cfg, ...ends(tokenizer), name }, tokenizer, qkvBias, outBias };
}

async function openFolder(file: WeightFile, { path, name }: ModelFiles) {
  const where = join(path, "config.json");
  const text = await Deno.readTextFile(where).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot load "${path}": it has no "config.json"`, { cause: error });
  });
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`Cannot use "${where}": it is not JSON (${(error as Error).message})`, {
      cause: error,
    });
  }
  const { qkvBias, outBias, ...cfg } = readHfConfig(json, where, { name, hash: "" });
  const tokenizer = await folderTokenizer(path);
  return {
    layout: hfLayout(file),
    cfg: { ...cfg, ...ends(tokenizer) },
    tokenizer,
    qkvBias,
    outBias,
  };
}

/** The tokenizer's word counts: it makes the ids that are masked. */
function ends({ bosId, eosId }: Tokenizer): Pick<ModelConfig, "bosId" | "eosId"> {
  return { bosId, eosId };
}

function checkStop(stopAtLayer: number | undefined, { nLayers }: ModelConfig): void {
  if (
    stopAtLayer !== undefined &&
    !(Number.isInteger(stopAtLayer) && stopAtLayer >= 0 && stopAtLayer <= nLayers)
  ) {
    throw new RangeError(
      `Cannot stop at layer ${stopAtLayer}: expected an integer in 0…${nLayers}`,
    );
  }
}

/** Numbers that the weights consist of. */
function countValues(cfg: ModelConfig, stopAtLayer: number | undefined): number {
  const { dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize } = cfg;
  const attention = 2 * dModel * (nHeads + nKvHeads) * dHead;
  const block = attention + 3 * dModel * dMlp + 2 * dModel;
  const head = stopAtLayer === undefined ? dModel + (cfg.tied ? 0 : vocabSize * dModel) : 0;
  return vocabSize * dModel + (stopAtLayer ?? cfg.nLayers) * block + head;
}

/** Refuses weights for which there is no memory, before the system ends the process for them. */
function checkMemory(bytes: number, name: string): void {
  const native = tf.backend() as { isUsingGpuDevice?: boolean };
  if (native.isUsingGpuDevice || tf.getBackend() === "webgpu") return;
  const { available } = Deno.systemMemoryInfo();
  if (bytes <= available) return;
  const gigabytes = (n: number) => `${(n / 1e9).toFixed(1)} GB`;
  throw new RangeError(
    `Cannot load "${name}": its weights take ${gigabytes(bytes)} as float32, and ` +
      `${gigabytes(available)} of memory are available; pass stopAtLayer to load only the first ` +
      `blocks, or use a smaller model`,
  );
}
