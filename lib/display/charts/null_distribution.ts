/**
 * An observed number against what it would be if there were nothing to find.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, DASHES, THEME } from "../theme.ts";
import { pText } from "./conditions.ts";
import { type ChartOptions, refuseEmpty, shortened, titled } from "./options.ts";

/** Draws of a statistic under one null. */
export interface NullDraws {
  /** What the null is: "initial weights", "permuted labels". */
  name: string;
  /** The draws; what is not finite is left out. */
  draws: ArrayLike<number>;
}

/** How nulls are drawn. */
export interface NullOptions extends ChartOptions {
  /** The observed value, or several with their names. */
  observed: number | readonly { name: string; value: number }[];
  /** Which draws are as extreme as the observed value. Default `"upper"`. */
  tail?: "upper" | "lower" | "two-sided";
  /** Number of bins, 1 to 1000. Default 40. */
  bins?: number;
}

/**
 * Histograms of one or several nulls with the observed values as lines. The p of each observed value
 * against each null stands in its label: (1 + draws at least as extreme) / (1 + draws), two-sided
 * about the median of the null.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nullDistribution } from "interlens";
 *
 * const draws = Array.from({ length: 99 }, (_, i) => i / 99);
 * const chart = nullDistribution([{ name: "permuted labels", draws }], {
 *   title: "The effect is larger than chance",
 *   caption: "The effect against 99 permutations.",
 *   observed: 2,
 *   x: "Effect (logits)",
 * });
 * const [{ text }] = chart.json.layout.annotations as { text: string }[];
 * assertEquals(text, "observed 2<br>p = 0.01");
 * ```
 *
 * @param nulls The nulls.
 * @param options Words, what was observed, and which side counts.
 * @throws {RangeError} If there is no null or no observed value, or one is not finite.
 */
export function nullDistribution(nulls: readonly NullDraws[], options: NullOptions): Figure {
  refuseEmpty("null distributions", nulls.length);
  const { bins = 40, tail = "upper" } = options;
  if (!(Number.isInteger(bins) && bins >= 1 && bins <= 1000)) {
    throw new RangeError(`Cannot draw ${bins} bins: expected a whole number from 1 to 1000`);
  }
  const observed = typeof options.observed === "number"
    ? [{ name: "observed", value: options.observed }]
    : options.observed;
  refuseEmpty("an observed value", observed.length);
  for (const { name, value } of observed) {
    if (!Number.isFinite(value)) {
      throw new RangeError(`Cannot draw "${name}" = ${value}: expected a finite number`);
    }
  }
  const draws = nulls.map(({ name, draws }) => {
    const finite = Array.from(draws).filter(Number.isFinite);
    refuseEmpty(`the null "${name}"`, finite.length);
    return finite;
  });
  let [low, high] = [Infinity, -Infinity];
  for (const value of draws.flat()) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const step = (high - low) / bins;
  const edges = Array.from({ length: bins + 1 }, (_, i) => low + i * step);
  const traces = nulls.map(({ name }, i): Data => {
    const share = new Array<number>(bins).fill(0);
    for (const value of draws[i]) {
      share[Math.min(bins - 1, Math.floor((value - low) / step))] += 100 / draws[i].length;
    }
    const color = COLORS[i % COLORS.length];
    return {
      type: "scatter",
      mode: "lines",
      name: shortened(name),
      x: edges,
      y: [...share, share[bins - 1]],
      line: { shape: "hv", color, width: 1.5, dash: DASHES[i % DASHES.length] },
      fill: "tozeroy",
      fillcolor: `${color}33`,
      text: share.map((percent, bin) =>
        `${name}, ${formatNumber(edges[bin])} to ${formatNumber(edges[bin + 1])}: ` +
        `${formatNumber(percent, 3)} % of ${formatNumber(draws[i].length)}`
      ),
      hovertemplate: "%{text}<extra></extra>",
    } as Data;
  });
  const lines = observed.map(({ name, value }) => {
    const p = draws.map((sample) => pText(pOf(value, sample, tail)));
    const against = nulls.length === 1
      ? p[0]
      : p.map((text, i) => `${text}, ${shortened(nulls[i].name, 26)}`).join("\n");
    return `${name} ${value < 0 ? "−" : ""}${formatNumber(Math.abs(value))}\n${against}`;
  });
  const order = observed.map((_, i) => i).sort((i, j) => observed[i].value - observed[j].value);
  const labelHeight = 17 * (1 + nulls.length) + 10;
  const frame = titled(options, true);
  const outermost = Math.max(high, ...observed.map(({ value }) => value));
  const innermost = Math.min(low, ...observed.map(({ value }) => value));
  const pad = 0.03 * (outermost - innermost);
  const layout: Partial<Layout> = {
    ...frame,
    height: options.height ?? 360 + labelHeight * observed.length,
    margin: { ...frame.margin, t: frame.margin!.t! + (nulls.length > 1 ? 8 : -18) },
    showlegend: nulls.length > 1,
    xaxis: {
      title: { text: options.x ?? "" },
      range: [innermost - pad, outermost + pad],
      zeroline: true,
    },
    yaxis: {
      title: { text: options.y ?? "Share of draws (%)" },
      rangemode: "tozero",
      domain: [0, 300 / (300 + labelHeight * observed.length)],
    },
    shapes: observed.map(({ value }, i) => ({
      type: "line",
      x0: value,
      x1: value,
      yref: "paper",
      y0: 0,
      y1: heightOf(order.indexOf(i), observed.length, labelHeight),
      line: { color: THEME.ink, dash: DASHES[i % DASHES.length], width: 2 },
    })),
    annotations: observed.map(({ value }, i) => ({
      text: lines[i],
      x: value,
      xanchor: value > (innermost + outermost) / 2 ? "right" : "left",
      xshift: value > (innermost + outermost) / 2 ? -4 : 4,
      y: heightOf(order.indexOf(i), observed.length, labelHeight),
      yref: "paper",
      yanchor: "top",
      align: "left",
      showarrow: false,
      font: { size: 12, color: THEME.ink },
    })),
  };
  return figure(traces, layout, options);
}

/** Top of the label of the rank-th observed value, as a share of the plot. */
function heightOf(rank: number, count: number, labelHeight: number): number {
  return 1 - rank * labelHeight / (300 + labelHeight * count);
}

function pOf(value: number, draws: readonly number[], tail: NullOptions["tail"]): number {
  const sorted = draws.toSorted((a, b) => a - b);
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  const extreme = {
    upper: (draw: number) => draw >= value,
    lower: (draw: number) => draw <= value,
    "two-sided": (draw: number) => Math.abs(draw - middle) >= Math.abs(value - middle),
  }[tail ?? "upper"];
  return (1 + draws.filter(extreme).length) / (1 + draws.length);
}
