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

/** What a site has besides its notebooks, as addresses from its root; what is absent is not there. */
export interface SiteLinks {
  /** The feature explorer. */
  readonly explorer?: string;
  /** The reference of the library. */
  readonly reference?: string;
}

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
  /** What else the site has. */
  links?: SiteLinks;
  /** Way from the page to the root of the site. Default: it lies there. */
  root?: string;
  /** Names of style sheets in `assets/` on top of that of every page. */
  styles?: string[];
  /** Names of scripts in `assets/` on top of that of every page. */
  scripts?: string[];
  /** Whether the content takes the whole width of a screen. */
  wide?: boolean;
  /** Distinguishes the page's data from those of an earlier site, for the caches of browsers. */
  version?: string;
}

/** A whole HTML page. */
export function pageHtml(parts: PageParts): string {
  const { title, main, headings = [], previous, next, download, links = {}, root = "" } = parts;
  const { styles = [], scripts = [], wide = false, version = VERSION } = parts;
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
${
    ["site.css", ...styles].map((name) => `<link rel="stylesheet" href="${root}assets/${name}">`)
      .join("\n")
  }
<script src="${root}assets/site.js" data-dark="${escapeHtml(JSON.stringify(DARK))}" defer></script>
${
    scripts.map((name) =>
      `<script src="${root}assets/${name}" data-version="${escapeHtml(version)}" defer></script>`
    ).join("\n")
  }
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top"><a href="${root}index.html">Interlens</a>${
    links.explorer ? `<a href="${root}${escapeHtml(links.explorer)}">Features</a>` : ""
  }${links.reference ? `<a href="${root}${escapeHtml(links.reference)}">Reference</a>` : ""}${
    download ? `<a class="download" href="${escapeHtml(download)}" download>Notebook</a>` : ""
  }</header>
<div class="page${contents ? " with-contents" : wide ? " wide" : ""}">
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
