/**
 * Groups of values: every value as a point, their box, and the interval of their mean.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, SYMBOLS, THEME } from "../theme.ts";
import { type ChartOptions, refuseEmpty, shortened, titled } from "./options.ts";

/** Values of one group. */
export interface ValueGroup {
  /** What they have in common. */
  name: string;
  /** The values; what is not finite is left out. */
  values: ArrayLike<number>;
}

/** How groups are drawn. */
export interface BoxPointsOptions extends ChartOptions {
  /** A value to compare with, drawn as a dotted line. */
  reference?: { value: number; label: string };
}

/** More points than this a group are thinned evenly by rank; box and mean are of all. */
const MOST_POINTS = 200;

/**
 * Groups side by side: all values as points, a box from the lower to the upper quartile with the
 * median (whiskers to the outermost value within 1.5 boxes), and the mean with its 95 % interval by
 * Student's t.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { boxPoints } from "interlens";
 *
 * const chart = boxPoints([
 *   { name: "planted", values: [0.9, 1, 1.1] },
 *   { name: "shuffled", values: [-0.1, 0, 0.1] },
 * ], {
 *   title: "The effect is gone where partners are shuffled",
 *   caption: "Effect of a pair, three seeds each.",
 *   y: "Effect (logits)",
 * });
 * assertEquals(chart.json.data.filter(({ type }) => type === "box").length, 1);
 * ```
 *
 * @param groups From left to right.
 * @param options Words, axes and reference.
 * @throws {RangeError} If there is no group, or one has no finite value.
 */
export function boxPoints(groups: readonly ValueGroup[], options: BoxPointsOptions): Figure {
  refuseEmpty("boxes", groups.length);
  const { reference } = options;
  const layout: Partial<Layout> = {
    ...titled(options, reference !== undefined),
    height: options.height ?? 400,
    showlegend: false,
    xaxis: {
      title: { text: options.x ?? "" },
      range: [-0.6, groups.length - 0.4],
      tickvals: groups.map((_, i) => i),
      ticktext: groups.map(({ name }) => shortened(name, Math.max(9, ~~(100 / groups.length)))),
      ticks: "",
      showgrid: false,
    },
    yaxis: { title: { text: options.y ?? "" }, zeroline: true },
    shapes: reference && [{
      type: "line",
      xref: "paper",
      x0: 0,
      x1: 1,
      y0: reference.value,
      y1: reference.value,
      line: { color: THEME.quiet, dash: "dot", width: 1.5 },
    }],
    annotations: reference && [{
      text: reference.label,
      xref: "paper",
      x: 1,
      xanchor: "right",
      y: reference.value,
      yanchor: "bottom",
      showarrow: false,
      font: { color: THEME.quiet, size: 12 },
    }],
  };
  return figure(groupTraces(groups), layout, options);
}

/** Which axes of a figure, and where on them. */
export interface Placement {
  /** Suffix of the axes, for example `"2"`. Default: none. */
  axis?: string;
  /** Position of the first group. Default 0. */
  from?: number;
  /** Index of the colour and the symbol of each group. Default: in order. */
  styles?: readonly number[];
  /** What a value is called in the hover label. Default `"value"`. */
  item?: string;
}

