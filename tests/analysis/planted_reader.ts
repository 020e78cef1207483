import { Nfm, Rng, Sae, type StimulusDesign, type StimulusReader, tf } from "interlens";
import { HOOK, tinyDesign } from "./tiny_design.ts";

/** What a planted model does to its four features from a word on. */
export interface Planted {
  /** Activation of each feature once both words were read; default: A moves 0, B moves 1. */
  after?: (a: number, b: number) => number[];
  /** Activation of each feature at BOS. */
  bos?: number[];
  /** Standard deviation of the noise of a text and feature. */
  noise?: number;
  /** What the dictionary's normaliser multiplies by. */
  scale?: number;
  seed?: number;
}

/** A model of four features that do what is said, and a dictionary that reads them off. */
export function plantedReader(
  { after = (a, b) => [a, b, 1, 1], bos = [1, 1, 1, 1], noise = 0.1, scale = 1, seed = 0 }:
    Planted = {},
): { model: StimulusReader; sae: Sae } {
  const decoder = new TextDecoder();
  const read = (ids: readonly number[]) => decoder.decode(Uint8Array.from(ids, (id) => id - 3));
  const model: StimulusReader = {
    cfg: { name: "planted", hash: "", contextLength: 64 },
    tokenizer: {
      encode: (text) => Array.from(new TextEncoder().encode(text), (byte) => byte + 3),
      decode: (ids) => read(Array.from(ids)),
      bosId: 1,
      eosId: 2,
      addBos: true,
    },
    hookNames: () => [HOOK],
    runWithCache(tokens) {
      const pos = Math.max(...tokens.map(({ length }) => length));
      const rows = tokens.flatMap((ids) => {
        const text = read(ids.filter((id) => id > 2));
        const rng = new Rng(seed, text);
        const jitter = Array.from({ length: 4 }, () => noise * rng.normal());
        return Array.from({ length: pos }, (_, p) => {
          if (p === 0) return bos;
          const seen = read(ids.slice(0, p + 1).filter((id) => id > 2));
          const slots = / (sun|sky)/.test(seen);
          const level = (word: string) => seen.includes(word) ? 1 : 0;
          const x = slots ? after(level("red"), level("sun")) : [level("red"), 0, 1, 1];
          return x.map((value, i) => Math.max(0, value + jitter[i]));
        });
      });
      const tensor = tf.tensor3d(rows.flat(), [tokens.length, pos, 4]);
      const cache = { get: () => tensor, dispose: () => tensor.dispose() };
      return Promise.resolve({ logits: undefined, cache });
    },
  };
  const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 4 }, {
    W_enc: tf.eye(4),
    b_enc: tf.zeros([4]),
    W_dec: tf.eye(4),
    b_dec: tf.zeros([4]),
  }, { normalizer: { scale }, metadata: { hook_name: HOOK } });
  return { model, sae };
}

/** A machine of given embeddings `[4, K]` that carries its first product to output 3. */
export function plantedNfm(embeddings: number[][]): Nfm {
  const K = embeddings[0].length;
  const shape = { parts: "both", dSae: 4, dOut: 4, K, head: "linear", topN: 4 } as const;
  const training = { seed: 0, linearStd: 0, embeddingStd: 0.05, headStd: 1 };
  return new Nfm(shape, {
    b: tf.tensor1d([1, 2, 3, 4]),
    W: tf.mul(0.5, tf.eye(4)),
    V: tf.tensor2d(embeddings),
    C: tf.tensor2d(embeddings[0].map((_, k) => [0, 0, 0, k === 0 ? 1 : 0])),
  }, { metadata: { training } });
}

/** Frames of different texts and the same length. */
export function plantedDesign(frames = 24): StimulusDesign {
  return tinyDesign(frames, (frame) => `${String.fromCharCode(97 + frame)}${frame % 10} `);
}
