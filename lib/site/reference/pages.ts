/**
 * The reference of the library as pages: one a folder, and an index of all names.
 *
 * `deno doc --html` makes three thousand pages of sixty megabytes, most of them of TensorFlow.js; these
 * hold what is ours in one or two, in the look and under the security policy of the site.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { escapeHtml } from "../../display/mod.ts";
import { highlighted, MarkdownPage } from "../markdown.ts";
import { pageHtml, type SiteLinks } from "../page.ts";
import type { Declaration, DocModule, DocSymbol, JsDoc, Location, Member } from "./doc_json.ts";
import { declarationAt, headAt } from "./signature.ts";

/** Address of the index of names in the site. */
export const REFERENCE_PAGE = "docs/index.html";

/**
 * Files of the reference in a site, by their place in it.
 *
 * @param modules From `readDocumentation`.
 * @param links What else the site has.
 */
export async function referencePages(
  modules: readonly DocModule[],
  links: SiteLinks = {},
): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  for (const { symbols } of modules) {
    for (
      const { filename } of symbols.flatMap(({ declarations }) =>
        declarations.map((d) => d.location)
      )
    ) {
      if (!sources.has(filename)) {
        sources.set(filename, await Deno.readTextFile(fileURLToPath(filename)));
      }
    }
  }
  const places = new Map(
    modules.flatMap(({ name, symbols }) =>
      symbols.map((symbol) => [symbol.name, `${name}.html#${symbol.name}`] as const)
    ),
  );
  const writer = new Writer(sources, places);
  const pages = new Map<string, string>();
  pages.set(REFERENCE_PAGE, indexHtml(modules, links));
  modules.forEach((module, i) => {
    const step = (to: DocModule | undefined) => to && { title: to.name, href: `${to.name}.html` };
    pages.set(
      `docs/${module.name}.html`,
      pageHtml({
        title: `${module.name} · Reference · Interlens`,
        description: firstSentence(module.doc),
        main: writer.module(module),
        headings: [...module.symbols].map(({ name }) => ({ level: 2, text: name, id: name })),
        previous: step(modules[i - 1]) ?? { title: "Reference", href: "index.html" },
        next: step(modules[i + 1]),
        links,
        root: "../",
      }),
    );
  });
  return pages;
}

function indexHtml(modules: readonly DocModule[], links: SiteLinks): string {
  const markdown = new MarkdownPage();
  const parts = modules.map(({ name, doc, symbols }) => {
    const rows = symbols.map((symbol) =>
      `<tr><td><a href="${name}.html#${escapeHtml(symbol.name)}"><code>${
        escapeHtml(symbol.name)
      }</code></a></td><td>${kindOf(symbol)}</td><td>${
        inline(markdown, firstSentence(docOf(symbol)))
      }</td></tr>`
    );
    markdown.headings.push({ level: 2, text: name, id: name });
    return `<h2 id="${name}"><a href="${name}.html">${name}</a></h2>\n${
      inline(markdown, firstSentence(doc), "p")
    }\n<div class="scroll" tabindex="0"><table class="names"><tbody>\n${
      rows.join("\n")
    }\n</tbody></table></div>`;
  });
  return pageHtml({
    title: "Reference · Interlens",
    description: "Every exported name of Interlens",
    main:
      `<h1>Reference</h1>\n<p>Every name that <code>"interlens"</code> exports, by folder: data flow ` +
      `from the first to the last. The examples are run by the tests. <code>tf</code>, which is exported ` +
      `too, is TensorFlow.js.</p>\n${parts.join("\n")}`,
    headings: [...markdown.headings],
    links,
    root: "../",
  });
}

/** Markdown of one sentence, without the paragraph around it, or with it. */
function inline(markdown: MarkdownPage, text: string, around = ""): string {
  const html = markdown.render(text.replace(/\{@link(?:code|plain)? ([^}]+)\}/g, "`$1`"))
    .replace(/^<p>|<\/p>\s*$/g, "");
  return around ? `<${around}>${html}</${around}>` : html;
}

const KINDS: Record<string, string> = { typeAlias: "type", variable: "constant" };
const kindOf = ({ declarations: [{ kind }] }: DocSymbol) => KINDS[kind] ?? kind;
const docOf = ({ declarations }: DocSymbol) =>
  declarations.find(({ jsDoc }) => jsDoc?.doc)?.jsDoc?.doc ?? "";

