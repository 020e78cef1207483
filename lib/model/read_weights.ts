/**
 * Weights from a file into the tensors of the forward pass, one at a time.
 *
 * @module
 */
import { alignedFloats } from "../tensor/aligned.ts";
import { tf } from "../tensor/mod.ts";
import type { WeightFile } from "../weights/mod.ts";
import type { ModelConfig } from "./config.ts";
import type { BlockPart, Layout } from "./layout.ts";
import { checkFits } from "./limits.ts";
import type { BlockWeights, LlamaWeights } from "./llama.ts";
import { Scope } from "./scope.ts";

/** What to read. */
export interface ReadWeightsOptions {
  /** Reads the blocks before this one and nothing after them. */
  stopAtLayer?: number;
  /** Queries, keys and values have a bias. */
  qkvBias: boolean;
  /** The attention output has one. */
  outBias: boolean;
  /** Called after every tensor with its number of values. */
  onRead: (values: number) => void;
  /** Ends the reading; what was read is disposed of. */
  signal?: AbortSignal;
}

/**
 * Reads a model, or its first blocks.
 *
 * @throws {Error} If a tensor is missing or has another shape, naming it.
 * @throws {RangeError} If a tensor is too large for the device.
 */
export async function readWeights(
  file: WeightFile,
  layout: Layout,
  cfg: ModelConfig,
  { stopAtLayer, qkvBias, outBias, onRead, signal }: ReadWeightsOptions,
): Promise<LlamaWeights> {
  const { dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize } = cfg;
  const [queries, keys] = [nHeads * dHead, nKvHeads * dHead];
  checkFits(
    "the embedding",
    [vocabSize, dModel],
    "use another device, or a model with a smaller vocabulary",
  );
  using scope = new Scope();

  const read = async (name: string, shape: number[], into?: Float32Array<ArrayBuffer>) => {
    signal?.throwIfAborted();
    const values = await file.read(name, shape, into);
    onRead(values.length);
    return values;
  };
  // Arrays that are left to the garbage collector add up before it runs: matrices, of which the
  // device gets a transposed copy, are read into one.
  const largest = Math.max((queries + 2 * keys) * dModel, queries * dModel, dMlp * dModel);
  const room = alignedFloats(largest);
  const spare = new Float32Array(layout.interleaved ? queries * dModel : 0);
  const vector = async (name: string, length: number) =>
    scope.own(tf.tensor1d(await read(name, [length])));
  const table = async (name: string) => {
    const rows = await read(name, [vocabSize, dModel], alignedFloats(vocabSize * dModel));
    return scope.own(tf.tensor2d(rows, [vocabSize, dModel]));
  };
  /** `[inputs, outputs]`, from the file's `[outputs, inputs]`. */
  const matrix = (rows: Float32Array, outputs: number, inputs: number) =>
    scope.run(() => tf.transpose(tf.tensor2d(rows, [outputs, inputs])));
  const projection = async (name: string, outputs: number, inputs: number) => {
    const rows = room.subarray(0, outputs * inputs);
    return matrix(await read(name, [outputs, inputs], rows), outputs, inputs);
  };
  /** Queries, keys and values as one, in the order of the original. */
  const joined = async (of: (part: BlockPart) => string, parts: BlockPart[], inputs?: number) => {
    const width = inputs ?? 1;
    const length = (queries + 2 * keys) * width;
    const all = inputs === undefined ? new Float32Array(length) : room.subarray(0, length);
    let at = 0;
    for (const [i, part] of parts.entries()) {
      const rows = i === 0 ? queries : keys;
      const shape = inputs === undefined ? [rows] : [rows, inputs];
      const target = all.subarray(at, at += rows * width);
      if (layout.interleaved && i < 2) {
        const values = await read(of(part), shape, spare.subarray(0, target.length));
        copyHalves(values, target, dHead, width);
      } else await read(of(part), shape, target);
    }
    return all;
  };

  const block = async (l: number): Promise<BlockWeights> => {
    const of = (part: BlockPart) => layout.block(l, part);
    const qkvRows = queries + 2 * keys;
    return {
      ln1: await vector(of("ln1"), dModel),
      attn: {
        qkv: matrix(await joined(of, ["q", "k", "v"], dModel), qkvRows, dModel),
        ...qkvBias
          ? { qkvBias: scope.own(tf.tensor1d(await joined(of, ["qBias", "kBias", "vBias"]))) }
          : {},
        out: await projection(of("o"), dModel, queries),
        ...outBias ? { outBias: await vector(of("oBias"), dModel) } : {},
      },
      ln2: await vector(of("ln2"), dModel),
      mlp: {
        gate: await projection(of("gate"), dMlp, dModel),
        up: await projection(of("up"), dMlp, dModel),
        down: await projection(of("down"), dModel, dMlp),
      },
    };
  };

  const embed = await table(layout.embed);
  const blocks: BlockWeights[] = [];
  for (let l = 0; l < (stopAtLayer ?? cfg.nLayers); l++) blocks.push(await block(l));
  const head = stopAtLayer !== undefined ? undefined : {
    lnFinal: await vector(layout.lnFinal, dModel),
    unembed: cfg.tied ? embed : await table(layout.unembed),
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
