/**
 * The first page of the site: what this is about, what was found, where to read on.
 *
 * @module
 */
import { escapeHtml } from "../display/mod.ts";
import { MarkdownPage } from "./markdown.ts";
import type { NotebookPage } from "./notebook_page.ts";
import { pageHtml, type SiteLinks } from "./page.ts";

/** Place in the text where the notebooks are listed. */
const NOTEBOOKS = "<!-- notebooks -->";

/**
 * The index as a whole page.
 *
 * @param about Markdown with abstract, method, limitations and how to run it again; the notebooks
 * stand in the place of `<!-- notebooks -->`.
 * @param pages The notebooks in reading order.
 * @param links What else the site has.
 */
export function indexHtml(about: string, pages: NotebookPage[], links: SiteLinks = {}): string {
  const markdown = new MarkdownPage();
  const [before, after = ""] = about.split(NOTEBOOKS);
  const abstract = markdown.render(before);
  // One table of all verdicts where a notebook makes it; else those of each notebook.
  const judged = pages.filter((page) => page.verdicts.length > 0);
  const all = judged.filter((page) => /_verdicts$/.test(page.name));
  const verdicts = all.length > 0 ? all : judged;
  const results = verdicts.length === 0 ? "" : markdown.render("## What was found") +
    verdicts.map((page) =>
      `<h3><a href="${escapeHtml(page.name)}.html">${escapeHtml(page.title)}</a></h3>\n` +
      page.verdicts.map((html) => `<div class="rendered scroll" tabindex="0">${html}</div>`)
        .join("\n")
    ).join("\n");
  const notebooks = markdown.render("## Notebooks");
  const explorer = links.explorer === undefined ? "" : markdown.render(
    `## Features\n\n[The feature explorer](${links.explorer}) shows every feature of the dictionary: ` +
      "where it is active, which tokens it speaks for, and which pairs the factorization machine makes of " +
      "it, beside what chance makes of them.",
  );
  const reference = links.reference === undefined ? "" : markdown.render(
    `## Reference\n\n[Every name that the library exports](${links.reference}), with an example where ` +
      "it does something.",
  );
  const rest = markdown.render(after);
  const made = [...new Set(pages.flatMap(({ made }) => made ? [`profile ${made.profile}`] : []))];
  const how = made.length === 0 ? "" : markdown.render(
    `Executed in ${made.join(" and ")}. Every page says at its end which versions, device and ` +
      "artefacts made it.",
  );
  const title = markdown.headings.find(({ level }) => level === 1)?.text ?? "Interlens";
  return pageHtml({
    title,
    description: pages.map((page) => page.title).join(" · "),
    main: [
      abstract,
      results,
      notebooks,
      how,
      `<ol class="cards">\n${pages.map(card).join("\n")}\n</ol>`,
      explorer,
      reference,
      rest,
    ].join("\n"),
    headings: markdown.headings,
    links,
    next: pages[0] && { title: pages[0].title, href: `${pages[0].name}.html` },
  });
}

function card(page: NotebookPage): string {
  const href = `${escapeHtml(page.name)}.html`;
  const { headline } = page;
  const limitations = page.headings.find(({ text }) => /^limitations/i.test(text));
  const picture = !headline
    ? ""
    : headline.png
    ? `<a href="${href}#figure-${headline.number}"><img src="figures/${
      escapeHtml(page.name)
    }-${headline.number}.png" alt="${
      escapeHtml(headline.alt)
    }" style="${headline.crop}" loading="lazy"></a>`
    : headline.html.replace(/ id="figure-\d+"/, "");
  return `<li class="card"><h3><a href="${href}">${escapeHtml(page.title)}</a></h3>` +
    `${picture}${page.claim ? `<p>${page.claim}</p>` : ""}` +
    (limitations
      ? `<p><a href="${href}#${escapeHtml(limitations.id)}">Limitations of this notebook</a></p>`
      : "") +
    `</li>`;
}