/** Traces of groups at positions from, from + 1, …: points, one trace of boxes, one of means. */
export function groupTraces(groups: readonly ValueGroup[], placement: Placement = {}): Data[] {
  const { axis = "", from = 0, item = "value" } = placement;
  const style = (g: number) => placement.styles?.[g] ?? g;
  const colorOf = (g: number) => COLORS[style(g) % COLORS.length];
  const symbolOf = (g: number) => SYMBOLS[style(g) % SYMBOLS.length];
  const on = { xaxis: `x${axis}`, yaxis: `y${axis}` };
  const summaries = groups.map(({ name, values }) => summary(name, values));
  const points = groups.map(({ name, values }, g): Data => {
    const shown = kept(values);
    return {
      type: "scatter",
      mode: "markers",
      name,
      ...on,
      // The golden ratio spreads any number of points without chance.
      x: shown.map((index) =>
        Number((from + g - 0.12 - 0.26 * ((index * 0.618034) % 1)).toFixed(3))
      ),
      y: shown.map((index) => values[index]),
      marker: { color: colorOf(g), size: 5, symbol: symbolOf(g), opacity: 0.55 },
      text: shown.map((index) => `${item} ${index}`),
      hovertemplate: `%{text}: <b>%{y:.4~g}</b><extra></extra>`,
    } as Data;
  });
  const at = groups.map((_, g) => from + g + 0.08);
  const boxes = {
    type: "box",
    ...on,
    x: at,
    q1: summaries.map(({ quartiles }) => quartiles[0]),
    median: summaries.map(({ quartiles }) => quartiles[1]),
    q3: summaries.map(({ quartiles }) => quartiles[2]),
    lowerfence: summaries.map(({ fences }) => fences[0]),
    upperfence: summaries.map(({ fences }) => fences[1]),
    width: 0.2,
    line: { color: THEME.ink, width: 1 },
    fillcolor: "rgba(128,128,128,0.12)",
    hoverinfo: "skip",
  };
  const means: Data = {
    type: "scatter",
    mode: "markers",
    ...on,
    x: groups.map((_, g) => from + g + 0.32),
    y: summaries.map(({ mean }) => mean),
    error_y: {
      type: "data",
      array: summaries.map(({ half }) => half),
      color: THEME.ink,
      thickness: 2,
      width: 4,
    },
    marker: {
      color: groups.map((_, g) => colorOf(g)),
      symbol: groups.map((_, g) => symbolOf(g)),
      size: 10,
      line: { color: THEME.ink, width: 1 },
    },
    text: summaries.map(({ name, mean, half, count }) =>
      `${name}: mean ${formatNumber(mean)}${
        count > 1 ? ` [${formatNumber(mean - half)}, ${formatNumber(mean + half)}]` : ""
      }, n = ${count}`
    ),
    hovertemplate: "%{text}<extra></extra>",
  } as Data;
  return [...points, boxes as unknown as Data, means];
}

/** What is drawn of a group beside its points. */
interface Summary {
  readonly name: string;
  readonly count: number;
  readonly mean: number;
  /** Half of the 95 % interval of the mean; 0 for one value. */
  readonly half: number;
  readonly quartiles: readonly [number, number, number];
  readonly fences: readonly [number, number];
}

/** Mean with its interval, quartiles and whiskers. */
export function summary(name: string, values: ArrayLike<number>): Summary {
  const sorted = Array.from(values).filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) {
    throw new RangeError(`Cannot draw the group "${name}": none of its values is a number`);
  }
  const count = sorted.length;
  const mean = sorted.reduce((sum, value) => sum + value / count, 0);
  const square = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const half = count > 1 ? tQuantile(count - 1) * Math.sqrt(square / (count - 1) / count) : 0;
  const quartiles = [0.25, 0.5, 0.75].map((q) => {
    const place = q * (count - 1);
    const low = sorted[Math.floor(place)];
    return low + (place % 1) * (sorted[Math.ceil(place)] - low);
  }) as [number, number, number];
  const reach = 1.5 * (quartiles[2] - quartiles[0]);
  const within = sorted.filter((v) => v >= quartiles[0] - reach && v <= quartiles[2] + reach);
  return { name, count, mean, half, quartiles, fences: [within[0], within[within.length - 1]] };
}

/**
 * The quantile 0.975 of Student's t: exact for 1 and 2 degrees of freedom, above that the expansion
 * of Cornish and Fisher (Abramowitz & Stegun 26.7.5), right to 0.005.
 */
export function tQuantile(freedom: number): number {
  if (freedom <= 1) return 12.7062;
  if (freedom <= 2) return 4.30265;
  const z = 1.959964;
  return z + (z ** 3 + z) / (4 * freedom) +
    (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2) +
    (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * freedom ** 3) +
    (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / (92160 * freedom ** 4);
}

/** Indices of the values that are drawn, in their order. */
function kept(values: ArrayLike<number>): number[] {
  const all = Array.from({ length: values.length }, (_, i) => i)
    .filter((i) => Number.isFinite(values[i]));
  if (all.length <= MOST_POINTS) return all;
  const ranked = all.toSorted((a, b) => values[a] - values[b]);
  return Array.from(
    { length: MOST_POINTS },
    (_, i) => ranked[Math.round(i * (all.length - 1) / (MOST_POINTS - 1))],
  ).sort((a, b) => a - b);
}
