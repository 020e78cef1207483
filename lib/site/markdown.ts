/**
 * Markdown cells as HTML: formulas as MathML, which browsers draw without fonts or scripts, code
 * with its colours, and headings with addresses for the table of contents.
 *
 * @module
 */
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import typescript from "highlight.js/lib/languages/typescript";
import katex from "katex";
import MarkdownIt from "markdown-it";
import { escapeHtml } from "../display/mod.ts";
import { cleanMarkdown, textOf } from "./sanitize.ts";

hljs.registerLanguage("typescript", typescript);
hljs.registerLanguage("python", python);
hljs.registerLanguage("bash", bash);
hljs.registerLanguage("json", json);

/** A heading of a page. */
export interface Heading {
  /** 1 to 6. */
  level: number;
  /** Its words, as text. */
  text: string;
  /** Its address in the page. */
  id: string;
}

/** Formula that stands in markdown, as TeX. */
interface Formula {
  tex: string;
  display: boolean;
}

const markdown = new MarkdownIt({
  html: true,
  linkify: false,
  highlight: (code, language) => highlighted(code, language || "text"),
});
const rules = markdown as unknown as { inline: Ruler; block: Ruler; renderer: { rules: Rules } };

interface Ruler {
  ruler: {
    before(name: string, rule: string, fn: unknown, options?: { alt: string[] }): void;
  };
}
type Rules = Record<
  string,
  (
    tokens: { content: string; meta: { display: boolean } }[],
    i: number,
    o: unknown,
    env: Env,
  ) => string
>;
interface Env {
  formulas: Formula[];
}

// A formula is a place holder until the HTML was cleaned: MathML would not survive it.
rules.renderer.rules.formula = (tokens, i, _, env) => {
  env.formulas.push({ tex: tokens[i].content, display: tokens[i].meta.display });
  return `<span class="il-formula">${env.formulas.length - 1}</span>`;
};

interface InlineState {
  src: string;
  pos: number;
  posMax: number;
  push(type: string, tag: string, nesting: number): { content: string; meta: unknown };
}

// $…$ and $$…$$ as Jupyter reads them: no space inside the signs, no digit after, so that
// "$5 and $6" stays money.
rules.inline.ruler.before("escape", "formula", (state: InlineState, silent: boolean): boolean => {
  if (state.src[state.pos] !== "$") return false;
  const rest = state.src.slice(state.pos, state.posMax);
  const match = /^\$\$([^$]+)\$\$/.exec(rest) ??
    /^\$((?:[^$\s\\]|\\.)(?:(?:[^$\\]|\\.)*?(?:[^$\s\\]|\\.))?)\$(?!\d)/s.exec(rest);
  if (!match) return false;
  if (!silent) {
    const token = state.push("formula", "", 0);
    token.content = match[1].trim();
    token.meta = { display: match[0].startsWith("$$") };
  }
  state.pos += match[0].length;
  return true;
});

interface BlockState {
  bMarks: number[];
  eMarks: number[];
  tShift: number[];
  line: number;
  getLines(begin: number, end: number, indent: number, keepLast: boolean): string;
  push(
    type: string,
    tag: string,
    nesting: number,
  ): { content: string; meta: unknown; map: number[] };
  src: string;
}

// A paragraph that starts with $$: taken before lists and headings can claim its lines.
rules.block.ruler.before(
  "fence",
  "formula",
  (state: BlockState, start: number, end: number, silent: boolean): boolean => {
    const lineAt = (line: number) =>
      state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]).trim();
    if (!lineAt(start).startsWith("$$")) return false;
    let last = start;
    const closes = (line: number) =>
      lineAt(line).endsWith("$$") && (line > start || lineAt(line).length > 4);
    while (last < end && !closes(last)) last++;
    if (last >= end) return false;
    if (silent) return true;
    const token = state.push("formula", "", 0);
    token.content = state.getLines(start, last + 1, 0, false).trim().replace(/^\$\$|\$\$$/g, "");
    token.meta = { display: true };
    token.map = [start, last + 1];
    state.line = last + 1;
    return true;
  },
  { alt: ["paragraph", "blockquote", "list"] },
);

