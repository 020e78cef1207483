/**
 * The frame of every page: security policy, header, navigation, footer.
 *
 * @module
 */
import { DARK, escapeHtml } from "../display/mod.ts";
import { VERSION } from "../files/mod.ts";
import type { Heading } from "./markdown.ts";

/**
 * What a page may do: run the site's own scripts, show its own and embedded images, reach nothing.
 * Inline scripts never run. Inline styles stay allowed because plotly.js sets them on what it draws;
 * notebooks cannot bring their own (`cleanHtml`).
 */
export const CONTENT_SECURITY_POLICY = "default-src 'none'; script-src 'self'; " +
  "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; base-uri 'none'; " +
  "form-action 'none'";

/** Parts of a page. */
export interface PageParts {
  /** Title, as text. */
  title: string;
  /** Main content, as HTML that is safe. */
  main: string;
  /** What the page says, for search results, as text. */
  description?: string;
  /** Headings for a table of contents. */
  headings?: Heading[];
  /** Page before this one. */
  previous?: { title: string; href: string };
  /** Page after this one. */
  next?: { title: string; href: string };
  /** Address of the notebook that the page was made from. */
  download?: string;
}

/** A whole HTML page. */
export function pageHtml(parts: PageParts): string {
  const { title, main, headings = [], previous, next, download } = parts;
  const entries = headings.filter(({ level }) => level === 2 || level === 3);
  const contents = entries.length === 0 ? "" : `<nav class="contents" aria-label="On this page">
<details open><summary>On this page</summary>
<ol>
${
    entries.map(({ level, text, id }) =>
      `<li class="level-${level}"><a href="#${escapeHtml(id)}">${escapeHtml(text)}</a></li>`
    ).join("\n")
  }
</ol>
</details>
</nav>`;
  const step = (to: typeof previous, rel: string, mark: string) =>
    to
      ? `<a rel="${rel}" href="${escapeHtml(to.href)}"><span>${mark}</span> ${
        escapeHtml(to.title)
      }</a>`
      : "";
  const steps = previous || next
    ? `<nav class="steps" aria-label="Notebooks">${step(previous, "prev", "Previous:")}${
      step(next, "next", "Next:")
    }</nav>`
    : "";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${CONTENT_SECURITY_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
${parts.description ? `<meta name="description" content="${escapeHtml(parts.description)}">` : ""}
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="assets/site.css">
<script src="assets/site.js" data-dark="${escapeHtml(JSON.stringify(DARK))}" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top"><a href="index.html">Interlens</a>${
    download ? `<a class="download" href="${escapeHtml(download)}" download>Notebook</a>` : ""
  }</header>
<div class="page${contents ? " with-contents" : ""}">
${contents}
<main id="main">
${main}
${steps}
</main>
</div>
<footer><p>Made with Interlens ${escapeHtml(VERSION)} from executed notebooks.</p></footer>
</body>
</html>
`;
}
