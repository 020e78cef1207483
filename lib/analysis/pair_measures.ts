/**
 * The measures of a pair of features in a crossed design, each with its test: what the study's panels
 * show.
 *
 * @module
 */
import type { Sae } from "../dictionary/mod.ts";
import type { Nfm } from "../interaction/mod.ts";
import {
  type CrossedCells,
  type FactorialResult,
  factorialTest,
  maxT,
  type PermutationOptions,
} from "../metrics/mod.ts";
import { cellsOf, columnOf, type StimulusCodes } from "./measure.ts";
import { type NfmRows, type NfmRowsOptions, stimulusRows } from "./nfm_rows.ts";

/** The measures: two features, the machine's two terms, and its dimensions. */
export type MeasureKey =
  | "featureA"
  | "featureB"
  | "linear"
  | "interaction"
  | "topK"
  | "allK"
  | "randomK";

/** One measure of a crossed design; `conditionPanels` draws it. */
export interface DesignMeasure {
  readonly key: MeasureKey;
  /** What it is, in words. */
  readonly name: string;
  readonly unit: string;
  readonly cells: CrossedCells;
  readonly test: FactorialResult;
  /** p of the interaction, adjusted for all measures of the design (max-T). */
  readonly adjustedP: number;
}

/** Two features, one a factor, and the dimensions that are looked at. */
export interface MeasuredPair {
  readonly a: number;
  readonly b: number;
  readonly k: { readonly top: number; readonly random: number };
}

/** The measures of a pair, and the terms that they come from. */
export interface PairMeasures {
  readonly measures: readonly DesignMeasure[];
  readonly rows: NfmRows;
}

/** Words of the measures. */
function names({ a, b, k }: MeasuredPair): Record<MeasureKey, [name: string, unit: string]> {
  return {
    featureA: [`SAE, feature ${a}`, "activation"],
    featureB: [`SAE, feature ${b}`, "activation"],
    linear: ["Linear term", "activation"],
    interaction: ["Interaction term", "activation"],
    topK: [`Top K (${k.top})`, "product"],
    allK: ["All K, mean", "product"],
    randomK: [`Random K (${k.random})`, "product"],
  };
}

/**
 * Measures a pair of features in every text and tests each measure.
 *
 * A measure counts as manipulated where factor A moves feature a and factor B feature b.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import {
 *   CELLS,
 *   measureStimuli,
 *   Nfm,
 *   openDevice,
 *   pairMeasures,
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
 * const codes = await measureStimuli(model, sae, design, { hook });
 * const pair = { a: 0, b: 1, k: { top: 1, random: 0 } };
 * const { measures } = await pairMeasures({ sae, nfm }, codes, pair, { draws: 100 });
 * assertEquals(measures.map(({ key }) => key).slice(0, 3), ["featureA", "featureB", "linear"]);
 * nfm.dispose();
 * sae.dispose();
 * ```
 *
 * @param subject Dictionary and machine.
 * @param codes What was measured of the stimuli.
 * @param pair Features and dimensions.
 * @param options Directions and defects of `nfmRows`; draws and seed of the tests.
 */
export async function pairMeasures(
  subject: { readonly sae: Sae; readonly nfm: Nfm },
  codes: StimulusCodes,
  pair: MeasuredPair,
  { draws, seed, along, faithful }:
    & PermutationOptions
    & Pick<NfmRowsOptions, "along" | "faithful"> = {},
): Promise<PairMeasures> {
  const { a, b, k } = pair;
  const { design, features, dSae } = codes;
  const rows = await stimulusRows(subject, codes, { k, along, faithful, pair: [a, b] });
  const values: Record<MeasureKey, ArrayLike<number>> = {
    featureA: columnOf(features, dSae, a),
    featureB: columnOf(features, dSae, b),
    ...rows.summaries,
  };
  const words = names(pair);
  const cells = Object.entries(values).map(([key, value]) => ({
    key: key as MeasureKey,
    cells: cellsOf(design, value),
  }));
  const [featureA, featureB] = cells;
  const manipulation = { a: featureA.cells, b: featureB.cells };
  const adjusted = maxT(cells.map(({ cells }) => cells), { draws, seed });
  return {
    rows,
    measures: cells.map(({ key, cells }, i) => ({
      key,
      name: words[key][0],
      unit: words[key][1],
      cells,
      test: factorialTest(cells, { draws, seed, manipulation }),
      adjustedP: adjusted[i].p,
    })),
  };
}

/**
 * What one measure of several analyses (other seeds of training) says of the claim that it interacts.
 *
 * `"supported"`: in each of them the interaction is there after adjustment for all measures.
 * `"contradicted"`: in each of them both factors are manipulated, no interaction was found, and its 90 %
 * interval lies within the equivalence bound. Everything else is `"undecided"`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { judgeInteraction } from "interlens";
 *
 * const seed = (adjustedP: number, kind: "none" | "robust", additive: boolean) => ({
 *   adjustedP,
 *   test: { kind, equivalence: { additive } },
 * });
 * assertEquals(judgeInteraction([seed(0.01, "robust", false)]), "supported");
 * assertEquals(judgeInteraction([seed(0.6, "none", true)]), "contradicted");
 * assertEquals(judgeInteraction([seed(0.6, "none", true), seed(0.01, "robust", false)]), "undecided");
 * ```
 *
 * @param measures The measure in each analysis.
 */
export function judgeInteraction(
  measures: readonly {
    readonly adjustedP: number;
    readonly test: {
      readonly kind: FactorialResult["kind"];
      readonly equivalence: { readonly additive: boolean };
    };
  }[],
): "supported" | "contradicted" | "undecided" {
  if (measures.length === 0) return "undecided";
  const there = ({ adjustedP, test: { kind } }: typeof measures[number]) =>
    adjustedP < 0.05 && kind !== "none" && kind !== "not manipulated";
  if (measures.every(there)) return "supported";
  return measures.every(({ test }) => test.equivalence.additive) ? "contradicted" : "undecided";
}

/**
 * A measure of an analysis by its key.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { factorialTest, measureOf } from "interlens";
 *
 * const frame = Array.from({ length: 12 }, (_, i) => 1 + i / 10);
 * const cells = {
 *   a1b1: frame.map((x) => 6 * x),
 *   a1b0: frame.map((x) => 2 * x),
 *   a0b1: frame.map((x) => 3 * x),
 *   a0b0: frame,
 * };
 * const test = factorialTest(cells);
 * const measure = { key: "topK", name: "Top K", unit: "product", cells, test, adjustedP: 0.01 } as const;
 * assertEquals(measureOf({ measures: [measure] }, "topK").adjustedP, 0.01);
 * ```
 *
 * @throws {RangeError} If it has no such measure.
 */
export function measureOf(
  { measures }: { readonly measures: readonly DesignMeasure[] },
  key: MeasureKey,
): DesignMeasure {
  const found = measures.find((measure) => measure.key === key);
  if (!found) {
    throw new RangeError(
      `There is no measure "${key}": expected one of ${measures.map(({ key }) => key).join(", ")}`,
    );
  }
  return found;
}
