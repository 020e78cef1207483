/**
 * How often something is found, against how strong it is.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, DASHES, SYMBOLS, THEME } from "../theme.ts";
import { type ChartOptions, logAxis, refuseEmpty, titled } from "./options.ts";

/** Detections of one method over strengths. */
export interface PowerSeries {
  /** What was looked for, or how. */
  name: string;
  /** Strengths of what was planted; 0 is a world without. */
  strength: ArrayLike<number>;
  /** How many of the trials found it, as many values as strengths. */
  detected: ArrayLike<number>;
  /** Number of trials, for all strengths or for each. */
  trials: number | ArrayLike<number>;
}

/** How power is drawn. */
export interface PowerOptions extends ChartOptions {
  /** Rate at which a test that holds its level finds what is not there. Default 0.05. */
  falsePositives?: number;
  /** Logarithmic strengths; a strength of 0 is not shown then. Default false. */
  logX?: boolean;
}

/**
 * Detection rates with Wilson's 95 % intervals, over a dotted line at the rate of false positives.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { powerCurve } from "interlens";
 *
 * const chart = powerCurve([{
 *   name: "pairs found",
 *   strength: [0, 0.3, 1],
 *   detected: [1, 9, 20],
 *   trials: 20,
 * }], {
 *   title: "Strong pairs are found, weak ones half of the time",
 *   caption: "20 worlds a strength.",
 *   x: "Strength β",
 * });
 * assertEquals(chart.json.data[0].y, [5, 45, 100]);
 * ```
 *
 * @param series The methods.
 * @param options Words and axes.
 * @throws {RangeError} If there is no series, its lengths differ, or more was found than tried.
 */
export function powerCurve(series: readonly PowerSeries[], options: PowerOptions): Figure {
  refuseEmpty("a power curve", series.length);
  const { falsePositives = 0.05, logX = false } = options;
  const traces = series.map((curve, i): Data => {
    const points = pointsOf(curve);
    const color = COLORS[i % COLORS.length];
    return {
      type: "scatter",
      mode: "lines+markers",
      name: curve.name,
      x: points.map(({ strength }) => strength),
      y: points.map(({ rate }) => 100 * rate),
      line: { color, width: 2, dash: DASHES[i % DASHES.length] },
      marker: { color, size: 8, symbol: SYMBOLS[i % SYMBOLS.length] },
      error_y: {
        type: "data",
        symmetric: false,
        array: points.map(({ rate, high }) => 100 * (high - rate)),
        arrayminus: points.map(({ rate, low }) => 100 * (rate - low)),
        color,
        thickness: 1.5,
        width: 4,
      },
      text: points.map(({ strength, detected, trials, low, high }) =>
        `${curve.name}, ${formatNumber(strength)}: ${formatNumber(detected)} of ${
          formatNumber(trials)
        } [${(100 * low).toFixed(0)} %, ${(100 * high).toFixed(0)} %]`
      ),
      hovertemplate: "%{text}<extra></extra>",
    } as Data;
  });
  const layout: Partial<Layout> = {
    ...titled(options, series.length > 1),
    height: options.height ?? 400,
    showlegend: series.length > 1,
    xaxis: {
      title: { text: options.x ?? "Strength" },
      ...(logX ? logAxis(series.flatMap(({ strength }) => Array.from(strength)), true) : {}),
    },
    yaxis: { title: { text: options.y ?? "Found (% of trials)" }, range: [-2, 103] },
    shapes: [{
      type: "line",
      xref: "paper",
      x0: 0,
      x1: 1,
      y0: 100 * falsePositives,
      y1: 100 * falsePositives,
      line: { color: THEME.quiet, dash: "dot", width: 1.5 },
    }],
    annotations: [{
      text: `${formatNumber(100 * falsePositives)} % false positives`,
      xref: "paper",
      x: 1,
      xanchor: "right",
      y: 100 * falsePositives,
      yanchor: "bottom",
      showarrow: false,
      font: { color: THEME.quiet, size: 12 },
    }],
  };
  return figure(traces, layout, options);
}

function pointsOf({ name, strength, detected, trials }: PowerSeries) {
  const counts = typeof trials === "number" ? Array(strength.length).fill(trials) : trials;
  if (strength.length !== detected.length || counts.length !== strength.length) {
    throw new RangeError(
      `Cannot draw "${name}" of ${strength.length} strengths, ${detected.length} detections and ` +
        `${counts.length} trials: expected as many of each`,
    );
  }
  refuseEmpty(`the power curve "${name}"`, strength.length);
  return Array.from(strength, (value, i) => {
    const found = detected[i];
    const all: number = counts[i];
    if (!(found >= 0 && found <= all && all > 0)) {
      throw new RangeError(
        `Cannot draw "${name}": ${found} of ${all} trials are no share, at strength ${value}`,
      );
    }
    return {
      strength: value,
      detected: found,
      trials: all,
      rate: found / all,
      ...wilson(found, all),
    };
  });
}

/** The interval of Wilson (1927) for a share, which stays within 0 and 1. */
export function wilson(found: number, trials: number): { low: number; high: number } {
  const z = 1.959964;
  const rate = found / trials;
  const middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials);
  const half = z * Math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2) /
    (1 + z * z / trials);
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}
