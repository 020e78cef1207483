/**
 * What is left of a machine's gain from interactions when its pairs are no longer those of the token.
 *
 * | control | the interaction term of a token is                                                     |
 * | ------- | -------------------------------------------------------------------------------------- |
 * | trained | its own                                                                                |
 * | s1      | that of any other token                                                                |
 * | s2      | of its own features with partners of another token whose features are as frequent      |
 * | s3      | that of another token with as many active features, within tenths of the tokens        |
 * | rows    | its own, with the rows of the embeddings V dealt to other features                     |
 *
 * The linear term stays the token's own. A control that gains, gains from something else than pairs of
 * features that are active together. Most lose, since an interaction term that is not the token's adds
 * its energy to the error. What fitting alone costs is seen in a machine that was trained on the
 * residuals of other tokens (`shuffle: "s3"` of `trainNfm`). Where every token has as many active
 * features, as with TopK, s3 is s1 with other partners.
 *
 * @module
 */
import {
  type ActivationReader,
  type Sae,
  sequentialBatches,
  type SplitName,
} from "../dictionary/mod.ts";
import { codesAndResidual, Nfm, requireDictionary } from "../interaction/mod.ts";
import { linearTerm, pooledToOutput } from "../interaction/nfm_terms.ts";
import { DocumentSums } from "../metrics/document_sums.ts";
import { clusterBootstrap, type Interval } from "../metrics/mod.ts";
import { Rng, type SparseCodes, tf } from "../tensor/mod.ts";

/** Names of the controls. */
export type InteractionControl = "trained" | "s1" | "s2" | "s3" | "rows";

const CONTROLS: readonly InteractionControl[] = ["trained", "s1", "s2", "s3", "rows"];

/** What is measured on. */
export interface InteractionControlOptions {
  /** Which documents. Default `"validation"`. */
  split?: SplitName;
  /** Tokens a batch; a token is paired with others of its batch. Default 1024. */
  batchSize?: number;
  /** Names the shuffles. Default 0. */
  seed?: number;
}

/**
 * The share of the dictionary's squared error that the interaction term removes beyond the linear term,
 * as trained and under each control, with 95 % intervals over documents.
 *
 * ```ts
 * import { assert, assertAlmostEquals } from "@std/assert";
 * import { interactionControls, memoryStore, Nfm, openDevice, Rng, Sae, tf } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a·b), of which the dictionary knows a and b.
 * const rng = new Rng(0);
 * const tokens = Array.from({ length: 200 }, () => [1 + rng.uniform(), 1 + rng.uniform()]);
 * const rows = Float32Array.from(tokens.flatMap(([a, b]) => [a, b, a * b]));
 * const split = { rows, document: Int32Array.from(tokens, (_, i) => i % 10) };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const W_dec = tf.tensor2d([[1, 0, 0], [0, 1, 0]]);
 * const sae = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([2]),
 *   W_dec,
 *   b_dec: tf.zeros([3]),
 * });
 * const shape = { parts: "both", dSae: 2, dOut: 3, K: 1, head: "linear", topN: 2 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.zeros([3]),
 *   W: tf.zeros([2, 3]),
 *   V: tf.tensor2d([[1], [1]]),
 *   C: tf.tensor2d([[0, 0, 1]]),
 * });
 * const { trained, s1 } = await interactionControls(store, sae, nfm);
 * assertAlmostEquals(trained.estimate, 1); // the product is all that was missing
 * assert(s1.high < trained.low);
 * nfm.dispose();
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @param nfm A machine with pairs, trained on its codes.
 * @param options What is measured on.
 * @throws {RangeError} If the machine has no pairs, or is of another dictionary.
 */
