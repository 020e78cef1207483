/**
 * What a model predicts of two features together, beside the sum of what it predicts of each: two maps
 * and a cut through both.
 *
 * @module
 */
import type { Data, Layout, Shape } from "plotly.js";
import { type Figure, figure, wrap } from "../figure.ts";
import { formatNumber } from "../format.ts";
import { COLORS, DASHES, DIVERGING, THEME } from "../theme.ts";
import { type ChartOptions, refuseEmpty, shortened, titled } from "./options.ts";

/** A pair over both of its activations; `pairSurface` gives the numbers. */
export interface SurfacePair {
  /** Names of the first and the second feature. */
  names: readonly [string, string];
  /** Activations of the first feature. */
  first: readonly number[];
  /** Activations of the second feature. */
  second: readonly number[];
  /** Predicted effect of both, `[second, first]`. */
  joint: readonly (readonly number[])[];
  /** Sum of the predicted effects of each alone, `[second, first]`. */
  additive: readonly (readonly number[])[];
  /** Activations of both on real tokens: without them a surface says nothing about how often it applies. */
  observed?: { readonly first: readonly number[]; readonly second: readonly number[] };
}

/** Room of the slider below the plot and of the menu above it, in pixels. */
const SLIDER = 84;
const MENU = 40;

/**
 * Maps of the joint and of the additive prediction in the same colours, and below them a cut through
 * both at the level of the second feature that the slider chooses; a menu chooses the pair. Where two
 * lines of the cut part, the features interact. Without scripts, as in print, the cut is the highest.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { interactionSurface } from "interlens";
 *
 * const chart = interactionSurface([{
 *   names: ["Paris", "folk"],
 *   first: [0, 1],
 *   second: [0, 2],
 *   joint: [[0, 1], [2, 6]],
 *   additive: [[0, 1], [2, 3]],
 * }], { title: "Together they do more", caption: "A made-up pair.", z: "Effect" });
 * assertEquals(chart.json.data.map(({ y }) => y).slice(-2), [[2, 6], [2, 3]]);
 * ```
 *
 * @param pairs The pairs; the first is shown first.
 * @param options Words; `z` is what a colour means.
 * @throws {RangeError} If there is no pair, or a grid does not fit its axes.
 */
export function interactionSurface(
  pairs: readonly SurfacePair[],
  options: Omit<ChartOptions, "x" | "y"> & { z?: string },
): Figure {
  refuseEmpty("an interaction surface", pairs.length);
  for (const { first, second, joint, additive, names } of pairs) {
    const wrong = [joint, additive].find((grid) =>
      grid.length !== second.length || grid.some((row) => row.length !== first.length)
    );
    if (wrong || first.length < 2 || second.length < 2) {
      throw new RangeError(
        `Cannot draw the surface of "${names.join('" and "')}" over ${first.length} × ` +
          `${second.length} activations: expected grids of ${second.length} rows of ${first.length}, ` +
          "at least 2 × 2",
      );
    }
  }
  const frame = titled(options, true);
  const several = pairs.length > 1;
  const above = frame.margin!.t! + 22 + (several ? MENU : 0);
  const [shown] = pairs;
  const layout: Partial<Layout> = {
    ...frame,
    height: options.height ?? 720,
    margin: { ...frame.margin, t: above, b: 68 + SLIDER },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 0.3, yanchor: "bottom" },
    xaxis: { domain: [0, 0.43], anchor: "y" },
    xaxis2: { domain: [0.5, 0.93], anchor: "y2", matches: "x" },
    xaxis3: { domain: [0, 0.93], anchor: "y3" },
    yaxis: { domain: [0.52, 1], anchor: "x" },
    yaxis2: { domain: [0.52, 1], anchor: "x2", matches: "y", showticklabels: false },
    yaxis3: { domain: [0, 0.28], anchor: "x3" },
    annotations: [panel("together", 0), panel("each alone, added", 0.5)],
    ...ofPair(shown, options),
    ...several && {
      updatemenus: [{
        ...{ type: "dropdown", direction: "down", showactive: true, active: 0 },
        ...{ x: 0, xanchor: "left", y: 1, yanchor: "bottom", pad: { b: 26 } },
        ...{ bgcolor: THEME.paper, bordercolor: THEME.line, font: { color: THEME.ink } },
        buttons: pairs.map((pair) => ({
          label: shortened(pair.names.join(" × "), 60),
          method: "update",
          args: menuArguments(pair, options),
        })),
      }],
    },
  } as Partial<Layout>;
  return figure(tracesOf(shown), layout, options);
}

function tracesOf(pair: SurfacePair): Data[] {
  const { first, second, joint, additive, observed } = pair;
  const map = (z: SurfacePair["joint"], name: string, axes: object) => ({
    ...{ type: "heatmap", x: [...first], y: [...second], z: z.map((row) => [...row]), name },
    ...{ coloraxis: "coloraxis", showlegend: false, ...axes },
    hovertemplate: "%{x:.3~g}, %{y:.3~g}: <b>%{z:.3~g}</b>",
  });
  const line = (row: readonly number[], name: string, index: number) => ({
    ...{ type: "scatter", mode: "lines", name, x: [...first], y: [...row] },
    ...{ xaxis: "x3", yaxis: "y3" },
    line: { color: COLORS[index], width: 2.5, dash: DASHES[index] },
    hovertemplate: "%{x:.3~g}: <b>%{y:.3~g}</b>",
  });
  return [
    map(joint, "together", {}),
    map(additive, "each alone, added", { xaxis: "x2", yaxis: "y2" }),
    {
      ...{ type: "scatter", mode: "markers", name: "tokens" },
      ...{ x: [...observed?.first ?? []], y: [...observed?.second ?? []] },
      showlegend: observed !== undefined,
      marker: { size: 5, color: THEME.paper, line: { color: THEME.ink, width: 1 } },
      hovertemplate: "a token: %{x:.3~g}, %{y:.3~g}<extra></extra>",
    },
    line(joint.at(-1)!, "together", 0),
    line(additive.at(-1)!, "added", 1),
  ] as unknown as Data[];
}

