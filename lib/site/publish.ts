/**
 * The published write-up: a folder of pages from executed notebooks.
 *
 * A page is made here and not by nbconvert, whose template brings half a megabyte of styles to each
 * page, loads scripts from other hosts, shows no plotly figure and lets HTML of outputs run.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { basename, dirname, join, resolve } from "node:path";
import { VERSION, writeFileAtomic } from "../files/mod.ts";
import { indexHtml } from "./index_page.ts";
import { type Notebook, notebookProblems, type Output, readNotebook } from "./notebook.ts";
import { type NotebookPage, renderNotebook } from "./notebook_page.ts";
import { type ExplorerFiles, readExplorer } from "./explorer/files.ts";
import { EXPLORER_PAGE, explorerPages } from "./explorer/page.ts";
import { type DocModule, readDocumentation } from "./reference/doc_json.ts";
import { REFERENCE_PAGE, referencePages } from "./reference/pages.ts";
import { pageHtml, type SiteLinks } from "./page.ts";
import { figureOf, fillPngs, openPainter, plotlyPath } from "./png.ts";
import { textOf } from "./sanitize.ts";

/** What to publish, and where. */
export interface PublishOptions {
  /** Paths of executed notebooks in reading order. Pictures of figures are stored in them. */
  notebooks: string[];
  /** Folder of the site; what an earlier site left in it is replaced. */
  out: string;
  /** Folder that `writeExplorer` wrote. Default: the site has no feature explorer. */
  explorer?: string;
  /** Whether the reference of the library is part of it; takes some seconds. Default false. */
  reference?: boolean;
}

/** What was published. */
export interface PublishReport {
  /** The first page. */
  index: string;
  /** One entry a notebook. */
  pages: { notebook: string; path: string; title: string; figures: number; bytes: number }[];
  /** Size of the site in bytes. */
  bytes: number;
  /** Figures that were drawn as PNG for this and stored in their notebooks. */
  filled: number;
  /** What is less than it could be, as figures without a PNG, and what to do. */
  messages: string[];
}

/** File that says that a folder is a site of ours and may be replaced. */
const MARK = ".interlens-site";

/**
 * Makes a static site: an index, one page a notebook, one plotly.js for all. It works from a disk
 * and without a network; nothing on it is loaded from another host.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { publish } from "interlens";
 *
 * // A notebook that was not executed is refused: deno task notebooks first.
 * const out = await Deno.makeTempDir();
 * const draft = `${out}/draft.ipynb`;
 * await Deno.writeTextFile(draft, JSON.stringify({
 *   cells: [{ cell_type: "code", source: "1 + 1", outputs: [], execution_count: null, metadata: {} }],
 *   metadata: {},
 *   nbformat: 4,
 *   nbformat_minor: 5,
 * }));
 * await assertRejects(() => publish({ notebooks: [draft], out: `${out}/site` }), Error, "draft");
 * await Deno.remove(out, { recursive: true });
 * ```
 *
 * @param options What and where.
 * @throws {Error} If a notebook is missing, was not executed, holds an error, was executed with another
 * version of this library or as a rehearsal, with the list of all such; if two have one name; if `out` is a folder with other content. The site that was there before
 * is left as it was.
 */
export async function publish(
  { notebooks, out, explorer, reference = false }: PublishOptions,
): Promise<PublishReport> {
  if (notebooks.length === 0) {
    throw new RangeError("Cannot publish no notebook: expected the path of at least one");
  }
  await refuseUnfit(notebooks);
  const target = resolve(out);
  await refuseForeign(target);
  const features = explorer === undefined ? undefined : await readExplorer(explorer);
  const modules = reference ? await readDocumentation() : undefined;

  const { filled, messages } = await fillAll(notebooks);
  const links = new Map(notebooks.map((path) => [basename(path), `${nameOf(path)}.html`]));
  const sources = await Promise.all(notebooks.map(readNotebook));
  const pages = sources.map((notebook, i) => renderNotebook(notebook, notebooks[i], links));

  const profiles = new Map(pages.flatMap(({ name, made }) => made ? [[name, made.profile]] : []));
  if (new Set(profiles.values()).size > 1) {
    messages.push(
      `The notebooks were executed in different profiles: ${
        [...profiles].map(([name, profile]) => `${name} ${profile}`).join(", ")
      }`,
    );
  }

  const making = `${target}.${crypto.randomUUID()}.tmp`;
  try {
    const report = await write(making, { notebooks, sources, pages, features, modules });
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.remove(target, { recursive: true }).catch(ignoreMissing);
    await Deno.rename(making, target);
    return {
      ...report,
      index: join(target, "index.html"),
      pages: report.pages.map((page) => ({ ...page, path: join(target, page.path) })),
      filled,
      messages,
    };
  } catch (error) {
    await Deno.remove(making, { recursive: true }).catch(() => {});
    throw error;
  }
}

function nameOf(path: string): string {
  return basename(path, ".ipynb");
}

