/**
 * Figures and tables of a crossed design; their words follow from its numbers.
 *
 * @module
 */
import {
  conditionPanels,
  type Figure,
  formatNumber,
  nullDistribution,
  type Table,
  table,
} from "../display/mod.ts";
import type { CrossedCells } from "../metrics/mod.ts";
import type { AsStudyAnalysis } from "./analyse_as_study.ts";
import type { DesignAnalysis } from "./analyse_design.ts";
import { type DesignMeasure, type MeasureKey, measureOf } from "./pair_measures.ts";

/**
 * Rows of the study's first panels.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { TERM_ROWS } from "interlens";
 *
 * assertEquals([...TERM_ROWS], ["featureA", "linear", "interaction"]);
 * ```
 */
export const TERM_ROWS: readonly MeasureKey[] = ["featureA", "linear", "interaction"];
/**
 * Rows of the study's second panels.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { K_ROWS } from "interlens";
 *
 * assertEquals([...K_ROWS], ["topK", "allK", "randomK"]);
 * ```
 */
export const K_ROWS: readonly MeasureKey[] = ["topK", "allK", "randomK"];

/** What panels show. */
export interface DesignPanelsOptions {
  /** Measures, from top to bottom or from left to right. */
  measures: readonly MeasureKey[];
  /** A measure is a row (3 × 2, default) or a column (2 × 3). */
  layout?: "rows" | "columns";
}

/**
 * The study's panels: for each measure its four conditions and its main effects, with boxes and points.
 * The title says whether the factors were manipulated and which of the measures interact.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { designPanels, factorialTest, type StimulusDesign } from "interlens";
 *
 * const frame = Array.from({ length: 12 }, (_, i) => 1 + i / 10);
 * const cells = {
 *   a1b1: frame.map((x) => 6 * x),
 *   a1b0: frame.map((x) => 2 * x),
 *   a0b1: frame.map((x) => 3 * x),
 *   a0b0: frame,
 * };
 * const test = factorialTest(cells);
 * const design: StimulusDesign = {
 *   name: "tiny",
 *   path: "tiny.csv",
 *   levels: { a: ["red", "dim"], b: ["sun", "sky"] },
 *   frames: frame.map(String),
 *   stimuli: [],
 * };
 * const measure = { key: "topK", name: "Top K", unit: "product", cells, test, adjustedP: 0.01 } as const;
 * const panels = designPanels({
 *   design,
 *   pair: { a: 0, b: 1, k: { top: 0, random: 1 } },
 *   weights: { a: 1, b: 1 },
 *   measures: [measure],
 *   values: { a: new Float64Array(48), b: new Float64Array(48) },
 *   spread: { a: 0, b: 0 },
 * }, { measures: ["topK"] });
 * assertEquals(panels.caption.startsWith('"tiny", 12 frames'), true);
 * ```
 *
 * @param analysis Of `analyseDesign` or `analyseAsStudy`.
 * @param options Which measures.
 */
export function designPanels(
  analysis: DesignAnalysis | AsStudyAnalysis,
  { measures, layout = "rows" }: DesignPanelsOptions,
): Figure {
  const shown = measures.map((key) => measureOf(analysis, key));
  const { levels, name } = analysis.design;
  const study = !("gate" in analysis);
  const frames = shown[0].test.frames;
  // Digits that nobody sees would be most of the figure's bytes.
  const rounded = shown.map((measure) => ({ ...measure, cells: roundedCells(measure.cells) }));
  return conditionPanels(rounded, {
    title: finding(shown, study),
    caption: study
      ? `"${name}", ${frames} frames: the maximum over the text, by the study's procedure. ` +
        "Every point is a frame."
      : `"${name}", ${frames} confirmation frames, read ${
        analysis.at === "target" ? "at the target token" : "over all tokens (mean)"
      }; features, K and directions ` +
        "were chosen on other frames. Every point is a frame; contrasts with 95 % intervals over frames " +
        "and p by changes of signs, not adjusted.",
    levels,
    measures: layout,
  });
}

function roundedCells({ a1b1, a1b0, a0b1, a0b0 }: CrossedCells): CrossedCells {
  const round = (cell: ArrayLike<number>) =>
    Array.from(cell, (value) => Number(value.toPrecision(5)));
  return { a1b1: round(a1b1), a1b0: round(a1b0), a0b1: round(a0b1), a0b0: round(a0b0) };
}

/** A sentence on the interactions of some measures. */
function finding(shown: readonly DesignMeasure[], study: boolean): string {
  const { a, b } = shown[0].test.manipulated;
  const found = shown.filter(({ adjustedP }) => adjustedP < 0.05);
  const sentence = !a && !b
    ? "Neither factor moves its feature, so interactions say nothing"
    : !a || !b
    ? `Factor ${a ? "B" : "A"} does not move its feature, so interactions say nothing`
    : found.length === 0
    ? "Both factors move their features, and no measure shows an interaction"
    : `An interaction, adjusted for all measures, in ${
      found.map(({ name, test }) => `${name} (${test.kind})`).join(", ")
    }`;
  return study
    ? `As the study measured it: ${sentence[0].toLowerCase()}${sentence.slice(1)}`
    : sentence;
}

