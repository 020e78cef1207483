/**
 * A crossed design as parts 8 and 9 of the study measured it, defect by defect.
 *
 * @module
 */
import type { StimulusDesign } from "../corpus/mod.ts";
import type { Nfm } from "../interaction/mod.ts";
import type { DesignOptions, DesignSubject } from "./analyse_design.ts";
import { learnedEmbeddings } from "./embeddings.ts";
import { contrastRows, strongest } from "./frames.ts";
import { columnOf, measureStimuli, type StimulusCodes } from "./measure.ts";
import { type DesignMeasure, type MeasuredPair, pairMeasures } from "./pair_measures.ts";
import { strongestPartner } from "./selection.ts";

/**
 * The defects that this can repeat:
 *
 * - `"B1"`: no product of features, and absolute values; see `nfmRows`.
 * - `"B3"`: dimension and partner from the trained weights, in which the initial ones still stand, not
 *   from what training changed.
 * - `"B4"`: padding in place of the last tokens of shorter texts; see `measureStimuli`.
 * - `"B5"`: the maximum is taken over BOS and sinks, too.
 * - `"B7"`: the dictionary gets raw activations.
 * - `"B21"`: the machine sees two features only, each at its own best token.
 * - `"B27"`: biases are part of the terms.
 */
export type StudyDefect = "B1" | "B3" | "B4" | "B5" | "B7" | "B21" | "B27";

/**
 * All of them: what the study's code did.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { STUDY_DEFECTS } from "interlens";
 *
 * assertEquals(STUDY_DEFECTS.join(" "), "B1 B3 B4 B5 B7 B21 B27");
 * ```
 */
export const STUDY_DEFECTS: readonly StudyDefect[] = [
  ...["B1", "B3", "B4", "B5", "B7", "B21", "B27"] as const,
];

/** How the study's measures are made. */
export interface AsStudyOptions
  extends Omit<DesignOptions, "at" | "share" | "permutations" | "untrained"> {
  /** The defects to repeat; `STUDY_DEFECTS` are all, none gives the maximum over the text, corrected. */
  faithful: readonly StudyDefect[];
  /** Which of the strongest partners is feature b: 1 is the strongest. Default 1. */
  partner?: number;
  /** Features and dimensions; default: by the study's rule. */
  pair?: MeasuredPair;
}

/** The study's measures of a design. */
export interface AsStudyAnalysis {
  readonly design: StimulusDesign;
  readonly pair: MeasuredPair;
  /** Weights of the two features in the top K, in the units of the codes. */
  readonly weights: { readonly a: number; readonly b: number };
  readonly measures: readonly DesignMeasure[];
  /** The features of every text, in the order of the stimuli. */
  readonly values: { readonly a: Float64Array; readonly b: Float64Array };
  /**
   * (max − min) / max over all texts: a feature below 1e-5 is one number, and its factor was not
   * manipulated. 0 for a feature that is never active.
   */
  readonly spread: { readonly a: number; readonly b: number };
}

/** The K that the study drew as its random one. */
const RANDOM_K = 13;

/**
 * Measures a design as the study did: the maximum over the text, on all frames at once, of two features
 * found by its rule: the strongest feature of factor A's high level, the dimension `k* = argmax_k
 * |E[a,k]|`, and the partner `argmax_{i≠a} |E[i,k*]|`. Each defect can be repeated alone.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import {
 *   analyseAsStudy,
 *   CELLS,
 *   Nfm,
 *   openDevice,
 *   randomModel,
 *   Sae,
 *   type StimulusDesign,
 *   tf,
 * } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
 *   W_enc: tf.tensor2d([[1, 0], [0, 1], [1, 0], [0, 1]]),
 *   b_enc: tf.ones([2]),
 *   W_dec: tf.ones([2, 4]),
 *   b_dec: tf.zeros([4]),
 * });
 * const nfm = new Nfm({ parts: "both", dSae: 2, dOut: 4, K: 2, head: "linear", topN: 2 }, {
 *   b: tf.zeros([4]),
 *   W: tf.ones([2, 4]),
 *   V: tf.tensor2d([[2, 1], [-3, 1]]),
 *   C: tf.ones([2, 4]),
 * });
 * const frames = ["1", "2"];
 * const design: StimulusDesign = {
 *   name: "tiny",
 *   path: "tiny.csv",
 *   levels: { a: ["red", "dim"], b: ["sun", "sky"] },
 *   frames,
 *   stimuli: frames.flatMap((frame) =>
 *     CELLS.map(([a, b], row) => {
 *       const text = `${frame} ${a ? "red" : "dim"} ${b ? "sun" : "sky"} on`;
 *       return { design: "tiny", frame, a, b, text, targetSpan: "on", row };
 *     })
 *   ),
 * };
 * const hook = "blocks.0.hook_resid_post";
 * const pair = { a: 0, b: 1, k: { top: 1, random: 0 } };
 * const withBosOnly = await analyseAsStudy({ model, sae, nfm }, design, {
 *   ...{ hook, pair, draws: 100 },
 *   faithful: ["B5"],
 * });
 * assertEquals(withBosOnly.values.a.length, 8); // one maximum a text
 * nfm.dispose();
 * sae.dispose();
 * ```
 *
 * @param subject Model, dictionary and machine, which belong together.
 * @param design The stimuli.
 * @param options Defects, partner, and how to read and draw.
 * @throws {RangeError} As `measureStimuli` and `nfmRows`, or if there is no such partner.
 */
