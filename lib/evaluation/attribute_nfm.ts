/**
 * How much of what a factorization machine explains is owed to its linear term, and how much to its
 * interaction term: by the energy of its output, by what is lost without it, and by Shapley values.
 *
 * With r what the dictionary leaves, L the linear term (the bias is its own) and I the interaction
 * term, all sums over held-out tokens, and E(S) = Σ‖r − Σ_{t ∈ S} t‖²:
 *
 * | measure  | of the interaction term                                       |
 * | -------- | ------------------------------------------------------------- |
 * | energy   | Σ‖I‖² / Σ‖L + I‖²; with that of L and 2 Σ⟨L, I⟩ they sum to 1 |
 * | alone    | (E(∅) − E(I)) / E(∅)                                          |
 * | ablation | (E(L) − E(L, I)) / E(∅): what is lost without it              |
 * | Shapley  | the mean of alone and ablation; both terms sum to the joint   |
 *
 * A share by weight norms, which the study reports (B2), is none of these: it has no activation in it.
 *
 * @module
 */
import {
  type ActivationReader,
  type Sae,
  sequentialBatches,
  type SplitName,
} from "../dictionary/mod.ts";
import { codesAndResidual, type Nfm, requireDictionary } from "../interaction/mod.ts";
import { DocumentSums } from "../metrics/document_sums.ts";
import { clusterBootstrap, type Interval } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";

/** What is measured on. */
export interface AttributeNfmOptions {
  /** Which documents. Default `"validation"`. */
  split?: SplitName;
  /** Tokens a batch. Default 1024. */
  batchSize?: number;
  /** Default: all of the split. */
  maxTokens?: number;
}

/** A number for each term. */
export interface ByTerm {
  readonly linear: Interval;
  readonly interaction: Interval;
}

/** Where the gain of a machine comes from; every interval is of 95 % and draws whole documents. */
export interface NfmAttribution {
  /** Shares of the energy of the output; with `covariance` they sum to 1. */
  readonly energy: ByTerm & { readonly covariance: Interval };
  /** Share of the dictionary's squared error that a term removes without the other. */
  readonly alone: ByTerm;
  /** Share of the dictionary's squared error that comes back when a term is switched off. */
  readonly ablation: ByTerm;
  /** Shapley values of the terms; they sum to `joint`. */
  readonly shapley: ByTerm;
  /** Share of the dictionary's squared error that both remove. */
  readonly joint: Interval;
  /**
   * The interaction's part of the joint reduction by Shapley value; its interval means little where
   * `joint` is not clearly above 0.
   */
  readonly interactionShare: Interval;
  /** Tokens measured. */
  readonly tokens: number;
}

const COLUMNS = ["none", "linear", "interaction", "both", "energyL", "energyI", "energy"] as const;

/**
 * Measures it.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { attributeNfm, memoryStore, Nfm, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a + a·b), of which the dictionary knows a and b.
 * const rows = Float32Array.of(1, 2, 3, 2, 1, 4, 1, 1, 2, 2, 2, 6);
 * const split = { rows, document: Int32Array.of(0, 0, 1, 1) };
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
 *   W: tf.tensor2d([[0, 0, 1], [0, 0, 0]]),
 *   V: tf.tensor2d([[1], [1]]),
 *   C: tf.tensor2d([[0, 0, 1]]),
 * });
 * const { joint, shapley } = await attributeNfm(store, sae, nfm);
 * assertAlmostEquals(joint.estimate, 1); // nothing is left
 * assertAlmostEquals(shapley.linear.estimate + shapley.interaction.estimate, 1);
 * nfm.dispose();
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @param nfm A machine with both parts, trained on its codes.
 * @param options What is measured on.
 * @throws {RangeError} If the machine lacks a part, or is of another dictionary.
 */
export async function attributeNfm(
  store: ActivationReader,
  sae: Sae,
  nfm: Nfm,
  { split = "validation", batchSize = 1024, maxTokens }: AttributeNfmOptions = {},
): Promise<NfmAttribution> {
  if (nfm.shape.parts !== "both") {
    throw new RangeError(
      `Cannot divide the gain of a machine of parts "${nfm.shape.parts}": expected "both"`,
    );
  }
  await requireDictionary(nfm, sae);
  const sums = new DocumentSums(COLUMNS);
  for await (
    const { x, document } of sequentialBatches(store.split(split), batchSize, maxTokens)
  ) {
    const columns = tf.tidy(() => {
      const { codes, residual } = codesAndResidual(sae, x, nfm.shape.topN);
      const { linear, interaction } = nfm.pieces(codes);
      const out = tf.add(linear, interaction);
      const left = [linear, interaction, out].map((part) => tf.sub(residual, part));
      return tf.stack(
        [residual, ...left, linear, interaction, out].map((t) => tf.sum(tf.square(t), 1)),
      );
    });
    sums.add(document, await columns.data());
    columns.dispose();
  }
  const table = sums.table();
  const interval = (
    statistic: (of: Record<typeof COLUMNS[number], number>) => number,
  ) =>
    clusterBootstrap(
      COLUMNS.map((name) => table[name]),
      (totals) =>
        statistic(
          Object.fromEntries(COLUMNS.map((name, i) => [name, totals[i]])) as Record<
            typeof COLUMNS[number],
            number
          >,
        ),
    );
  return {
    energy: {
      linear: interval(({ energyL, energy }) => energyL / energy),
      interaction: interval(({ energyI, energy }) => energyI / energy),
      covariance: interval(({ energyL, energyI, energy }) => 1 - (energyL + energyI) / energy),
    },
    alone: {
      linear: interval(({ none, linear }) => 1 - linear / none),
      interaction: interval(({ none, interaction }) => 1 - interaction / none),
    },
    ablation: {
      linear: interval(({ none, interaction, both }) => (interaction - both) / none),
      interaction: interval(({ none, linear, both }) => (linear - both) / none),
    },
    shapley: {
      linear: interval(({ none, linear, interaction, both }) =>
        0.5 * (none - linear + interaction - both) / none
      ),
      interaction: interval(({ none, linear, interaction, both }) =>
        0.5 * (none - interaction + linear - both) / none
      ),
    },
    joint: interval(({ none, both }) => 1 - both / none),
    interactionShare: interval(({ none, linear, interaction, both }) =>
      0.5 * (none - interaction + linear - both) / (none - both)
    ),
    tokens: table.tokens.reduce((all, n) => all + n, 0),
  };
}