/**
 * Does the top K's interaction come back in frames that did not choose it, more than with permuted labels
 * and in machines that were not trained?
 *
 * ```ts
 * import { assertStringIncludes } from "@std/assert";
 * import { designNulls, type StimulusDesign } from "interlens";
 *
 * const design: StimulusDesign = {
 *   name: "tiny",
 *   path: "tiny.csv",
 *   levels: { a: ["red", "dim"], b: ["sun", "sky"] },
 *   frames: [],
 *   stimuli: [],
 * };
 * const draws = Float64Array.from({ length: 99 }, (_, i) => i / 99);
 * const chart = designNulls({
 *   design,
 *   pair: { a: 0, b: 1, k: { top: 4, random: 1 } },
 *   replication: { t: 3, permuted: draws, untrained: draws },
 * });
 * assertStringIncludes(chart.alt, "The interaction in K 4 comes back in new frames, and training made it");
 * ```
 *
 * @param analysis Of `analyseDesign`.
 */
export function designNulls(
  { design, replication, pair }: Pick<DesignAnalysis, "design" | "replication" | "pair">,
): Figure {
  const { t, permuted, untrained } = replication;
  const above = (draws: Float64Array) =>
    (1 + draws.filter((draw) => draw >= t).length) / (1 + draws.length);
  const [byLabels, byTraining] = [above(permuted), above(untrained)];
  const title = byLabels >= 0.05
    ? `The interaction in K ${pair.k.top} does not come back in new frames`
    : byTraining >= 0.05
    ? `The interaction in K ${pair.k.top} comes back, but in untrained machines as well`
    : `The interaction in K ${pair.k.top} comes back in new frames, and training made it`;
  return nullDistribution([
    { name: `${permuted.length} permutations of the labels`, draws: permuted },
    { name: `${untrained.length} untrained machines`, draws: untrained },
  ], {
    title,
    caption:
      `"${design.name}": t of the interaction contrast on confirmation frames, positive where ` +
      "it has the sign of the selection frames, in the K with the largest one there. Each draw repeats " +
      "the choice of K.",
    observed: t,
    x: "t of the interaction, signed by the selection frames",
  });
}

/**
 * One row a measure: effects with intervals, p of the interaction alone and adjusted, and what may be
 * said of it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { designTable, factorialTest } from "interlens";
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
 * const shown = designTable([measure], "Factors that multiply.");
 * assertEquals([shown.cells[0][0], shown.cells[0].at(-1)], ["Top K", test.kind]);
 * ```
 *
 * @param measures Of an analysis.
 * @param caption What they are of.
 */
export function designTable(measures: readonly DesignMeasure[], caption: string): Table {
  const effect = ({ estimate, low, high }: { estimate: number; low: number; high: number }) =>
    `${signed(estimate)} [${signed(low)}, ${signed(high)}]`;
  return table(
    measures.map(({ name, test, adjustedP }) => ({
      measure: name,
      "effect of A": effect(test.factorA),
      "effect of B": effect(test.factorB),
      "interaction": effect(test.interaction),
      "p": pText(test.interaction.p),
      "p, max-T": pText(adjustedP),
      verdict: test.kind,
    })),
    { caption },
  );
}

/**
 * The vector contrasts of a design as a table: size of each effect, and how likely chance gives it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { vectorTable } from "interlens";
 *
 * const effect = { T: 4, norm: 2, share: 0.5, p: 0.01 };
 * const test = { factorA: effect, factorB: effect, interaction: effect };
 * const shown = vectorTable({
 *   vectors: { residual: test, linear: test, interaction: test, untrained: test },
 * });
 * assertEquals(shown.cells.map(([vector]) => vector)[0], "residual stream");
 * ```
 *
 * @param analysis Of `analyseDesign`.
 */
export function vectorTable({ vectors }: Pick<DesignAnalysis, "vectors">): Table {
  const words = {
    residual: "residual stream",
    linear: "linear term of the NFM",
    interaction: "interaction term of the NFM",
    untrained: "interaction term, untrained NFM",
  };
  return table(
    Object.entries(vectors).map(([key, { factorA, factorB, interaction }]) => ({
      vector: words[key as keyof typeof words],
      "‖A‖": factorA.norm,
      "‖B‖": factorB.norm,
      "‖interaction‖": interaction.norm,
      "p, A": pText(factorA.p),
      "p, B": pText(factorB.p),
      "p, interaction": pText(interaction.p),
      "common share": interaction.share,
    })),
    {
      caption:
        "Contrasts as vectors over all frames: unbiased norms of the mean contrast, one-sided p " +
        "by changes of signs; the share of the frames' contrasts that they have in common",
      digits: 3,
    },
  );
}

/** Three significant digits, also of small numbers. */
const signed = (value: number) =>
  `${value < 0 ? "−" : "+"}${formatNumber(Number(Math.abs(value).toPrecision(3)), 6)}`;
const pText = (p: number) => p < 0.001 ? "< 0.001" : formatNumber(Number(p.toPrecision(2)), 4);