/** Up to the first full stop that ends a sentence, of the first paragraph. */
function firstSentence(doc: string): string {
  const [paragraph] = doc.split(/\n\s*\n/);
  const line = paragraph.replaceAll("\n", " ").trim();
  return /^(.*?[.:])(?:\s+[A-Z`]|$)/.exec(line)?.[1].replace(/:$/, ".") ?? line;
}

class Writer {
  readonly #sources: ReadonlyMap<string, string>;
  readonly #places: ReadonlyMap<string, string>;

  constructor(sources: ReadonlyMap<string, string>, places: ReadonlyMap<string, string>) {
    this.#sources = sources;
    this.#places = places;
  }

  module({ name, doc, symbols }: DocModule): string {
    return [
      `<h1>${escapeHtml(name)}</h1>`,
      this.#markdown(doc),
      ...symbols.map((symbol) => this.#symbol(symbol)),
    ].join("\n");
  }

  #symbol({ name, declarations }: DocSymbol): string {
    const id = escapeHtml(name);
    return `<section aria-labelledby="${id}"><h2 id="${id}"><code>${id}</code></h2>\n` +
      declarations.map((declaration) => this.#declaration(declaration)).join("\n") +
      "\n</section>";
  }

  #declaration(declaration: Declaration): string {
    const { kind, jsDoc, def } = declaration;
    const { source, start } = this.#at(declaration.location);
    const whole = kind === "interface" || kind === "typeAlias";
    const parts = [
      this.#code(
        whole
          ? declarationAt(source, start)
          : kind === "variable"
          ? declarationAt(source, source.lastIndexOf("\n", start) + 1)
          : headAt(source, start),
      ),
      this.#doc(jsDoc),
    ];
    if (kind === "class") {
      const members = [...def.constructors ?? [], ...def.properties ?? [], ...def.methods ?? []];
      parts.push(...members.filter(isPublic).map((member) => this.#member(member)));
    }
    return parts.join("\n");
  }

  #member({ name, location, jsDoc }: Member): string {
    const { source, start } = this.#at(location);
    return `<h3 class="member"><code>${escapeHtml(name)}</code></h3>\n` +
      this.#code(headAt(source, start)) + "\n" + this.#doc(jsDoc);
  }

  #doc({ doc = "", tags = [] }: JsDoc = {}): string {
    const rows = tags.flatMap(({ kind, name, doc: text = "", tsType }) =>
      kind === "param"
        ? [[name ?? "", text]]
        : kind === "return"
        ? [["returns", text]]
        : kind === "throws"
        ? [[`throws ${tsType?.repr ?? ""}`.trim(), text]]
        : []
    );
    const list = rows.map(([term, text]) =>
      `<dt><code>${escapeHtml(term)}</code></dt><dd>${this.#markdown(text)}</dd>`
    );
    return this.#markdown(doc) + (list.length > 0 ? `\n<dl>${list.join("\n")}</dl>` : "");
  }

  /** A comment; headings in it would break the outline of the page, so they become bold. */
  #markdown(text: string): string {
    const linked = text.replace(
      /\{@link(?:code|plain)? ([^}\s|]+)[^}]*\}/g,
      (_, name: string) => {
        const place = this.#places.get(name.split(".")[0]);
        return place ? `[\`${name}\`](${place})` : `\`${name}\``;
      },
    ).replace(/^#+ (.*)$/gm, "**$1**");
    return new MarkdownPage().render(linked).trim();
  }

  #code(code: string): string {
    return `<pre class="scroll" tabindex="0"><code>${highlighted(code, "typescript")}</code></pre>`;
  }

  #at({ filename, line, col }: Location): { source: string; start: number } {
    const source = this.#sources.get(filename)!;
    let start = 0;
    for (let n = 0; n < line; n++) start = source.indexOf("\n", start) + 1;
    return { source, start: start + col };
  }
}

const isPublic = ({ name, accessibility, jsDoc }: Member) =>
  accessibility !== "private" && !name.startsWith("#") && !name.startsWith("[") &&
  !jsDoc?.tags?.some(({ kind, name }) => kind === "internal" || name === "internal");
