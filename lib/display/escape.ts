/**
 * Text that was found somewhere (tokens, labels, stimuli) is never markup: the escapes for HTML and
 * for the subset of HTML that plotly.js interprets in titles, labels and hover boxes.
 *
 * @module
 */

const HTML: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/**
 * Text as HTML that shows exactly this text, in an element or a quoted attribute.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { escapeHtml } from "interlens";
 *
 * assertEquals(escapeHtml(`<b title="x">&</b>`), "&lt;b title=&quot;x&quot;&gt;&amp;&lt;/b&gt;");
 * ```
 */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => HTML[character]);
}

/**
 * Text as a plotly.js label that shows exactly this text: `&` and `<` become entities, which plotly
 * turns back when it draws, so `<b>` and `<a href=…>` are seen and not obeyed. A line break in the
 * text becomes one in the label.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { escapeLabel } from "interlens";
 *
 * assertEquals(escapeLabel("a < b & c\nsecond line"), "a &lt; b &amp; c<br>second line");
 * ```
 */
export function escapeLabel(text: string): string {
  return text.replace(/[&<]/g, (character) => HTML[character]).replaceAll("\n", "<br>");
}

/**
 * The text that `escapeLabel` was given.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { escapeLabel, unescapeLabel } from "interlens";
 *
 * assertEquals(unescapeLabel(escapeLabel("&lt; <b>\n&amp;")), "&lt; <b>\n&amp;");
 * ```
 */
export function unescapeLabel(label: string): string {
  return label.replaceAll("<br>", "\n").replaceAll("&lt;", "<").replaceAll("&amp;", "&");
}

/**
 * A hover template: as `escapeLabel`, but the bare formatting tags of plotly.js stay (`<br>`, `<b>`,
 * `<i>`, `<sub>`, `<sup>`, `<extra>`). They carry no attributes, so nothing can hide in them.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { escapeTemplate } from "interlens";
 *
 * assertEquals(
 *   escapeTemplate("<b>%{y}</b> <a href='x'>more</a><extra></extra>"),
 *   "<b>%{y}</b> &lt;a href='x'>more&lt;/a><extra></extra>",
 * );
 * ```
 */
export function escapeTemplate(template: string): string {
  return escapeLabel(template).replace(/&lt;(\/?(?:br|b|i|sub|sup|extra)>)/g, "<$1");
}
