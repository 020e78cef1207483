/**
 * Values along an axis: lines with optional bands, and the course of a training.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { COLORS, DASHES, SYMBOLS } from "../theme.ts";
import { type ChartOptions, logAxis, refuseEmpty, titled } from "./options.ts";

/** One line. */
export interface Series {
  /** Its name in the legend. */
  name: string;
  /** Positions; the same count as `y`. */
  x: ArrayLike<number>;
  /** Values; NaN leaves a gap. */
  y: ArrayLike<number>;
  /** Lower ends of an interval about the values. */
  low?: ArrayLike<number>;
  /** Upper ends of an interval about the values. */
  high?: ArrayLike<number>;
}

/** How lines are drawn. */
export interface LinesOptions extends ChartOptions {
  /** Logarithmic horizontal axis. Default false. */
  logX?: boolean;
  /** Logarithmic vertical axis. Default false. */
  logY?: boolean;
  /** Marks at the points. Default: where a line has at most 30 of them. */
  markers?: boolean;
}

/**
 * Lines, each with its colour, dash and marker, and a band where it has an interval.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { lines } from "interlens";
 *
 * const chart = lines([{ name: "held out", x: [8, 16, 32], y: [0.5, 0.4, 0.35] }], {
 *   title: "More active features explain more",
 *   caption: "Fraction of variance unexplained on held-out documents.",
 *   x: "Active features per token",
 *   y: "FVU",
 * });
 * assertEquals(chart.json.data[0].y, [0.5, 0.4, 0.35]);
 * ```
 *
 * @param series The lines.
 * @param options Words and axes.
 * @throws {RangeError} If there is no line, one has not as many positions as values, or no values.
 */
export function lines(series: readonly Series[], options: LinesOptions): Figure {
  refuseEmpty("lines", series.length);
  const traces = series.flatMap((line, i) => seriesTraces(line, i, options));
  const legend = series.length > 1;
  const layout: Partial<Layout> = {
    ...titled(options, legend),
    height: options.height ?? 400,
    showlegend: legend,
    xaxis: {
      title: { text: options.x ?? "" },
      ...(options.logX ? logAxis(series.flatMap((line) => Array.from(line.x)), true) : {}),
    },
    yaxis: {
      title: { text: options.y ?? "" },
      ...(options.logY ? logAxis(series.flatMap(({ y }) => Array.from(y))) : {}),
    },
  };
  return figure(traces, layout, options);
}

function seriesTraces(line: Series, index: number, options: LinesOptions): Data[] {
  if (line.x.length !== line.y.length) {
    throw new RangeError(
      `Cannot draw the line "${line.name}" of ${line.x.length} positions and ${line.y.length} ` +
        `values: expected as many of both`,
    );
  }
  if (!Array.from(line.y).some(Number.isFinite)) {
    throw new RangeError(`Cannot draw the line "${line.name}": none of its values is a number`);
  }
  const color = COLORS[index % COLORS.length];
  const x = Array.from(line.x);
  const traces: Data[] = [];
  if (line.low && line.high) {
    traces.push({
      type: "scatter",
      mode: "lines",
      x: [...x, ...x.toReversed()],
      y: [...Array.from(line.high), ...Array.from(line.low).reverse()],
      fill: "toself",
      fillcolor: `${color}33`,
      line: { width: 0 },
      hoverinfo: "skip",
      showlegend: false,
      legendgroup: `${index}`,
    });
  }
  const markers = options.markers ?? x.length <= 30;
  traces.push({
    type: "scatter",
    mode: markers ? "lines+markers" : "lines",
    name: line.name,
    x,
    y: Array.from(line.y),
    line: { color, width: 2, dash: DASHES[index % DASHES.length] },
    ...(markers ? { marker: { color, size: 7, symbol: SYMBOLS[index % SYMBOLS.length] } } : {}),
    hovertemplate: "%{x:,}: <b>%{y:.4~g}</b>",
    legendgroup: `${index}`,
  });
  return traces;
}

/** How the course of a training is drawn. */
export interface LossOptions extends LinesOptions {
  /** Which numbers of the history to draw. Default: all but the step. */
  series?: readonly string[];
}

/**
 * The course of a training: numbers against steps, logarithmic by default where all are positive.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { lossCurves } from "interlens";
 *
 * const chart = lossCurves([{ step: 0, loss: 1 }, { step: 100, loss: 0.2 }], {
 *   title: "The loss has settled",
 *   caption: "Mean squared error over training batches.",
 *   y: "Loss",
 * });
 * assertEquals(chart.json.data[0].x, [0, 100]);
 * ```
 *
 * @param history One entry a step that was recorded; a number that is missing leaves a gap.
 * @param options Words, axes, and which numbers.
 * @throws {RangeError} If the history is empty or holds no such numbers.
 */
export function lossCurves(
  history: readonly { step: number; [name: string]: number | undefined }[],
  options: LossOptions,
): Figure {
  refuseEmpty("the course of a training", history.length);
  const names = options.series ??
    [...new Set(history.flatMap(Object.keys))].filter((name) => name !== "step");
  const series = names.map((name): Series => {
    const rows = history.filter((row) => row[name] !== undefined);
    if (rows.length === 0) {
      throw new RangeError(
        `Cannot draw "${name}": the history has only ${
          [...new Set(history.flatMap(Object.keys))].map((n) => `"${n}"`).join(", ")
        }`,
      );
    }
    return { name, x: rows.map((row) => row.step), y: rows.map((row) => row[name]!) };
  });
  const positive = series.every((line) => Array.from(line.y).every((value) => !(value <= 0)));
  return lines(series, { x: "Step", logY: positive, markers: false, ...options });
}
