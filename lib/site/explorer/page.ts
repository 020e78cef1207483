/**
 * The page of the feature explorer and its data as scripts.
 *
 * @module
 */
import { escapeHtml } from "../../display/mod.ts";
import { jsonInHtml } from "../outputs.ts";
import { pageHtml, type SiteLinks } from "../page.ts";
import type { ExplorerFiles, ExplorerIndex } from "./files.ts";

/** Address of the page in the site. */
export const EXPLORER_PAGE = "explorer.html";

/**
 * Files of the explorer in a site, by their place in it: the page, and one script for each file of data.
 * A page that is opened from a disk may not read files, but it may run scripts of its own site.
 *
 * @param files From `readExplorer` or `explorerFiles`.
 * @param links What else the site has.
 */
export function explorerPages(files: ExplorerFiles, links: SiteLinks = {}): Map<string, string> {
  const index = files.get("explorer.json") as ExplorerIndex;
  const pages = new Map<string, string>([[EXPLORER_PAGE, explorerHtml(index, links)]]);
  for (const [name, content] of files) {
    const bare = name.replace(/\.json$/, "");
    pages.set(
      `explorer/${bare}.js`,
      `interlensData(${JSON.stringify(bare)},${jsonInHtml(content)});\n`,
    );
  }
  return pages;
}

const ORDERS = [
  ["feature", "number"],
  ["density", "most frequent first"],
  ["rare", "rarest first"],
  ["max", "strongest activation first"],
];

function explorerHtml({ about, features, pieces }: ExplorerIndex, links: SiteLinks): string {
  const orders = about.pairTokens > 0 ? [...ORDERS, ["pair", "strongest pair first"]] : ORDERS;
  const title = "Features · Interlens";
  const configuration = Object.entries(about.configuration).map(([name, value]) =>
    `<p>${escapeHtml(name)}</p>\n<pre class="scroll" tabindex="0">${
      escapeHtml(JSON.stringify(value, null, 2))
    }</pre>`
  ).join("\n");
  const main = `<h1>Features</h1>
<p>${features.toLocaleString("en")} features of a sparse autoencoder at <code>${
    escapeHtml(about.hook)
  }</code> of ${escapeHtml(about.model)}, measured on ${
    about.tokens.toLocaleString("en")
  } tokens that ` +
    `nothing was trained on (${
      escapeHtml(about.text)
    }). A search looks at the tokens that carry most of a ` +
    `feature's activation${
      pieces.length > 0 ? "" : " (none was active)"
    }; a number finds the feature. ` +
    `Press <kbd>/</kbd> to search, arrows to move in the list.</p>
<noscript><p>The explorer needs scripts; they are part of this site and reach no other.</p></noscript>
<div class="explorer">
<div class="choose">
<form class="find" id="find" role="search">
<label for="search">Search tokens, labels, numbers</label>
<input id="search" type="search" autocomplete="off" spellcheck="false">
<label for="sort">Order</label>
<select id="sort">
${orders.map(([value, name]) => `<option value="${value}">${name}</option>`).join("\n")}
</select>
</form>
<p class="note" id="status" role="status">Loading</p>
<ol class="results" id="results" aria-label="Features"></ol>
<button type="button" id="more" hidden>Show more</button>
</div>
<section class="feature" id="feature" aria-label="Feature" data-title="${
      escapeHtml(title)
    }"></section>
</div>
<details class="made"><summary>What made it</summary>
<p>Interlens ${escapeHtml(about.version)}, dictionary <code>${
      escapeHtml(about.fingerprint)
    }</code></p>
${configuration}
</details>`;
  return pageHtml({
    title,
    main,
    links,
    description: `${features} features of ${about.model}`,
    styles: ["explorer.css"],
    scripts: ["explorer.js"],
    wide: true,
    version: about.fingerprint,
  });
}
