/**
 * HTML from notebooks, without anything that runs, loads or reaches outside its place.
 *
 * Whatever a model, a data set or a label put into an output is foreign. What is left is a list of
 * harmless tags; scripts, styles, forms, frames, handlers, ids and addresses of images are gone. The
 * content security policy of the pages is the second wall.
 *
 * @module
 */
import { Buffer } from "node:buffer";
// @ts-types="npm:@types/sanitize-html@2.16.2"
import sanitizeHtml from "sanitize-html";
import { parseFragment, serialize } from "parse5";

const TAGS = [
  ..."div span p br hr b i em strong small sub sup s code pre kbd samp mark abbr".split(" "),
  ..."table caption thead tbody tfoot tr th td colgroup col".split(" "),
  ..."ul ol li dl dt dd blockquote details summary figure figcaption a img".split(" "),
];

const COLOR = /^(?:#[0-9a-f]{3,8}|rgba?\([\d\s.,%]+\)|[a-z]{3,20})$/i;

const OUTPUT: sanitizeHtml.IOptions = {
  allowedTags: TAGS,
  allowedAttributes: {
    "*": ["style"],
    a: ["href"],
    img: ["src", "alt", "width", "height"],
    th: ["scope", "colspan", "rowspan"],
    td: ["colspan", "rowspan"],
    details: ["open"],
    abbr: ["title"],
    ol: ["start"],
  },
  // Classes of this library only: those of the page could place something over it.
  allowedClasses: { "*": ["il-*"] },
  allowedStyles: {
    "*": {
      "text-align": [/^(?:left|right|center)$/],
      "color": [COLOR],
      "background-color": [COLOR],
    },
  },
  allowedSchemes: ["https", "http", "mailto"],
  allowedSchemesByTag: { img: ["data"] },
  allowProtocolRelative: false,
  // Sanitising must not depend on how deep a hostile text is nested.
  nestingLimit: 40,
  exclusiveFilter: (frame) =>
    frame.tag === "img" &&
    !/^data:image\/(?:png|jpeg|gif|webp);base64,/i.test(frame.attribs.src ?? ""),
};

const MARKDOWN: sanitizeHtml.IOptions = {
  ...OUTPUT,
  allowedTags: [...TAGS, "h1", "h2", "h3", "h4", "h5", "h6"],
  allowedClasses: { "*": ["il-*", "hljs", "hljs-*"] },
};

/**
 * HTML of an output, cleaned.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cleanHtml } from "interlens";
 *
 * assertEquals(
 *   cleanHtml(`<p onclick="x()">a <b>b</b><script>c</script><img src="https://example.org/d"></p>`),
 *   "<p>a <b>b</b></p>",
 * );
 * ```
 *
 * @param html Foreign HTML.
 */
export function cleanHtml(html: string): string {
  return nested(sanitizeHtml(html, OUTPUT));
}

/**
 * HTML of a markdown cell, cleaned: as `cleanHtml`, with headings and coloured code.
 *
 * @param html HTML that markdown was turned into.
 */
export function cleanMarkdown(html: string): string {
  return nested(sanitizeHtml(html, MARKDOWN));
}

/**
 * The tree that a browser makes of these tags, written out. Harmless tags can still be nested so
 * that a browser closes an element of the page early, as a table in a division in a table.
 */
function nested(html: string): string {
  return serialize(parseFragment(html));
}

/**
 * Base64 of an image as an address that a page may use; undefined if it is not base64.
 *
 * @param mime MIME type of the image.
 * @param base64 Its bytes.
 */
export function dataUrl(mime: string, base64: string): string | undefined {
  const packed = base64.replace(/\s/g, "");
  return /^[A-Za-z0-9+/]+={0,2}$/.test(packed) ? `data:${mime};base64,${packed}` : undefined;
}

/**
 * An SVG as the address of an image: drawn as an image, its scripts never run.
 *
 * @param svg Text of the SVG.
 */
export function svgUrl(svg: string): string {
  return `data:image/svg+xml;base64,${Buffer.from(svg).toString("base64")}`;
}

/**
 * What clean HTML says, as text. A formula is its TeX.
 *
 * @param html HTML that `cleanHtml`, `cleanMarkdown` or KaTeX made.
 */
export function textOf(html: string): string {
  return html
    .replace(/<semantics>.*?<annotation[^>]*>(.*?)<\/annotation><\/semantics>/gs, "$1")
    .replace(/<[^>]*>/g, "")
    .replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"')
    .replaceAll("&#x27;", "'").replaceAll("&#39;", "'").replaceAll("&nbsp;", " ")
    .replaceAll("&amp;", "&").trim();
}
