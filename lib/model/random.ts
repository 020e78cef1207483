/**
 * Small random models: for tests, and as the baseline that a trained model is compared with.
 *
 * @module
 */
import { Rng, tf } from "../tensor/mod.ts";
import { configHash } from "../files/mod.ts";
import { checkConfig, type ModelConfig } from "./config.ts";
import { requireDevice } from "./limits.ts";
import type { BlockWeights } from "./llama.ts";
import { Model } from "./model.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";

/** Sizes of {@link randomModel} that are not given. */
const DEFAULTS = {
  name: "random",
  dModel: 16,
  nLayers: 2,
  nHeads: 4,
  nKvHeads: 2,
  dMlp: 32,
  vocabSize: 259,
  contextLength: 128,
  ropeTheta: 10_000,
  rmsEps: 1e-5,
  tied: true,
  bosId: 1,
  eosId: 2,
};

/**
 * A LLaMA-family model with random weights, the same for a seed on every backend.
 *
 * Weights are normal with standard deviation 1/√inputs, so a block adds at most about 1 to the variance; embeddings
 * have standard deviation 1 and norm weights scatter around 1. Its tokens are the bytes of UTF-8,
 * after the ids 0 (unused), BOS and EOS; in a vocabulary smaller than 259 several bytes share an
 * id.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ nLayers: 3, tied: false }, 0);
 * assertEquals(model.cfg.dHead, 4); // dModel / nHeads
 * assertEquals(model.tokenizer.decode(model.tokenizer.encode("naïve")), "naïve");
 * model.dispose();
 * ```
 *
 * @param sizes What differs from the defaults: 2 blocks of width 16, 4 heads over 2 key and value
 * heads, an MLP of 32, 259 tokens, 128 positions, tied embeddings.
 * @param seed Seed of the weights.
 * @throws {RangeError} If the sizes do not make a model.
 * @throws {Error} If no device is open.
 */
export function randomModel(
  sizes: Partial<Omit<ModelConfig, "hash">> = {},
  seed = 0,
): Model {
  requireDevice();
  const merged = { ...DEFAULTS, ...sizes };
  const plain = { dHead: merged.dModel / merged.nHeads, ...merged };
  checkConfig({ ...plain, hash: "" });
  const cfg: ModelConfig = { ...plain, hash: configHash({ ...plain, seed, weights: "random" }) };
  const { dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize, nLayers } = cfg;

  const normals = (name: string, rows: number, columns: number, std: number) => {
    const values = new Rng(seed, "model", name).normals(rows * columns, std);
    return tf.tensor2d(values, [rows, columns]);
  };
  const projection = (name: string, inputs: number, outputs: number) =>
    normals(name, inputs, outputs, inputs ** -0.5);
  const norm = (name: string) => {
    const values = new Rng(seed, "model", name).normals(dModel, 0.1);
    return tf.tensor1d(values.map((value) => 1 + value));
  };
  const block = (l: number): BlockWeights => ({
    ln1: norm(`${l}.ln1`),
    attn: {
      qkv: projection(`${l}.qkv`, dModel, (nHeads + 2 * nKvHeads) * dHead),
      out: projection(`${l}.out`, nHeads * dHead, dModel),
    },
    ln2: norm(`${l}.ln2`),
    mlp: {
      gate: projection(`${l}.gate`, dModel, dMlp),
      up: projection(`${l}.up`, dModel, dMlp),
      down: projection(`${l}.down`, dMlp, dModel),
    },
  });
  const embed = normals("embed", vocabSize, dModel, 1);
  return new Model(cfg, byteTokenizer(cfg), {
    embed,
    blocks: Array.from({ length: nLayers }, (_, l) => block(l)),
    head: {
      lnFinal: norm("lnFinal"),
      unembed: cfg.tied ? embed : normals("unembed", vocabSize, dModel, dModel ** -0.5),
    },
  });
}

/** Every byte a token, folded into the vocabulary if that is too small. */
function byteTokenizer({ bosId, eosId, vocabSize }: ModelConfig): Tokenizer {
  const first = Math.min(Math.max(bosId, eosId) + 1, vocabSize - 1);
  const room = vocabSize - first;
  return {
    encode: (text) => Array.from(new TextEncoder().encode(text), (byte) => first + byte % room),
    decode: (ids) =>
      new TextDecoder().decode(
        Uint8Array.from(Array.from(ids).filter((id) => id >= first), (id) => id - first),
      ),
    bosId,
    eosId,
    addBos: true,
  };
}
