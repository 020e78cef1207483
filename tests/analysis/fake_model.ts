/**
 * A model whose activation at a token is a row of a table, so that what a dictionary must find in a
 * text is known.
 */
import type { ExamplesModel } from "../../lib/analysis/mod.ts";
import { Sae } from "../../lib/dictionary/mod.ts";
import { tf } from "../../lib/tensor/mod.ts";

export const HOOK = "blocks.0.hook_resid_post";
export const BOS = 0;

/** The activation of token id `i` is `table[i]`; its text is `texts[i]`, or its number and a space. */
export function tableModel(table: number[][], texts: string[] = []): ExamplesModel {
  const width = table[0].length;
  return {
    cfg: { name: "table", hash: "0", contextLength: 64 },
    tokenizer: {
      encode: (text) => text.trim().split(/\s+/).filter(Boolean).map(Number),
      decode: (ids) => Array.from(ids, (id) => texts[id] ?? `${id} `).join(""),
      bosId: BOS,
      eosId: BOS,
      addBos: true,
    },
    hookNames: () => [HOOK],
    runWithCache: (tokens) => {
      const pos = Math.max(...tokens.map(({ length }) => length));
      const rows = tokens.flatMap((ids) =>
        Array.from({ length: pos }, (_, p) => table[ids[p] ?? BOS])
      );
      const activation = tf.tensor3d(rows.flat(), [tokens.length, pos, width]);
      return Promise.resolve({
        logits: undefined,
        cache: { get: () => activation, dispose: () => activation.dispose() },
      });
    },
  };
}

/** A ReLU dictionary that reads one dimension a feature, less its threshold. */
export function axisSae(
  dSae: number,
  { threshold = 0, scale = 1 }: { threshold?: number; scale?: number } = {},
): Sae {
  const identity = Array.from(
    { length: dSae },
    (_, i) => Array.from({ length: dSae }, (_, j) => i === j ? 1 : 0),
  );
  return new Sae({ architecture: "standard", dIn: dSae, dSae }, {
    W_enc: tf.tensor2d(identity),
    b_enc: tf.fill([dSae], -threshold),
    W_dec: tf.tensor2d(identity),
    b_dec: tf.zeros([dSae]),
  }, { normalizer: { scale }, metadata: { hook_name: HOOK } });
}

/** Sequences of ids, each a document, with BOS in front. */
export function sequencesOf(...ids: number[][]) {
  return ids.map((tokens, document) => ({ tokens: [BOS, ...tokens], document }));
}
