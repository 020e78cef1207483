/**
 * Two factors at two levels as two lines: parallel is additive, not parallel is an interaction.
 *
 * @module
 */
import type { Annotations, Data, Layout, LayoutAxis } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, DASHES, SYMBOLS, THEME } from "../theme.ts";
import { summary } from "./box_points.ts";
import {
  axisOf,
  CELLS,
  type ConditionCells,
  type ConditionMeasure,
  type ConditionOptions,
  contrastText,
  framesOf,
  rangeOf,
} from "./conditions.ts";
import { refuseEmpty, shortened, titled } from "./options.ts";

/** A panel of an interaction plot; it may have levels of its own. */
export interface InteractionPanel extends ConditionMeasure {
  /** Names of the levels, high then low. Default: those of the options. */
  levels?: ConditionOptions["levels"];
}

/** How the lines of two factors are drawn. */
export interface InteractionPlotOptions extends ConditionOptions {
  /**
   * Index i of each cell is the same frame, so what frames differ in is taken out of the intervals.
   * Default true; false for cells of different items.
   */
  crossed?: boolean;
}

/**
 * A panel for each measure: over the level of B (low, then high) one line for each level of A, means
 * with their 95 % intervals within frames (Cousineau 2005, corrected by Morey 2008). A ring marks where both factors together would be if their
 * effects added; the title states the contrast with its p.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { interactionPlot } from "interlens";
 *
 * const chart = interactionPlot([{
 *   name: "logit of the answer",
 *   cells: { a1b1: [5, 5.2], a1b0: [1, 1.2], a0b1: [1, 1.1], a0b0: [0, 0.1] },
 * }], {
 *   title: "Both together do more than each",
 *   caption: "Two frames in four conditions.",
 *   levels: { a: ["familiar", "strange"], b: ["approach", "leave"] },
 * });
 * assertEquals((chart.json.data[2].y as number[])[0].toFixed(2), "2.10"); // 1.1 + 1.05 - 0.05
 * ```
 *
 * @param panels The measures, from left to right.
 * @param options Words and names of the levels.
 * @throws {RangeError} If there is no measure, or one has not the same frames in all cells.
 */
export function interactionPlot(
  panels: readonly InteractionPanel[],
  options: InteractionPlotOptions,
): Figure {
  refuseEmpty("an interaction plot", panels.length);
  panels.forEach(framesOf);
  const floor = options.noiseFloor ?? 1e-4;
  const [factorA, factorB] = options.factors ?? ["", ""];
  const gap = panels.length > 2 ? 0.1 : 0.12;
  const width = (1 - gap * (panels.length - 1)) / panels.length;
  const axes: Record<string, Partial<LayoutAxis>> = {};
  const annotations: Partial<Annotations>[] = [];
  const traces = panels.flatMap((panel, i): Data[] => {
    const suffix = i === 0 ? "" : `${i + 1}`;
    const { range, ...axis } = axisOf(panel, floor);
    // The panel's title has the name.
    axis.title = { text: panel.unit ?? panel.name };
    const { a, b } = panel.levels ?? options.levels;
    const domain: [number, number] = [i * (width + gap), i * (width + gap) + width];
    axes[`xaxis${suffix}`] = {
      domain,
      anchor: `y${suffix}` as LayoutAxis["anchor"],
      title: { text: factorB },
      range: [-0.25, 1.25 + 0.25 * Math.min(2, panels.length)],
      tickvals: [0, 1],
      ticktext: [b[1], b[0]].map((name) => shortened(name, Math.floor(44 / panels.length))),
      ticks: "",
      showgrid: false,
    };
    axes[`yaxis${suffix}`] = {
      anchor: `x${suffix}` as LayoutAxis["anchor"],
      // Means with their intervals are closer together than the values; what varies finds its own.
      ...axis,
      ...(rangeOf(panel, floor).varies ? {} : { range }),
    };
    const characters = Math.floor(96 / panels.length);
    annotations.push({
      text: wrapAtCommas(
        [panel.name, contrastText(panel, floor)].filter(Boolean).join(": "),
        characters,
      ),
      xref: "paper",
      x: domain[0],
      xanchor: "left",
      yref: "paper",
      y: 1,
      yanchor: "bottom",
      align: "left",
      showarrow: false,
      font: { size: 12, color: THEME.ink },
    });
    return panelTraces(panel, { axis: suffix, a, b, factorA, crossed: options.crossed ?? true });
  });
  const frame = titled(options, true);
  const layout: Partial<Layout> = {
    ...frame,
    ...axes,
    annotations: annotations as Layout["annotations"],
    height: options.height ?? 440,
    margin: { ...frame.margin, t: frame.margin!.t! + 36, b: factorB ? 62 : 42 },
    showlegend: true,
    // Above the titles of the panels.
    legend: { y: 1.14 },
  };
  return figure(traces, layout, options);
}