/**
 * Code as HTML with the classes of highlight.js.
 *
 * @param code The code.
 * @param language Its language; an unknown one is left uncoloured.
 */
export function highlighted(code: string, language: string): string {
  return hljs.getLanguage(language)
    ? hljs.highlight(code, { language, ignoreIllegals: true }).value
    : escapeHtml(code);
}

/** What a page knows while its cells are turned into HTML. */
export class MarkdownPage {
  /** Headings so far, in order. */
  readonly headings: Heading[] = [];
  readonly #links: ReadonlyMap<string, string>;

  /**
   * @param links Pages by the file name of their notebook: links between notebooks become links
   * between pages.
   */
  constructor(links: ReadonlyMap<string, string> = new Map()) {
    this.#links = links;
  }

  /**
   * Markdown as clean HTML. Headings get ids that are unique in the page.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { MarkdownPage } from "interlens";
   *
   * const page = new MarkdownPage();
   * assertEquals(page.render("## What *is* left?"), '<h2 id="what-is-left">What <em>is</em> left?</h2>\n');
   * assertEquals(page.headings, [{ level: 2, text: "What is left?", id: "what-is-left" }]);
   * ```
   *
   * @param source Text of a markdown cell.
   */
  render(source: string): string {
    const env: Env = { formulas: [] };
    const clean = cleanMarkdown(markdown.render(source, env as unknown as Record<string, unknown>));
    return withPageLinks(clean, this.#links)
      .replace(
        /<h([1-6])>(.*?)<\/h\1>/gs,
        (_, level, html) => this.#heading(Number(level), html, env.formulas),
      )
      // What scrolls sideways must be reached by the keyboard.
      .replaceAll("<pre>", '<pre tabindex="0">')
      .replaceAll("<table>", '<div class="scroll" tabindex="0"><table>')
      .replaceAll("</table>", "</table></div>")
      .replace(/<span class="il-formula">(\d+)<\/span>/g, (all, index) => {
        const formula = env.formulas[Number(index)];
        return formula ? mathml(formula) : all;
      });
  }

  #heading(level: number, html: string, formulas: Formula[]): string {
    const text = textOf(html.replace(
      /<span class="il-formula">(\d+)<\/span>/g,
      (_, index) => escapeHtml(formulas[Number(index)]?.tex ?? ""),
    ));
    const slug = text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "") ||
      "section";
    const taken = new Set(this.headings.map((heading) => heading.id));
    let id = slug;
    for (let i = 2; taken.has(id); i++) id = `${slug}-${i}`;
    this.headings.push({ level, text, id });
    return `<h${level} id="${escapeHtml(id)}">${html}</h${level}>`;
  }
}

/**
 * Clean HTML with its links to notebooks leading to their pages.
 *
 * @param html What `cleanHtml` or `cleanMarkdown` made.
 * @param links File name of a notebook to address of its page.
 */
export function withPageLinks(html: string, links: ReadonlyMap<string, string>): string {
  return html.replace(
    /(<a href=")([^":?#]+\.ipynb)((?:#[^"]*)?")/g,
    (link, before, file, after) => {
      const page = links.get(file.replace(/^\.\//, ""));
      return page === undefined ? link : before + page + after;
    },
  );
}

function mathml({ tex, display }: Formula): string {
  const html = katex.renderToString(tex, {
    displayMode: display,
    output: "mathml",
    throwOnError: false,
    trust: false,
    // A formula cannot make the page grow without end.
    maxSize: 20,
    maxExpand: 500,
  });
  return display
    ? `<span class="formula scroll" tabindex="0">${html}</span>`
    : `<span class="inline-formula">${html}</span>`;
}
