/**
 * Values on a grid.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { type Figure, figure } from "../figure.ts";
import { DIVERGING, SEQUENTIAL } from "../theme.ts";
import { type ChartOptions, labelWidth, refuseEmpty, shortened, titled } from "./options.ts";

/** Values on a grid with named or numbered rows and columns. */
export interface Grid {
  /** Columns, from left to right. */
  x: readonly (string | number)[];
  /** Rows, from top to bottom. */
  y: readonly (string | number)[];
  /** Values, `[rows, columns]`; NaN leaves a hole. */
  z: readonly ArrayLike<number>[];
}

/** How a heat map is drawn. */
export interface HeatMapOptions extends ChartOptions {
  /** What a colour means, with its unit. */
  z?: string;
  /** Colours to both sides of zero, at equal distance. Default: where some value is negative. */
  diverging?: boolean;
}

/**
 * A heat map, the first row on top. Lightness carries the value, so it can be read in grey.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { heatMap } from "interlens";
 *
 * const chart = heatMap({ x: ["off", "on"], y: ["off", "on"], z: [[0, 0.1], [0.1, 0.9]] }, {
 *   title: "Only both together matter",
 *   caption: "Effect of two features, off and on.",
 *   x: "Feature A",
 *   y: "Feature B",
 *   z: "Effect (logits)",
 * });
 * assertEquals(chart.json.data[0].z, [[0, 0.1], [0.1, 0.9]]);
 * ```
 *
 * @param grid The values with their rows and columns.
 * @param options Words and colours.
 * @throws {RangeError} If the grid is empty or its parts do not fit each other.
 */
export function heatMap(grid: Grid, options: HeatMapOptions): Figure {
  const { x, y, z } = grid;
  refuseEmpty("a heat map", Math.min(x.length, y.length));
  if (z.length !== y.length || z.some((row) => row.length !== x.length)) {
    throw new RangeError(
      `Cannot draw a heat map of ${z.length} rows of [${[
        ...new Set(z.map((row) => row.length)),
      ]}] values: expected ${y.length} rows of ${x.length}`,
    );
  }
  const rows = z.map((row) => Array.from(row));
  let largest = 0;
  let negative = false;
  for (const value of rows.flat()) {
    if (!Number.isFinite(value)) continue;
    largest = Math.max(largest, Math.abs(value));
    negative ||= value < 0;
  }
  const diverging = options.diverging ?? negative;
  const columns = axisOf(x);
  const lines = axisOf(y);
  const frame = titled(options, false);
  const trace: Data = {
    type: "heatmap",
    x: columns.positions,
    y: lines.positions,
    z: rows,
    colorscale: [...(diverging ? DIVERGING : SEQUENTIAL)] as [number, string][],
    ...(diverging && largest > 0 ? { zmin: -largest, zmax: largest } : {}),
    colorbar: { title: { text: options.z ?? "", side: "right" }, thickness: 14 },
    text: y.map((row) => x.map((column) => `${row}, ${column}`)) as unknown as string[],
    hovertemplate: "%{text}: <b>%{z:.4~g}</b><extra></extra>",
  };
  const layout: Partial<Layout> = {
    ...frame,
    height: options.height ??
      Math.min(640, Math.max(340, frame.margin!.t! + 68 + 26 * y.length)),
    margin: { ...frame.margin, l: 44 + labelWidth(lines.names ?? ["100000"]) },
    xaxis: { title: { text: options.x ?? "" }, showgrid: false, ...columns.ticks },
    yaxis: {
      title: { text: options.y ?? "" },
      showgrid: false,
      autorange: "reversed",
      ...lines.ticks,
    },
  };
  return figure([trace], layout, options);
}

function axisOf(labels: readonly (string | number)[]) {
  if (labels.every((label) => typeof label === "number")) return { positions: [...labels] };
  const names = labels.map((label) => shortened(String(label), 24));
  const positions = labels.map((_, i) => i);
  return { positions, names, ticks: { tickvals: positions, ticktext: names, ticks: "" as const } };
}