function panelTraces(
  panel: InteractionPanel,
  { axis, a, b, factorA, crossed }: {
    axis: string;
    a: readonly [string, string];
    b: readonly [string, string];
    factorA: string;
    crossed: boolean;
  },
): Data[] {
  const on = { xaxis: `x${axis}`, yaxis: `y${axis}` };
  const cells = crossed ? withinFrames(panel.cells) : panel.cells;
  const mean = (values: ArrayLike<number>) => summary(panel.name, values).mean;
  const aboveIsHigh = mean(cells.a1b1) >= mean(cells.a0b1);
  const lines = [
    { level: a[0], style: 1, cells: [cells.a1b0, cells.a1b1], shift: 0.015, above: aboveIsHigh },
    { level: a[1], style: 0, cells: [cells.a0b0, cells.a0b1], shift: -0.015, above: !aboveIsHigh },
  ].map(({ level, style, cells, shift, above }): Data => {
    const means = cells.map((values, i) => summary(`${level}, ${b[1 - i]}`, values));
    const color = COLORS[style];
    return {
      type: "scatter",
      mode: "text+lines+markers",
      ...on,
      name: level,
      showlegend: false,
      x: [shift, 1 + shift],
      y: means.map(({ mean }) => mean),
      // The line names itself, so that no legend is needed.
      text: ["", shortened(factorA ? `${factorA}: ${level}` : level, 24)],
      textposition: above ? "top right" : "bottom right",
      textfont: { color, size: 12 },
      line: { color, width: 2.5, dash: DASHES[style] },
      marker: { color, size: 9, symbol: SYMBOLS[style] },
      error_y: {
        type: "data",
        array: means.map(({ half }) => half),
        color,
        thickness: 1.5,
        width: 5,
      },
      hovertext: means.map(({ name, mean, half, count }) =>
        `${name}: ${formatNumber(mean)} [${formatNumber(mean - half)}, ${
          formatNumber(mean + half)
        }], n = ${count}`
      ),
      hovertemplate: "%{hovertext}<extra></extra>",
      cliponaxis: false,
    } as Data;
  });
  const additive = mean(cells.a1b0) + mean(cells.a0b1) - mean(cells.a0b0);
  const ring: Data = {
    type: "scatter",
    mode: "markers",
    ...on,
    name: "where both together would be if their effects added",
    showlegend: axis === "",
    x: [1],
    y: [additive],
    marker: { symbol: "circle-open", size: 17, color: THEME.ink, line: { width: 2 } },
    hovertemplate: "if the effects added: <b>%{y:.4~g}</b><extra></extra>",
  } as Data;
  return [...lines, ring];
}

/** Breaks before the contrast, where the title of a panel is too long for one line. */
function wrapAtCommas(text: string, characters: number): string {
  return text.length <= characters ? text : text.replace(": contrast", ":\ncontrast");
}

/**
 * Cells without what frames differ in: their means stay, and their spread is that within frames, times
 * √(4/3) for the mean that was taken out.
 */
export function withinFrames(cells: ConditionCells): ConditionCells {
  const values = CELLS.map((cell) => Array.from(cells[cell]));
  const means = values.map((cell) => cell.reduce((sum, x) => sum + x / cell.length, 0));
  const grand = means.reduce((sum, mean) => sum + mean / 4, 0);
  const frame = values[0].map((_, i) => values.reduce((sum, cell) => sum + cell[i] / 4, 0));
  const [a1b1, a1b0, a0b1, a0b0] = values.map((cell, c) =>
    cell.map((x, i) => means[c] + Math.sqrt(4 / 3) * (x - frame[i] + grand - means[c]))
  );
  return { a1b1, a1b0, a0b1, a0b0 };
}
