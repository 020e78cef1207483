/**
 * Pictures of figures inside notebooks, for places that cannot draw plotly JSON, as GitHub.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { PLOTLY_MIME } from "../display/mod.ts";
import { writeFileAtomic } from "../files/mod.ts";
import { Chromium, findChromium, type Tab } from "./chromium.ts";
import { indexedPng } from "./indexed_png.ts";
import { type Notebook, type Output, readNotebook } from "./notebook.ts";

/** Width of a picture, in CSS pixels. */
export const PNG_WIDTH = 900;

/** What a notebook with pictures may take, in bytes; above it the pictures are made coarser. */
const NOTEBOOK_BYTES = 1_000_000;

/** What `fillPngs` did. */
export interface PngReport {
  /** Figures of the notebook. */
  figures: number;
  /** Figures that got a picture now. */
  filled: number;
  /** Why figures are left without one, with what to do; undefined if none is. */
  message?: string;
}

/** Traces that the small bundle of plotly.js draws: all that have two axes, and pies. */
const CARTESIAN = new Set(
  ("bar box contour heatmap histogram histogram2d histogram2dcontour image pie scatter " +
    "scatterternary violin").split(" "),
);

/**
 * Where the pinned plotly.js lies: the whole, or a bundle of a third of its size if that draws all of
 * the figures.
 *
 * @param figures What it must draw. Default: anything.
 */
export function plotlyPath(figures?: readonly FigureSource[]): string {
  const types = figures?.flatMap(({ data }) =>
    data.map((trace) => (trace as { type?: string } | null)?.type ?? "scatter")
  );
  const small = types?.every((type) => CARTESIAN.has(type));
  return fileURLToPath(
    import.meta.resolve(small ? "plotly.js-cartesian-dist-min" : "plotly.js-dist-min"),
  );
}

/** A picture from the browser; `rgba` in base64. */
interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly rgba: string;
}

/** Draws plotly figures as PNGs; made by `openPainter`. */
export class Painter {
  readonly #chromium: Chromium;
  readonly #tab: Tab;

  /** @internal */
  constructor(chromium: Chromium, tab: Tab) {
    this.#chromium = chromium;
    this.#tab = tab;
  }

  /**
   * A PNG of a figure, in base64.
   *
   * @param figure Traces and layout.
   * @param scale Pixels of the PNG per CSS pixel.
   * @throws {Error} If plotly cannot draw the figure.
   */
  async paint(figure: FigureSource, scale: number): Promise<string> {
    const { data, layout = {} } = figure;
    const size = { width: PNG_WIDTH, height: heightOf(layout) };
    const { width, height, rgba } = await this.#tab.evaluate<Pixels>(`(async () => {
      const { data, layout } = ${JSON.stringify({ data, layout: { ...layout, ...size } })};
      const place = document.body.appendChild(document.createElement("div"));
      try {
        await Plotly.newPlot(place, data, layout, { staticPlot: true });
        const url = await Plotly.toImage(place, { format: "png", scale: ${scale}, ...${
      JSON.stringify(size)
    } });
        const image = new Image();
        image.src = url;
        await image.decode();
        const { naturalWidth: width, naturalHeight: height } = image;
        const canvas = new OffscreenCanvas(width, height);
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const bytes = context.getImageData(0, 0, width, height).data;
        let rgba = "";
        for (let i = 0; i < bytes.length; i += 30000) { // a multiple of 3, so that parts join
          rgba += btoa(String.fromCharCode(...bytes.subarray(i, i + 30000)));
        }
        return { width, height, rgba };
      } finally {
        Plotly.purge(place);
        place.remove();
      }
    })()`);
    const pixels = new Uint8Array(Buffer.from(rgba, "base64"));
    return Buffer.from(indexedPng(pixels, { width, height })).toString("base64");
  }

  /** Ends the browser. */
  async close(): Promise<void> {
    await this.#chromium.close();
  }
}

/** A figure as a notebook stores it. */
export interface FigureSource {
  /** Traces. */
  data: unknown[];
  /** Layout. */
  layout?: Record<string, unknown>;
}

/** Height of a figure in CSS pixels, kept within what a page can take. */
export function heightOf(layout: Record<string, unknown>): number {
  const height = Number(layout.height);
  return Number.isFinite(height) ? Math.min(1600, Math.max(150, Math.round(height))) : 450;
}

/**
 * Starts a browser that draws figures; undefined where no Chromium is installed.
 *
 * @throws {Error} If there is one that does not start.
 */
export async function openPainter(): Promise<Painter | undefined> {
  const path = await findChromium();
  if (path === undefined) return undefined;
  const chromium = await Chromium.open(path);
  try {
    const tab = await chromium.tab({ width: PNG_WIDTH + 40, height: 900 });
    // Figures are foreign: the page that draws them may load nothing.
    await tab.setContent(
      `<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src 'none'; ` +
        `img-src data: blob:; style-src 'unsafe-inline'"><body></body>`,
    );
    await tab.evaluate(`${await Deno.readTextFile(plotlyPath())}; undefined`);
    return new Painter(chromium, tab);
  } catch (error) {
    await chromium.close();
    throw error;
  }
}

