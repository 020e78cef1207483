/**
 * Amounts of a few named things, alone or in groups.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, THEME } from "../theme.ts";
import { type Estimate, interval } from "./ladder.ts";
import { type ChartOptions, refuseEmpty, shortened, titled } from "./options.ts";

/** An amount; rows of one `group` share a colour. */
export interface Bar extends Estimate {
  /** Group, named in the legend. */
  group?: string;
}

const PATTERNS = ["", "/", ".", "x", "-", "+"] as const;

/**
 * Upright bars from zero, with intervals where they are given; groups stand side by side and differ
 * in colour and hatching.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { bars } from "interlens";
 *
 * const chart = bars([{ name: "train", value: 0.31 }, { name: "test", value: 0.33 }], {
 *   title: "The dictionary does not overfit",
 *   caption: "Fraction of variance unexplained by split.",
 *   y: "FVU",
 * });
 * assertEquals(chart.json.data.length, 1);
 * ```
 *
 * @param rows The amounts, from left to right.
 * @param options Words and axes.
 * @throws {RangeError} If there is no row.
 */
export function bars(rows: readonly Bar[], options: ChartOptions): Figure {
  refuseEmpty("bars", rows.length);
  const names = [...new Set(rows.map((row) => row.name))];
  const groups = [...new Set(rows.map((row) => row.group ?? ""))];
  const traces = groups.map((group, i): Data => {
    const members = rows.filter((row) => (row.group ?? "") === group);
    const intervals = members.some((row) => row.low !== undefined && row.high !== undefined);
    return {
      type: "bar",
      name: group,
      x: members.map((row) => names.indexOf(row.name)),
      y: members.map((row) => row.value),
      marker: {
        color: COLORS[i % COLORS.length],
        pattern: { shape: PATTERNS[i % PATTERNS.length], size: 6 },
      },
      ...(intervals
        ? {
          error_y: {
            type: "data",
            symmetric: false,
            array: members.map((row) => (row.high ?? row.value) - row.value),
            arrayminus: members.map((row) => row.value - (row.low ?? row.value)),
            color: THEME.ink,
            thickness: 1.5,
            width: 4,
          },
        }
        : {}),
      hovertext: members.map((row) =>
        `${row.name}${group && `, ${group}`}: ${formatNumber(row.value)}${interval(row)}`
      ),
      hovertemplate: "%{hovertext}<extra></extra>",
    } as Data;
  });
  const legend = groups.length > 1;
  const layout: Partial<Layout> = {
    ...titled(options, legend),
    height: options.height ?? 400,
    showlegend: legend,
    barmode: "group",
    bargap: 0.3,
    xaxis: {
      title: { text: options.x ?? "" },
      tickvals: names.map((_, i) => i),
      ticktext: names.map((name) => shortened(name, Math.max(10, Math.floor(90 / names.length)))),
      ticks: "",
    },
    yaxis: { title: { text: options.y ?? "" }, rangemode: "tozero" },
  };
  return figure(traces, layout, options);
}
