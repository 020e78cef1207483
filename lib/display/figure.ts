/**
 * Plotly figures as plain, deterministic JSON: no random ids, numbers rounded to six digits, typed
 * arrays as arrays, text escaped. Nothing is drawn here; JupyterLab and the published pages draw.
 *
 * @module
 */
import type { Data, Layout } from "plotly.js";
import { escapeLabel, escapeTemplate } from "./escape.ts";
import { type Displayable, JUPYTER_DISPLAY, type MimeBundle } from "./jupyter.ts";
import { THEME, themed } from "./theme.ts";

/**
 * MIME type of a plotly figure.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { figure, JUPYTER_DISPLAY, PLOTLY_MIME } from "interlens";
 *
 * const drawn = figure([{ type: "bar", y: [1, 2] }], {}, { caption: "Two bars." });
 * assertEquals(drawn[JUPYTER_DISPLAY]()[PLOTLY_MIME], drawn.json);
 * ```
 */
export const PLOTLY_MIME = "application/vnd.plotly.v1+json";

/** What a figure says in words. */
export interface FigureOptions {
  /** What is seen, with what it was measured on; it must be understood without the text around. */
  caption: string;
  /** What someone who cannot see the figure should know. Default: title and caption. */
  alt?: string;
}

/** Traces and layout of a figure, as plotly.js takes them. */
export interface FigureJson {
  /** What is drawn. */
  data: Record<string, unknown>[];
  /** Titles, axes, annotations. `meta` holds the caption and the description in words. */
  layout: Record<string, unknown>;
  /** Behaviour of the drawn figure. */
  config: Record<string, unknown>;
}

/**
 * A figure that JupyterLab draws and a terminal describes; made by `figure`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Figure, figure } from "interlens";
 *
 * const drawn = figure([{ type: "bar", y: [1, 2] }], { title: { text: "It grows" } }, {
 *   caption: "Two bars.",
 * });
 * assertEquals(drawn instanceof Figure, true);
 * assertEquals(`${drawn}`, "Figure: It grows. Two bars.");
 * ```
 */
export class Figure implements Displayable {
  /** What is drawn; plain JSON. */
  readonly json: FigureJson;
  /** What is seen. */
  readonly caption: string;
  /** The figure in words. */
  readonly alt: string;
  /** A PNG of the figure in base64, once there is one. */
  png: string | undefined;

  /**
   * @param json What is drawn.
   * @param caption What is seen.
   * @param alt The figure in words.
   */
  constructor(json: FigureJson, caption: string, alt: string) {
    this.json = json;
    this.caption = caption;
    this.alt = alt;
  }

  /** The figure for plotly, its caption as text, and its PNG if there is one. */
  [JUPYTER_DISPLAY](): MimeBundle {
    return {
      [PLOTLY_MIME]: this.json,
      ...(this.png === undefined ? {} : { "image/png": this.png }),
      "text/plain": this.caption,
    };
  }

  /** Title and caption. */
  toString(): string {
    return `Figure: ${this.alt}`;
  }

  /** What `console.log` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

/**
 * A figure from traces and a layout of plotly.js, in the theme of this library.
 *
 * Every text in them is shown as it is: `<b>` or `<a href=…>` in a label is seen, not obeyed. Line
 * breaks in a text are line breaks in the figure. Only `hovertemplate` and `texttemplate` keep the
 * bare tags `<br>`, `<b>`, `<i>`, `<sub>`, `<sup>` and `<extra>`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { figure } from "interlens";
 *
 * const shown = figure(
 *   [{ type: "scatter", x: new Float32Array([0.1, 0.2]), y: [1, 2], name: "a < b" }],
 *   { title: { text: "Twice as much" } },
 *   { caption: "Output against input." },
 * );
 * assertEquals(shown.json.data[0].x, [0.1, 0.2]);
 * assertEquals(shown.json.data[0].name, "a &lt; b");
 * ```
 *
 * @param traces What to draw.
 * @param layout Titles and axes; the theme fills in what it leaves open.
 * @param options Caption and description.
 * @throws {TypeError} If something in the traces or the layout cannot be JSON, as a function.
 */
export function figure(
  traces: readonly Data[],
  layout: Partial<Layout>,
  options: FigureOptions,
): Figure {
  const titled = layout.title as string | { text?: string } | undefined;
  const title = typeof titled === "string" ? titled : titled?.text;
  const alt = options.alt ??
    (title ? `${title.replace(/[.\s]*$/, "")}. ${options.caption}` : options.caption);
  const json = plain({
    data: traces,
    layout: withCaption(themed(layout), options.caption, alt),
    config: { displaylogo: false, responsive: true },
  }, "figure") as unknown as FigureJson;
  return new Figure(json, options.caption, alt);
}

const LINE_HEIGHT = 17;
const CHARACTERS_PER_LINE = 100;

/**
 * Name of the annotation that carries the caption; a page that shows captions itself drops it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { CAPTION, figure } from "interlens";
 *
 * const { json } = figure([{ type: "bar", y: [1, 2] }], {}, { caption: "Two bars." });
 * const [{ name, text }] = json.layout.annotations as { name: string; text: string }[];
 * assertEquals([name, text], [CAPTION, "Two bars."]);
 * ```
 */
export const CAPTION = "interlens-caption";

function withCaption(layout: Partial<Layout>, caption: string, alt: string): Partial<Layout> {
  const lines = wrap(caption, CHARACTERS_PER_LINE);
  const below = layout.margin?.b ?? 68;
  const left = layout.margin?.l ?? 72;
  const extra = lines.length * LINE_HEIGHT + 6;
  const annotation = {
    name: CAPTION,
    text: lines.join("\n"),
    showarrow: false,
    align: "left",
    xref: "paper",
    x: 0,
    xanchor: "left",
    xshift: 12 - left,
    yref: "paper",
    y: 0,
    yanchor: "top",
    yshift: -below,
    font: { size: 12, color: THEME.quiet },
  };
  return {
    ...layout,
    height: (layout.height ?? 420) + extra,
    margin: { ...layout.margin, b: below + extra },
    annotations: [...(layout.annotations ?? []), annotation],
    meta: { caption, alt, captionHeight: extra },
  } as Partial<Layout>;
}

/** Breaks a text between words into lines of at most so many characters. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line ? `${line} ${word}` : word;
    }
    lines.push(line);
  }
  return lines;
}

function plain(value: unknown, path: string): unknown {
  switch (typeof value) {
    case "string":
      return /\.(?:hover|text)template(?:\[\d+\])*$/.test(path)
        ? escapeTemplate(value)
        : escapeLabel(value);
    case "number":
      return rounded(value);
    case "bigint":
      return rounded(Number(value));
    case "boolean":
      return value;
    case "function":
    case "symbol":
      throw new TypeError(
        `Cannot make a figure: ${path} is a ${typeof value}, expected plain data`,
      );
  }
  if (value === null || value === undefined) return null;
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) {
    return Array.from(value as Float32Array, (v) => plain(v, path));
  }
  if (Array.isArray(value)) return value.map((item, i) => plain(item, `${path}[${i}]`));
  return Object.fromEntries(
    Object.entries(value as object)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, plain(item, `${path}.${key}`)]),
  );
}

/** Six significant digits, what float32 carries for certain; what JSON lacks becomes null. */
function rounded(value: number): number | null {
  if (!Number.isFinite(value)) return null;
  return Number.isInteger(value) ? value + 0 : Number(value.toPrecision(6)) + 0;
}
