/**
 * Outputs of cells as HTML that may stand in a page of ours.
 *
 * @module
 */
import { CAPTION, escapeHtml, unescapeLabel } from "../display/mod.ts";
import { withPageLinks } from "./markdown.ts";
import { joined, type Output } from "./notebook.ts";
import { figureOf, type FigureSource, heightOf } from "./png.ts";
import { cleanHtml, dataUrl, svgUrl } from "./sanitize.ts";

/** A figure of a page. */
export interface PageFigure {
  /** Number in the notebook, from 1. */
  number: number;
  /** The figure in words. */
  alt: string;
  /** What is seen. */
  caption: string;
  /** PNG in base64, if there is one. */
  png?: string;
  /** Style that cuts the caption off the picture, where a page shows it below. */
  crop: string;
  /** The figure as HTML. */
  html: string;
}

/** Turns the outputs of one notebook into HTML, and collects its figures and tables. */
export class OutputRenderer {
  /** Figures so far. */
  readonly figures: PageFigure[] = [];
  /** Tables with a column "verdict" so far, as clean HTML. */
  readonly verdicts: string[] = [];
  readonly #pngUrl: (number: number) => string;
  readonly #links: ReadonlyMap<string, string>;

  /**
   * @param pngUrl Address of the picture of a figure, by its number.
   * @param links File name of a notebook to address of its page.
   */
  constructor(
    pngUrl: (number: number) => string,
    links: ReadonlyMap<string, string> = new Map(),
  ) {
    this.#pngUrl = pngUrl;
    this.#links = links;
  }

  /**
   * One output as HTML; empty if it has nothing to show.
   *
   * The richest format that can be shown safely wins: plotly, HTML, SVG, PNG, JPEG, text.
   */
  render(output: Output): string {
    if (output.output_type === "stream") return preformatted(joined(output.text));
    const { data } = output;
    if (!data) return "";
    const figure = figureOf(output);
    if (figure) return this.#figure(figure, output);
    if (data["text/html"] !== undefined) {
      const html = withPageLinks(cleanHtml(joined(data["text/html"])), this.#links);
      if (/<th[^>]*>\s*verdict\s*<\/th>/i.test(html)) this.verdicts.push(html);
      if (/<(?:table|img)\b|[^<>\s](?=[^<>]*(?:<|$))/.test(html)) {
        return `<div class="rendered scroll" tabindex="0">${html}</div>`;
      }
    }
    const text = joined(data["text/plain"]);
    const image = imageUrl(data);
    if (image) return `<img class="output-image" src="${image}" alt="${escapeHtml(text)}">`;
    return preformatted(text);
  }

  #figure(source: FigureSource, output: Output): string {
    const number = this.figures.length + 1;
    const { json, caption, alt, plotShare } = forPage(source);
    const plain = joined(output.data!["text/plain"]);
    const words = { caption: caption ?? plain, alt: alt ?? (plain || `Figure ${number}`) };
    const packed = joined(output.data!["image/png"]).replace(/\s/g, "");
    const png = dataUrl("image/png", packed) && packed.length > 32 ? packed : undefined;
    const crop = png ? cropStyle(png, plotShare) : "";
    const picture = png
      ? `<img class="picture" src="${this.#pngUrl(number)}" alt="${
        escapeHtml(words.alt)
      }" style="${crop}" loading="lazy">`
      : `<p class="picture">${escapeHtml(words.alt)}</p>`;
    const html = `<figure class="figure" id="figure-${number}">${picture}` +
      `<div class="plot" role="img" aria-label="${escapeHtml(words.alt)}" ` +
      `style="height: ${heightOf(json.layout)}px" hidden></div>` +
      `<script type="application/json">${jsonInHtml(json)}</script>` +
      `<figcaption><b>Figure ${number}.</b> ${escapeHtml(words.caption)}</figcaption></figure>`;
    this.figures.push({ number, ...words, png, crop, html });
    return html;
  }
}

/** Text as a terminal would show it, without colours. */
function preformatted(text: string): string {
  const plain = text
    // deno-lint-ignore no-control-regex -- escape sequences begin with a control character
    .replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, "")
    // What a carriage return overwrites was never meant to stay.
    .replace(/^.*\r(?!\n|$)/gm, "")
    .trimEnd();
  return plain ? `<pre class="text scroll" tabindex="0">${escapeHtml(plain)}</pre>` : "";
}

function imageUrl(data: Record<string, unknown>): string | undefined {
  if (data["image/svg+xml"] !== undefined) return svgUrl(joined(data["image/svg+xml"]));
  for (const mime of ["image/png", "image/jpeg", "image/gif", "image/webp"]) {
    const url = data[mime] === undefined ? undefined : dataUrl(mime, joined(data[mime]));
    if (url) return url;
  }
}

/** JSON that can stand in a script element: nothing in it can end the element. */
export function jsonInHtml(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028")
    .replaceAll("\u2029", "\\u2029");
}

/** A figure without the caption that it carries inside, which the page shows below it. */
function forPage({ data, layout = {} }: FigureSource) {
  const { annotations, images, meta, margin, width: _, ...rest } = layout as {
    annotations?: { name?: string }[];
    images?: { source?: unknown }[];
    meta?: { caption?: string; alt?: string; captionHeight?: number };
    margin?: { b?: number };
    width?: unknown;
  } & Record<string, unknown>;
  const room = Number(meta?.captionHeight) || 0;
  const json = {
    data,
    layout: {
      ...rest,
      height: heightOf(layout) - room,
      margin: { ...margin, ...(room ? { b: (margin?.b ?? 80) - room } : {}) },
      annotations: Array.isArray(annotations)
        ? annotations.filter((annotation) => annotation?.name !== CAPTION)
        : [],
      // What the page may not load would be a broken picture in the figure.
      images: Array.isArray(images)
        ? images.filter((image) => /^data:image\/(?:png|jpeg);/.test(String(image?.source)))
        : [],
    } as Record<string, unknown>,
  };
  const words = (text?: string) => typeof text === "string" ? unescapeLabel(text) : undefined;
  return {
    json,
    caption: words(meta?.caption),
    alt: words(meta?.alt),
    plotShare: 1 - room / heightOf(layout),
  };
}

/** Shows the upper part of a PNG, whose size stands in bytes 16 to 23 of the file. */
function cropStyle(png: string, share: number): string {
  const head = new DataView(Uint8Array.from(atob(png.slice(0, 32)), (c) => c.charCodeAt(0)).buffer);
  const [width, height] = [head.getUint32(16), Math.round(head.getUint32(20) * share)];
  return width > 0 && height > 0
    ? `aspect-ratio: ${width} / ${height}; object-fit: cover; object-position: top`
    : "";
}