async function refuseUnfit(notebooks: string[]): Promise<void> {
  const problems: string[] = [];
  const seen = new Set<string>(["index", "explorer"]);
  for (const path of notebooks) {
    const name = nameOf(path);
    // The name becomes an address and a file.
    if (!/^[\w.-]+$/.test(name)) {
      problems.push(`${basename(path)}: expected a name of letters, digits, "_", "-" and "."`);
    }
    if (seen.has(name.toLowerCase())) {
      problems.push(`${basename(path)}: there is a page of this name`);
    }
    seen.add(name.toLowerCase());
    try {
      problems.push(...notebookProblems(await readNotebook(path), path));
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  if (problems.length > 0) {
    throw new Error(
      `Cannot publish: ${problems.length === 1 ? "a problem" : `${problems.length} problems`}\n` +
        problems.map((problem) => `  ${problem}`).join("\n"),
    );
  }
}

async function refuseForeign(target: string): Promise<void> {
  const entries = await Array.fromAsync(Deno.readDir(target)).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return [];
    throw new Error(`Cannot publish to "${target}": expected a folder`, { cause: error });
  });
  if (entries.length > 0 && !entries.some(({ name }) => name === MARK)) {
    throw new Error(
      `Cannot publish to "${target}": it holds files that are not a site of Interlens. Choose an ` +
        `empty or new folder`,
    );
  }
}

async function fillAll(notebooks: string[]): Promise<{ filled: number; messages: string[] }> {
  let painter: Awaited<ReturnType<typeof openPainter>>;
  const messages: string[] = [];
  try {
    painter = await openPainter();
  } catch (error) {
    // Pages without pictures are better than no pages.
    return { filled: 0, messages: [`Figures have no new PNG: ${(error as Error).message}`] };
  }
  let filled = 0;
  try {
    for (const path of notebooks) {
      const report = await fillPngs(path, painter);
      filled += report.filled;
      if (report.message) messages.push(`${basename(path)}: ${report.message}`);
    }
  } finally {
    await painter?.close();
  }
  return { filled, messages };
}

async function write(
  folder: string,
  { notebooks, sources, pages, features, modules }: {
    notebooks: string[];
    sources: Notebook[];
    pages: NotebookPage[];
    features?: ExplorerFiles;
    modules?: DocModule[];
  },
): Promise<Pick<PublishReport, "pages" | "bytes">> {
  let bytes = 0;
  const put = async (name: string, content: string | Uint8Array): Promise<number> => {
    const packed = typeof content === "string" ? new TextEncoder().encode(content) : content;
    await writeFileAtomic(join(folder, name), packed);
    bytes += packed.length;
    return packed.length;
  };
  const assets = join(import.meta.dirname!, "assets");
  const about = (await Deno.readTextFile(join(assets, "about.md"))).replaceAll("VERSION", VERSION);
  await put(MARK, "");
  const links: SiteLinks = {
    explorer: features && EXPLORER_PAGE,
    reference: modules && REFERENCE_PAGE,
  };
  await put("index.html", indexHtml(about, pages, links));
  const own = ["site.css", "site.js", ...features ? ["explorer.css", "explorer.js"] : []];
  for (const name of own) {
    await put(`assets/${name}`, await Deno.readFile(join(assets, name)));
  }
  for (const [name, content] of features ? explorerPages(features, links) : []) {
    await put(name, content);
  }
  for (const [name, content] of modules ? await referencePages(modules, links) : []) {
    await put(name, content);
  }
  const figures = sources.flatMap(outputsOf).flatMap((output) => figureOf(output) ?? []);
  await put("assets/plotly.min.js", await Deno.readFile(plotlyPath(figures)));

  const published: PublishReport["pages"] = [];
  for (const [i, page] of pages.entries()) {
    const neighbour = (at: number) =>
      pages[at] && { title: pages[at].title, href: `${pages[at].name}.html` };
    const path = `${page.name}.html`;
    const size = await put(
      path,
      pageHtml({
        title: `${page.title} · Interlens`,
        description: textOf(page.claim),
        main: page.main,
        headings: page.headings,
        previous: neighbour(i - 1) ?? { title: "Overview", href: "index.html" },
        next: neighbour(i + 1),
        download: `notebooks/${page.name}.ipynb`,
        links,
      }),
    );
    await put(`notebooks/${page.name}.ipynb`, forDownload(sources[i]));
    for (const { number, png } of page.figures) {
      if (png) await put(`figures/${page.name}-${number}.png`, Buffer.from(png, "base64"));
    }
    published.push({
      notebook: notebooks[i],
      path,
      title: page.title,
      figures: page.figures.length,
      bytes: size,
    });
  }
  return { pages: published, bytes };
}

function outputsOf({ cells }: Notebook): Output[] {
  return cells.flatMap(({ outputs }) => outputs ?? []);
}

/**
 * A notebook to download, in few bytes: without the pictures of figures, which JupyterLab draws and the
 * site has, and without line breaks.
 */
function forDownload(notebook: Notebook): string {
  const copy = structuredClone(notebook);
  for (const output of outputsOf(copy).filter(figureOf)) {
    delete output.data!["image/png"];
    delete output.metadata?.["image/png"];
  }
  return JSON.stringify(copy) + "\n";
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
