/**
 * How values are distributed.
 *
 * @module
 */
import type { Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, THEME } from "../theme.ts";
import { type ChartOptions, logAxis, refuseEmpty, titled } from "./options.ts";

/** How a histogram is drawn. */
export interface HistogramOptions extends ChartOptions {
  /** Number of bins of equal width, 1 to 1000. Default 50. */
  bins?: number;
  /** Bins of equal ratio on a logarithmic axis; values that are not positive are counted apart. */
  logX?: boolean;
  /** Logarithmic counts. Default false. */
  logY?: boolean;
  /** Positions to mark with a dotted line. */
  marks?: readonly { at: number; label: string }[];
}

/**
 * A histogram. Only the counts are stored, so its size does not grow with the values. What is not
 * finite, or not positive on a logarithmic axis, is counted in the axis label.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { histogram } from "interlens";
 *
 * const chart = histogram([0, 0.1, 0.9, 1], {
 *   title: "Values gather at both ends",
 *   caption: "Four values.",
 *   x: "Value",
 *   bins: 2,
 * });
 * assertEquals(chart.json.data[0].x, [0, 0.5, 1]);
 * assertEquals(chart.json.data[0].y, [2, 2, 2]); // the last step closes the outline
 * ```
 *
 * @param values The values.
 * @param options Words, bins and axes.
 * @throws {RangeError} If no value can be shown, or the number of bins is not 1 to 1000.
 */
export function histogram(values: ArrayLike<number>, options: HistogramOptions): Figure {
  const { bins = 50, logX = false, marks = [] } = options;
  if (!(Number.isInteger(bins) && bins >= 1 && bins <= 1000)) {
    throw new RangeError(`Cannot draw ${bins} bins: expected a whole number from 1 to 1000`);
  }
  const shown = Array.from(values).filter((v) => Number.isFinite(v) && !(logX && v <= 0));
  refuseEmpty("a histogram", shown.length);
  const { edges, counts } = binned(logX ? shown.map(Math.log10) : shown, bins);
  const positions = logX ? edges.map((edge) => 10 ** edge) : edges;

  const aside = values.length - shown.length;
  const kind = logX ? "not positive" : "not finite";
  const suffix = aside ? ` (${formatNumber(aside)} of ${formatNumber(values.length)} ${kind})` : "";
  const frame = titled(options, marks.length > 0);
  const layout: Partial<Layout> = {
    ...frame,
    height: options.height ?? 380,
    showlegend: false,
    xaxis: {
      title: { text: (options.x ?? "") + suffix },
      ...(logX ? logAxis(positions) : {}),
    },
    yaxis: {
      title: { text: options.y ?? "Count" },
      ...(options.logY ? logAxis([1, ...counts]) : { rangemode: "tozero" }),
    },
    shapes: marks.map(({ at }) => ({
      type: "line",
      x0: at,
      x1: at,
      yref: "paper",
      y0: 0,
      y1: 1,
      line: { color: THEME.ink, dash: "dot", width: 1.5 },
    })),
    annotations: marks.map(({ at, label }) => ({
      text: label,
      // An annotation on a logarithmic axis is placed at the logarithm, unlike a shape.
      x: logX ? Math.log10(at) : at,
      y: 1,
      yref: "paper",
      yanchor: "bottom",
      showarrow: false,
      font: { size: 12, color: THEME.ink },
    })),
  };
  return figure(
    [{
      type: "scatter",
      mode: "lines",
      x: positions,
      y: [...counts, counts[bins - 1]],
      line: { shape: "hv", color: COLORS[0], width: 1.5 },
      fill: "tozeroy",
      fillcolor: `${COLORS[0]}55`,
      text: counts.map((count, i) =>
        `${formatNumber(positions[i])} to ${formatNumber(positions[i + 1])}: ${formatNumber(count)}`
      ),
      hovertemplate: "%{text}<extra></extra>",
    }],
    layout,
    options,
  );
}

function binned(values: number[], bins: number): { edges: number[]; counts: number[] } {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const width = (high - low) / bins;
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / width))]++;
  return { edges: Array.from({ length: bins + 1 }, (_, i) => low + i * width), counts };
}
