/**
 * Estimates below each other, each with its interval.
 *
 * @module
 */
import type { Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, THEME } from "../theme.ts";
import { type ChartOptions, labelWidth, refuseEmpty, shortened, titled } from "./options.ts";

/** An estimate. */
export interface Estimate {
  /** What was estimated. */
  name: string;
  /** The estimate. */
  value: number;
  /** Lower end of its interval. */
  low?: number;
  /** Upper end of its interval. */
  high?: number;
}

/** How a ladder is drawn. */
export interface LadderOptions extends ChartOptions {
  /** A value to compare with, drawn as a dotted line. */
  reference?: { value: number; label: string };
}

/**
 * A ladder: one row an estimate, a point with its interval, the first row on top.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ladder } from "interlens";
 *
 * const chart = ladder([
 *   { name: "linear", value: 12.1, low: 11.8, high: 12.4 },
 *   { name: "linear and pairs", value: 9.6, low: 9.2, high: 10.1 },
 * ], {
 *   title: "Pairs explain what single features do not",
 *   caption: "Error on held-out documents, with 95 % intervals over documents.",
 *   x: "Error (% of the squared norm)",
 * });
 * assertEquals(chart.json.data[0].x, [12.1, 9.6]);
 * ```
 *
 * @param rows The estimates, from top to bottom.
 * @param options Words, axis and reference.
 * @throws {RangeError} If there is no row.
 */
export function ladder(rows: readonly Estimate[], options: LadderOptions): Figure {
  refuseEmpty("a ladder", rows.length);
  const names = rows.map((row) => shortened(row.name));
  const { reference } = options;
  const frame = titled(options, reference !== undefined);
  const layout: Partial<Layout> = {
    ...frame,
    height: options.height ?? (frame.margin!.t! + 68 + 20 + 38 * rows.length),
    margin: { ...frame.margin, l: 24 + labelWidth(names) },
    showlegend: false,
    xaxis: { title: { text: options.x ?? "" } },
    yaxis: {
      // Positions and not names: two rows of one name must stay two rows.
      tickvals: rows.map((_, i) => i),
      ticktext: names,
      range: [rows.length - 0.5, -0.5],
      showgrid: false,
      ticks: "",
    },
    shapes: reference && [{
      type: "line",
      xref: "x",
      x0: reference.value,
      x1: reference.value,
      yref: "paper",
      y0: 0,
      y1: 1,
      line: { color: THEME.quiet, dash: "dot", width: 1.5 },
    }],
    annotations: reference && [{
      text: reference.label,
      x: reference.value,
      y: 1,
      yref: "paper",
      yanchor: "bottom",
      showarrow: false,
      font: { color: THEME.quiet, size: 12 },
    }],
  };
  return figure(
    [{
      type: "scatter",
      mode: "markers",
      x: rows.map((row) => row.value),
      y: rows.map((_, i) => i),
      error_x: {
        type: "data",
        symmetric: false,
        array: rows.map((row) => (row.high ?? row.value) - row.value),
        arrayminus: rows.map((row) => row.value - (row.low ?? row.value)),
        color: COLORS[0],
        thickness: 2,
        width: 5,
      },
      marker: { color: COLORS[0], size: 11 },
      text: rows.map((row) => `${row.name}: ${formatNumber(row.value)}${interval(row)}`),
      hovertemplate: "%{text}<extra></extra>",
    }],
    layout,
    options,
  );
}

/** The interval of an estimate in words, empty if it has none. */
export function interval({ low, high }: Estimate): string {
  return low === undefined || high === undefined
    ? ""
    : ` [${formatNumber(low)}, ${formatNumber(high)}]`;
}
