/**
 * The panels of a 2×2 design: for each measure its four conditions, and beside them the main effects.
 *
 * @module
 */
import type { Annotations, Layout, LayoutAxis } from "plotly.js";
import { type Figure, figure, wrap } from "../figure.ts";
import { THEME } from "../theme.ts";
import { groupTraces, type ValueGroup } from "./box_points.ts";
import {
  axisOf,
  CELLS,
  type ConditionMeasure,
  type ConditionOptions,
  contrastText,
  framesOf,
} from "./conditions.ts";
import { refuseEmpty, shortened, titled } from "./options.ts";

/** How the panels are laid out. */
export interface ConditionPanelsOptions extends ConditionOptions {
  /** A measure is a row of two panels (3 × 2) or a column of two (2 × 3). Default `"rows"`. */
  measures?: "rows" | "columns";
}

/** Pixels between panels: a title of two lines and the names of conditions of two. */
const GAP = 84;
const PANEL = 190;

/**
 * For each measure a panel of the four conditions and one of the main effects (means over the other
 * factor, frame by frame): points, box, and the mean with its 95 % interval. Values keep their sign.
 * Each title states the interaction contrast with its p; a measure that does not vary says so and is
 * drawn from zero.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { conditionPanels } from "interlens";
 *
 * const chart = conditionPanels([{
 *   name: "feature 140",
 *   unit: "activation",
 *   cells: { a1b1: [3, 3.2], a1b0: [2, 2.1], a0b1: [1, 1.2], a0b0: [0, 0.1] },
 *   test: { interaction: { estimate: 0, low: -0.1, high: 0.1, p: 1 }, kind: "none" },
 * }], {
 *   title: "The two factors add",
 *   caption: "Two frames in four conditions.",
 *   levels: { a: ["Paris", "dash"], b: ["folk", "released"] },
 * });
 * assertEquals(Object.keys(chart.json.layout).filter((key) => key.startsWith("yaxis")).length, 2);
 * ```
 *
 * @param measures The measures, each with its cells and its test.
 * @param options Words, names of the levels, layout.
 * @throws {RangeError} If there is no measure, or one has not the same frames in all cells.
 */
export function conditionPanels(
  measures: readonly ConditionMeasure[],
  options: ConditionPanelsOptions,
): Figure {
  refuseEmpty("panels of conditions", measures.length);
  measures.forEach(framesOf);
  const inRows = (options.measures ?? "rows") === "rows";
  const rows = inRows ? measures.length : 2;
  const columns = inRows ? 2 : measures.length;
  const height = options.height ?? rows * (PANEL + GAP) - GAP / 2 + 34;
  const plot = height - 34;
  const row = (index: number): [number, number] => {
    const top = 1 - index * (PANEL + GAP) / (rows * (PANEL + GAP) - GAP);
    return [Math.max(0, top - PANEL / (rows * (PANEL + GAP) - GAP)), top];
  };
  const column = (index: number): [number, number] => {
    if (inRows) return index === 0 ? [0, 0.53] : [0.6, 1];
    const gap = 0.09;
    const width = (1 - gap * (columns - 1)) / columns;
    return [index * (width + gap), index * (width + gap) + width];
  };
  const floor = options.noiseFloor ?? 1e-4;
  const letters = inRows ? 15 : Math.floor(36 / columns);
  const [conditions, effects] = labels(options, letters);
  const axes: Record<string, Partial<LayoutAxis>> = {};
  const annotations: Partial<Annotations>[] = [];
  const traces = measures.flatMap((measure, m) =>
    [0, 1].flatMap((side) => {
      const index = 2 * m + side;
      const axis = index === 0 ? "" : `${index + 1}`;
      const first = 2 * m === 0 ? "" : `${2 * m + 1}`;
      const names = side === 0 ? conditions : effects;
      const [vertical, horizontal] = inRows ? [row(m), column(side)] : [row(side), column(m)];
      axes[`xaxis${axis}`] = {
        domain: horizontal,
        anchor: `y${axis}` as LayoutAxis["anchor"],
        range: [-0.5, 3.6],
        tickvals: [0, 1, 2, 3],
        ticktext: names,
        tickfont: { size: inRows ? 11 : 10 },
        tickangle: 0,
        ticks: "",
        showgrid: false,
      };
      axes[`yaxis${axis}`] = {
        domain: vertical,
        anchor: `x${axis}` as LayoutAxis["anchor"],
        ...axisOf(measure, floor),
        nticks: 6,
        // One scale for both panels: a main effect is not enlarged against its conditions.
        ...(side === 1 ? { matches: `y${first}` as LayoutAxis["matches"] } : {}),
        ...(side === 1 && inRows ? { title: { text: "" }, showticklabels: false } : {}),
      };
      const text = side === 1
        ? "Main effects"
        : [shortened(measure.name, inRows ? 60 : 34), contrastText(measure, floor)]
          .filter(Boolean).join(inRows ? ": " : "\n");
      const lines = wrap(text, inRows ? 84 : Math.floor(108 / columns));
      annotations.push({
        text: lines.join("\n"),
        xref: "paper",
        x: horizontal[0],
        xanchor: "left",
        yref: "paper",
        y: vertical[1],
        yanchor: "bottom",
        align: "left",
        showarrow: false,
        font: { size: 12, color: side === 1 ? THEME.quiet : THEME.ink },
      });
      const groups = side === 0 ? conditionGroups(measure, names) : effectGroups(measure, names);
      const styles = side === 0 ? [0, 1, 2, 3] : [4, 4, 5, 5];
      return groupTraces(groups, { axis, styles, item: "frame" });
    })
  );
  const frame = titled(options, true);
  const layout: Partial<Layout> = {
    ...frame,
    ...axes,
    annotations: annotations as Layout["annotations"],
    height: plot + frame.margin!.t! + (inRows ? 50 : 74),
    margin: { ...frame.margin, t: frame.margin!.t! + (inRows ? 0 : 24), b: 56 },
    showlegend: false,
  };
  return figure(traces, layout, options);
}

/** Names of the conditions and of the levels, on two lines where both factors are named. */
function labels({ levels, factors }: ConditionOptions, letters: number): [string[], string[]] {
  const [a, b] = [levels.a, levels.b].map((pair) => pair.map((name) => shortened(name, letters)));
  const [factorA, factorB] = factors ?? ["A", "B"];
  return [
    [`${a[0]}\n${b[0]}`, `${a[0]}\n${b[1]}`, `${a[1]}\n${b[0]}`, `${a[1]}\n${b[1]}`],
    [
      `${factorA}:\n${a[0]}`,
      `${factorA}:\n${a[1]}`,
      `${factorB}:\n${b[0]}`,
      `${factorB}:\n${b[1]}`,
    ],
  ];
}

function conditionGroups({ cells }: ConditionMeasure, names: readonly string[]): ValueGroup[] {
  return CELLS.map((cell, i) => ({
    name: names[i].replace("\n", " × "),
    values: cells[cell],
  }));
}

/** Frame by frame, the mean over the other factor. */
function effectGroups({ cells }: ConditionMeasure, names: readonly string[]): ValueGroup[] {
  const { a1b1, a1b0, a0b1, a0b0 } = cells;
  const sides = [[a1b1, a1b0], [a0b1, a0b0], [a1b1, a0b1], [a1b0, a0b0]];
  return sides.map(([first, second], i) => ({
    name: names[i].replace("\n", " "),
    values: Array.from(first, (value, frame) => (value + second[frame]) / 2),
  }));
}
