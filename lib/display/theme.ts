/**
 * One look for all figures.
 *
 * Colours are those of Okabe and Ito, "Color Universal Design" (2008), without the yellow and the
 * black, which vanish on white and on black: they stay apart for the colour-blind. Series differ in
 * dashes and markers too, so that a grey print can be read. The card is white, so that a figure and
 * its PNG can be read on any page; `DARK` says which colour stands for which on a dark page.
 *
 * @module
 */
import type { Layout, LayoutAxis } from "plotly.js";

/**
 * Colours of series, in order of use.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { COLORS } from "interlens";
 *
 * assertEquals(new Set(COLORS).size, 6);
 * ```
 */
export const COLORS: readonly string[] = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
];

/** Dashes of series, in order of use. */
export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"] as const;

/** Markers of series, in order of use. */
export const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross"] as const;

/**
 * Colours of everything that is not a series.
 *
 * ```ts
 * import { assertNotEquals } from "@std/assert";
 * import { COLORS, THEME } from "interlens";
 *
 * for (const color of COLORS) assertNotEquals(color, THEME.paper);
 * ```
 */
export const THEME = {
  paper: "#ffffff",
  ink: "#2b2b2b",
  quiet: "#6b6b6b",
  grid: "#e4e4e4",
  line: "#9a9a9a",
} as const;

/**
 * For each colour of a figure the one that takes its place on a dark page.
 *
 * ```ts
 * import { assertNotEquals } from "@std/assert";
 * import { DARK, THEME } from "interlens";
 *
 * for (const color of Object.values(THEME)) assertNotEquals(DARK[color], undefined);
 * ```
 */
export const DARK: Readonly<Record<string, string>> = {
  [THEME.paper]: "#16181c",
  [THEME.ink]: "#e6e6e6",
  [THEME.quiet]: "#a8a8a8",
  [THEME.grid]: "#33363c",
  [THEME.line]: "#70747c",
  "#0072b2": "#4ea6dc",
  "#d55e00": "#f0813a",
  "#009e73": "#2cc295",
};

/** From strongly negative over nothing to strongly positive; both ends are equally dark. */
export const DIVERGING: readonly [number, string][] = [
  [0, "#2166ac"],
  [0.25, "#92c5de"],
  [0.5, "#f7f7f7"],
  [0.75, "#f4a582"],
  [1, "#b2182b"],
];

/** From nothing to much; the lightness falls evenly (viridis, reversed). */
export const SEQUENTIAL: readonly [number, string][] = [
  [0, "#fde725"],
  [0.25, "#5ec962"],
  [0.5, "#21918c"],
  [0.75, "#3b528b"],
  [1, "#440154"],
];

const FONT = { family: "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif", size: 13 };

const AXIS: Partial<LayoutAxis> = {
  gridcolor: THEME.grid,
  linecolor: THEME.line,
  tickcolor: THEME.line,
  zerolinecolor: THEME.line,
  zeroline: false,
  showline: true,
  ticks: "outside",
  ticklen: 4,
};

/**
 * A layout in the theme: what the given one says wins, axes are completed one by one.
 *
 * @param layout Layout of plotly.js.
 */
export function themed(layout: Partial<Layout>): Partial<Layout> {
  const result: Record<string, unknown> = {
    paper_bgcolor: THEME.paper,
    plot_bgcolor: THEME.paper,
    colorway: [...COLORS],
    hovermode: "closest",
    height: 420,
    xaxis: {},
    yaxis: {},
    ...layout,
    font: { ...FONT, color: THEME.ink, ...layout.font },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", ...layout.legend },
    margin: { l: 72, r: 24, t: 78, b: 68, ...layout.margin },
    hoverlabel: { font: { ...FONT }, ...layout.hoverlabel },
  };
  if (layout.title) {
    const title = typeof layout.title === "string" ? { text: layout.title } : layout.title;
    result.title = {
      x: 0,
      xref: "container",
      xanchor: "left",
      // plotly draws a title half a line too high for every line after its first.
      pad: { l: 12, t: 1 + 11 * (title.text ?? "").split(/\n|<br>/).length },
      y: 1,
      yref: "container",
      yanchor: "top",
      ...title,
      font: { size: 16, ...title.font },
    };
  }
  for (const key of Object.keys(result)) {
    if (/^[xy]axis\d*$/.test(key)) {
      const axis = result[key] as Partial<LayoutAxis> & { title?: unknown };
      const title = typeof axis.title === "string" ? { text: axis.title } : axis.title;
      const font = { size: FONT.size };
      result[key] = { ...AXIS, ...axis, ...(title ? { title: { font, ...title } } : {}) };
    }
  }
  return result;
}