export async function analyseAsStudy(
  { model, sae, nfm }: DesignSubject,
  design: StimulusDesign,
  { faithful, partner = 1, pair, seed = 0, draws, ...measuring }: AsStudyOptions,
): Promise<AsStudyAnalysis> {
  const codes = await measureStimuli(model, sae, design, {
    ...measuring,
    at: "max",
    faithful: faithful.filter((id) => id === "B4" || id === "B5" || id === "B7"),
  });
  const measured = pair ?? await pairByRule(nfm, codes, { partner, faithful });
  const { measures } = await pairMeasures({ sae, nfm }, codes, measured, {
    draws,
    seed,
    faithful: faithful.filter((id) => id === "B1" || id === "B21" || id === "B27"),
  });
  const values = {
    a: columnOf(codes.features, codes.dSae, measured.a),
    b: columnOf(codes.features, codes.dSae, measured.b),
  };
  const V = await nfm.weights.V!.data();
  const weight = (feature: number) => nfm.scales.code * V[feature * nfm.shape.K + measured.k.top];
  return {
    design,
    pair: measured,
    weights: { a: weight(measured.a), b: weight(measured.b) },
    measures,
    values,
    spread: { a: spread(values.a), b: spread(values.b) },
  };
}

/** Two features and two dimensions by the study's rule. */
async function pairByRule(
  nfm: Nfm,
  { design, features, dSae }: StimulusCodes,
  { partner, faithful }: { partner: number; faithful: readonly StudyDefect[] },
): Promise<MeasuredPair> {
  const effect = contrastRows(features, dSae).factorA;
  const raised = new Float64Array(dSae);
  for (let i = 0; i < effect.length; i++) raised[i % dSae] += effect[i];
  const a = strongest(raised.map((sum) => Math.max(sum, 0)));
  const rule = faithful.includes("B3") ? ["B3" as const] : [];
  const embeddings = await embeddingsFor(nfm, rule);
  const { k, others } = strongestPartner(embeddings, a, { others: partner, faithful: rule });
  if (others.length < partner || !(partner >= 1)) {
    throw new RangeError(
      `Cannot take partner ${partner} of feature ${a} for "${design.name}": expected 1…` +
        `${nfm.shape.dSae - 1}`,
    );
  }
  const { K } = nfm.shape;
  const random = k === RANDOM_K % K ? (k + 1) % K : RANDOM_K % K;
  return { a, b: others[partner - 1].feature, k: { top: k, random } };
}

/** Embeddings to choose by; as they are, no record of the training is needed. */
async function embeddingsFor(nfm: Nfm, rule: readonly "B3"[]) {
  if (rule.length === 0) return await learnedEmbeddings(nfm);
  const [features, K] = nfm.weights.V!.shape;
  const values = Float32Array.from(await nfm.weights.V!.data());
  const trained = { values, features, K };
  return { trained, change: trained, initial: trained, initialStd: 0 };
}

function spread(values: Float64Array): number {
  const high = values.reduce((most, value) => Math.max(most, value), 0);
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  return high > 0 ? (high - low) / high : 0;
}