/** What of the layout belongs to a pair: titles of axes, range of colours, slider and its line. */
function ofPair(pair: SurfacePair, { z }: { z?: string }): Partial<Layout> {
  const { names: [a, b], second } = pair;
  const largest = Math.max(...[pair.joint, pair.additive].flat(2).map(Math.abs), 1e-12);
  const low = Math.min(...[pair.joint, pair.additive].flat(2));
  const high = Math.max(...[pair.joint, pair.additive].flat(2));
  const room = 0.05 * (high - low || 1);
  const own = layoutOf(pair);
  return {
    ...own,
    xaxis: { domain: [0, 0.43], anchor: "y", title: { text: shortened(a) } },
    xaxis2: { domain: [0.5, 0.93], anchor: "y2", matches: "x", title: { text: shortened(a) } },
    xaxis3: { domain: [0, 0.93], anchor: "y3", title: { text: shortened(a) } },
    yaxis: { domain: [0.52, 1], anchor: "x", title: { text: shortened(b) } },
    yaxis3: {
      ...{ domain: [0, 0.28], anchor: "x3" },
      range: [low - room, high + room],
    },
    coloraxis: {
      ...{ colorscale: [...DIVERGING], cmin: -largest, cmax: largest },
      colorbar: {
        title: { text: wrap(z ?? "", 34).join("\n"), side: "right", font: { size: 12 } },
        thickness: 14,
        len: 0.5,
        y: 0.76,
        x: 0.95,
      },
    },
    sliders: [{
      ...{ active: second.length - 1, x: 0, len: 0.93, y: 0, yanchor: "top", pad: { t: 58 } },
      ...{ bgcolor: THEME.grid, bordercolor: THEME.line, activebgcolor: THEME.line },
      ...{ tickcolor: THEME.line, font: { color: THEME.ink, size: 11 }, minorticklen: 0 },
      currentvalue: { prefix: `Cut at ${shortened(b)} = `, font: { color: THEME.ink } },
      steps: second.map((level, row) => ({
        label: formatNumber(level, 3),
        method: "update",
        args: [
          { y: [[...pair.joint[row]], [...pair.additive[row]]] },
          {
            "shapes[0].y0": level,
            "shapes[0].y1": level,
            "shapes[1].y0": level,
            "shapes[1].y1": level,
          },
          [3, 4],
        ],
      })),
    }],
  } as unknown as Partial<Layout>;
}

/** Lines on both maps at the level of the cut. */
function layoutOf({ first, second }: SurfacePair): Partial<Layout> {
  const at = (axis: string): Partial<Shape> => ({
    ...{ type: "line", xref: `x${axis}`, yref: `y${axis}`, x0: first[0], x1: first.at(-1) },
    ...{ y0: second.at(-1), y1: second.at(-1) },
    line: { color: THEME.ink, width: 1.5, dash: "dot" },
  } as Partial<Shape>);
  return { shapes: [at(""), at("2")] };
}

/** What the menu changes: all data, and what of the layout belongs to the pair. */
function menuArguments(pair: SurfacePair, options: { z?: string }): unknown[] {
  const traces = tracesOf(pair) as unknown as Record<string, unknown>[];
  const { xaxis, xaxis2, xaxis3, yaxis, yaxis3, coloraxis, sliders, shapes } = ofPair(
    pair,
    options,
  ) as unknown as Record<string, Record<string, unknown>>;
  return [
    {
      x: traces.map(({ x }) => x),
      y: traces.map(({ y }) => y),
      z: traces.map(({ z }) => z ?? null),
      showlegend: traces.map(({ showlegend }) => showlegend ?? true),
    },
    {
      ...{ "xaxis.title.text": textOf(xaxis), "xaxis2.title.text": textOf(xaxis2) },
      ...{ "xaxis3.title.text": textOf(xaxis3), "yaxis.title.text": textOf(yaxis) },
      ...{ "yaxis3.range": yaxis3.range },
      ...{ "coloraxis.cmin": coloraxis.cmin, "coloraxis.cmax": coloraxis.cmax, sliders, shapes },
      // What the reader had zoomed to belongs to the pair before.
      ...{ "xaxis.autorange": true, "yaxis.autorange": true, "xaxis3.autorange": true },
    },
  ];
}

const textOf = ({ title }: Record<string, unknown>) => (title as { text: string }).text;

function panel(text: string, x: number): Record<string, unknown> {
  return {
    ...{ text, x, xref: "paper", xanchor: "left", y: 1, yref: "paper", yanchor: "bottom" },
    ...{ showarrow: false, font: { size: 13 } },
  };
}
