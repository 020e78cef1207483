/**
 * A notebook as a page.
 *
 * @module
 */
import { basename } from "node:path";
import { escapeHtml } from "../display/mod.ts";
import { highlighted, MarkdownPage } from "./markdown.ts";
import { type Cell, joined, type Notebook } from "./notebook.ts";
import { OutputRenderer, type PageFigure } from "./outputs.ts";
import { type Provenance, provenanceHtml, provenanceOf } from "./provenance.ts";

/** Code of more lines starts folded: who reads the story first meets the result. */
const FOLDED_LINES = 30;

/** A notebook as HTML, and what the index shows of it. */
export interface NotebookPage {
  /** Name of the notebook without its ending; the page is `<name>.html`. */
  name: string;
  /** First heading, as text. */
  title: string;
  /** First paragraph after it, as clean HTML. */
  claim: string;
  /** Content of the page. */
  main: string;
  /** Its headings. */
  headings: MarkdownPage["headings"];
  /** Its figures. */
  figures: PageFigure[];
  /** The figure that stands for it: that of the cell tagged `headline`, or the first. */
  headline?: PageFigure;
  /** Tables with a column "verdict", as clean HTML. */
  verdicts: string[];
  /** What it was executed with, if it says so. */
  made?: Provenance;
}

/**
 * Turns an executed notebook into HTML.
 *
 * @param notebook The notebook.
 * @param path Its path; the page takes its name.
 * @param links Pages by the file name of their notebook.
 */
export function renderNotebook(
  notebook: Notebook,
  path: string,
  links: ReadonlyMap<string, string>,
): NotebookPage {
  const name = basename(path, ".ipynb");
  const markdown = new MarkdownPage(links);
  const outputs = new OutputRenderer((number) => `figures/${name}-${number}.png`, links);
  const parts: string[] = [];
  let headline: PageFigure | undefined;
  for (const cell of notebook.cells) {
    if (cell.cell_type === "markdown") parts.push(markdown.render(joined(cell.source)));
    if (cell.cell_type !== "code") continue;
    const before = outputs.figures.length;
    parts.push(codeHtml(cell), ...(cell.outputs ?? []).map((output) => outputs.render(output)));
    if (cell.metadata?.tags?.includes("headline")) headline ??= outputs.figures[before];
  }
  const made = provenanceOf(notebook);
  if (made) {
    const configuration = markdown.headings.find(({ text }) => /^configuration/i.test(text));
    parts.push(provenanceHtml(made, configuration?.id));
    markdown.headings.push({ level: 2, text: "What made this page", id: "made" });
  }
  const main = parts.filter(Boolean).join("\n");
  const title = markdown.headings.find(({ level }) => level === 1)?.text ?? name;
  const [, claim = ""] = /<\/h1>\s*<p>(.*?)<\/p>/s.exec(main) ?? [];
  return {
    name,
    title,
    claim,
    main: markdown.headings.some(({ level }) => level === 1)
      ? main
      : `<h1>${escapeHtml(name)}</h1>\n${main}`,
    headings: markdown.headings,
    figures: outputs.figures,
    headline: headline ?? outputs.figures[0],
    verdicts: outputs.verdicts,
    made,
  };
}

function codeHtml(cell: Cell): string {
  const source = joined(cell.source).trimEnd();
  if (!source) return "";
  const lines = source.split("\n").length;
  const folded = lines > FOLDED_LINES || cell.metadata?.tags?.includes("hide-input");
  return `<details class="code"${folded ? "" : " open"}><summary>Code${
    folded ? `, ${lines} lines` : ""
  }</summary><pre class="scroll" tabindex="0"><code>${
    highlighted(source, "typescript")
  }</code></pre></details>`;
}