export async function interactionControls(
  store: ActivationReader,
  sae: Sae,
  nfm: Nfm,
  { split = "validation", batchSize = 1024, seed = 0 }: InteractionControlOptions = {},
): Promise<Record<InteractionControl, Interval>> {
  if (nfm.shape.parts === "linear") {
    throw new RangeError('Cannot shuffle the pairs of a machine of parts "linear": it has none');
  }
  await requireDictionary(nfm, sae);
  const dealt = withDealtRows(nfm, seed);
  const sums = new DocumentSums(["dictionary", "linear", ...CONTROLS]);
  let batch = 0;
  try {
    for await (const { x, document } of sequentialBatches(store.split(split), batchSize)) {
      const { codes, residual } = codesAndResidual(sae, x, nfm.shape.topN);
      const partners = await partnersOf(codes, nfm.shape.dSae, new Rng(seed, "control", batch++));
      const columns = tf.tidy(() => {
        const { linear, interaction } = nfm.pieces(codes);
        const left = tf.sub(residual, linear) as tf.Tensor2D;
        const of = (order: Int32Array, rows: tf.Tensor2D) =>
          tf.gather(rows, tf.tensor1d(order, "int32")) as tf.Tensor2D;
        const terms: Record<InteractionControl, tf.Tensor2D> = {
          trained: interaction,
          s1: of(partners.any, interaction),
          s2: crossTerm(nfm, codes, partners.asFrequent),
          s3: of(partners.asMany, interaction),
          rows: dealt.pieces(codes).interaction,
        };
        const errors = CONTROLS.map((name) => tf.sub(left, terms[name]));
        return tf.stack([residual, left, ...errors].map((t) => tf.sum(tf.square(t), 1)));
      });
      sums.add(document, await columns.data());
      tf.dispose([columns, codes.indices, codes.values, residual]);
    }
  } finally {
    dealt.dispose();
  }
  const table = sums.table();
  return Object.fromEntries(CONTROLS.map((name) => [
    name,
    clusterBootstrap(
      [table.dictionary, table.linear, table[name]],
      ([dictionary, linear, error]) => (linear - error) / dictionary,
    ),
  ])) as Record<InteractionControl, Interval>;
}

/** The machine with rows of V in another order; the caller's. */
function withDealtRows(nfm: Nfm, seed: number): Nfm {
  const order = new Rng(seed, "rows").permutation(nfm.shape.dSae);
  const weights = Object.fromEntries(
    Object.entries(nfm.weights).map(([name, tensor]: [string, tf.Tensor]) => [
      name,
      name === "V"
        ? tf.tidy(() => tf.gather(tensor, tf.tensor1d(Int32Array.from(order), "int32")))
        : tf.mul(tensor, 1),
    ]),
  );
  return new Nfm(nfm.shape, weights as never, { scales: nfm.scales });
}

/** `head(½ S ⊙ S')` with S' of the partner: pairs of one feature here and one there. */
function crossTerm(nfm: Nfm, { indices, values }: SparseCodes, order: Int32Array): tf.Tensor2D {
  const scaled = { indices, values: tf.mul(values, nfm.scales.code) as tf.Tensor2D };
  const S = linearTerm(scaled, nfm.weights.V!);
  // Half of the n² pairs: a token has n (n − 1) / 2 of its own.
  const pooled = tf.mul(tf.mul(S, tf.gather(S, tf.tensor1d(order, "int32"))), 0.5) as tf.Tensor2D;
  return tf.mul(pooledToOutput(nfm.weights, pooled), nfm.scales.target) as tf.Tensor2D;
}

/** For each token of a batch another one, by each of the rules. */
async function partnersOf(
  { indices, values }: SparseCodes,
  dSae: number,
  rng: Rng,
): Promise<Record<"any" | "asFrequent" | "asMany", Int32Array>> {
  const [tokens, n] = indices.shape;
  const [feature, value] = await Promise.all([indices.data<"int32">(), values.data<"float32">()]);
  const counts = new Int32Array(dSae);
  for (let i = 0; i < value.length; i++) if (value[i] !== 0) counts[feature[i]]++;
  const many = new Float64Array(tokens);
  const frequency = new Float64Array(tokens);
  for (let t = 0; t < tokens; t++) {
    for (let i = t * n; i < (t + 1) * n; i++) {
      if (value[i] === 0) continue;
      many[t]++;
      frequency[t] += Math.log(counts[feature[i]]);
    }
    frequency[t] /= Math.max(1, many[t]);
  }
  // Ties in a random order, so that neighbours in the text are not partners.
  const order = Array.from(rng.permutation(tokens));
  const by = (key: Float64Array) => [...order].sort((a, b) => key[a] - key[b]);
  return {
    any: nextIn(order, tokens, 1),
    asFrequent: nextIn(by(frequency), tokens, 1),
    asMany: nextIn(by(many), tokens, 10),
  };
}

/** The one that follows each in a circle, within `groups` equal stretches of the order. */
function nextIn(order: readonly number[], tokens: number, groups: number): Int32Array {
  const next = new Int32Array(tokens);
  for (let g = 0; g < groups; g++) {
    const group = order.slice(
      Math.floor(g * tokens / groups),
      Math.floor((g + 1) * tokens / groups),
    );
    group.forEach((token, i) => next[token] = group[(i + 1) % group.length]);
  }
  return next;
}