/** Plotly figure of an output, if it has one that can be drawn. */
export function figureOf(output: Output): FigureSource | undefined {
  const figure = output.data?.[PLOTLY_MIME] as FigureSource | undefined;
  return figure && Array.isArray(figure.data) ? figure : undefined;
}

/**
 * Draws every plotly figure of an executed notebook that has no PNG yet and stores the PNG in the
 * notebook beside it. Without Chromium nothing is changed and the report says so.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fillPngs } from "interlens";
 *
 * // Without a figure there is nothing to draw; otherwise `message` says what is left without a PNG.
 * const path = await Deno.makeTempFile({ suffix: ".ipynb" });
 * const notebook = { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };
 * await Deno.writeTextFile(path, JSON.stringify(notebook));
 * assertEquals(await fillPngs(path), { figures: 0, filled: 0 });
 * await Deno.remove(path);
 * ```
 *
 * @param notebookPath The notebook; replaced as a whole, or not at all.
 * @param painter A browser to use again. Default: one is started and ended.
 * @throws {Error} If the notebook cannot be read or written.
 */
export async function fillPngs(notebookPath: string, painter?: Painter): Promise<PngReport> {
  const notebook = await readNotebook(notebookPath);
  const outputs = notebook.cells.flatMap((cell) => cell.outputs ?? []).filter(figureOf);
  const missing = outputs.filter((output) => output.data!["image/png"] === undefined);
  if (missing.length === 0) return { figures: outputs.length, filled: 0 };

  const own = painter ?? await openPainter();
  if (!own) {
    return {
      figures: outputs.length,
      filled: 0,
      message: `${missing.length} figures are left without a PNG because no Chromium was found: ` +
        `install "chromium" and run "deno task publish" again`,
    };
  }
  const failures: string[] = [];
  let filled = 0;
  try {
    for (const scale of [2, 1]) {
      filled = 0;
      failures.length = 0;
      for (const output of missing) {
        try {
          setPng(output, await own.paint(figureOf(output)!, scale));
          filled++;
        } catch (error) {
          failures.push((error as Error).message.split("\n")[0]);
        }
      }
      if (serialised(notebook).length <= NOTEBOOK_BYTES) break;
    }
  } finally {
    if (!painter) await own.close();
  }
  if (filled > 0) await writeFileAtomic(notebookPath, serialised(notebook));
  return {
    figures: outputs.length,
    filled,
    ...(failures.length > 0
      ? { message: `${failures.length} figures cannot be drawn: ${failures[0]}` }
      : {}),
  };
}

function setPng(output: Output, png: string): void {
  const data = { ...output.data, "image/png": png };
  output.data = Object.fromEntries(Object.entries(data).sort(([a], [b]) => a < b ? -1 : 1));
  output.metadata = { ...output.metadata, "image/png": { width: PNG_WIDTH } };
}

/** A notebook as Jupyter writes it. */
function serialised(notebook: Notebook): string {
  return JSON.stringify(notebook, null, 1) + "\n";
}
