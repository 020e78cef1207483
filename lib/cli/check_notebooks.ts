/**
 * Types of the notebooks: a kernel only transpiles cells, so nothing else would see a wrong call.
 *
 * The code cells of a notebook become one module, as a reader runs them from top to bottom; what
 * the compiler says of a line is said of the cell that the line came from.
 *
 * @module
 */
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { NOTEBOOKS } from "./environment.ts";
import { findNotebooks } from "./series.ts";
import { ROOT } from "../files/mod.ts";

/** A notebook as one module. */
export interface NotebookModule {
  /** TypeScript. */
  readonly code: string;
  /** The cell, counted from 1 among code cells, and the line in it, for every line of `code`. */
  readonly origins: readonly { cell: number; line: number }[];
}

/**
 * Joins the code cells of a notebook.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { notebookModule } from "./check_notebooks.ts";
 *
 * const cells = [
 *   { cell_type: "code", source: ["const a = 1;\n", "a;"] },
 *   { cell_type: "markdown", source: "text" },
 *   { cell_type: "code", source: "a + 1" },
 * ];
 * const { code, origins } = notebookModule({ cells });
 * assertEquals(code.split("\n")[2], "a + 1");
 * assertEquals(origins[2], { cell: 2, line: 1 });
 * ```
 *
 * @param notebook A notebook file of version 4, parsed.
 */
export function notebookModule(
  notebook: { cells: { cell_type: string; source: string | string[] }[] },
): NotebookModule {
  const origins: { cell: number; line: number }[] = [];
  const code: string[] = [];
  let number = 0;
  for (const { cell_type, source } of notebook.cells) {
    const text = Array.isArray(source) ? source.join("") : source;
    if (cell_type !== "code" || !text.trim()) continue;
    number++;
    for (const [i, line] of text.split("\n").entries()) {
      code.push(line);
      origins.push({ cell: number, line: i + 1 });
    }
  }
  // Makes it a module, where `await` may stand outside of functions.
  code.push("export {};");
  return { code: code.join("\n") + "\n", origins };
}

/**
 * Checks the types of notebooks.
 *
 * @param notebooks Paths of notebook files.
 * @returns What the compiler complains about, with notebook, cell and line; empty if all is well.
 */
export async function checkNotebooks(notebooks: string[]): Promise<string> {
  if (notebooks.length === 0) return "";
  // Outside of the repository, whose configuration excludes every folder that may hold it.
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "interlens-check-" }));
  try {
    const modules = new Map<string, { name: string; module: NotebookModule }>();
    for (const path of notebooks) {
      const name = basename(path);
      const module = notebookModule(JSON.parse(await Deno.readTextFile(path)));
      const file = join(folder, name.replace(/\.ipynb$/, ".ts"));
      await Deno.writeTextFile(file, module.code);
      modules.set(pathToFileURL(file).href, { name, module });
    }
    const checked = await new Deno.Command(Deno.execPath(), {
      args: ["check", "--quiet", "--config", join(ROOT, "deno.json"), ...modules.keys()],
      cwd: ROOT,
      env: { RUST_BACKTRACE: "0" },
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    const said = decoder.decode(checked.stdout) + decoder.decode(checked.stderr);
    if (checked.success && !said.includes("No matching files")) return "";
    return stripVTControlCharacters(said).replace(
      /(file:\/\/[^\s"]+?):(\d+):(\d+)/g,
      (place, url, line, column) => {
        const found = modules.get(url);
        const origin = found?.module.origins[Number(line) - 1];
        return origin ? `${found!.name}, cell ${origin.cell}, ${origin.line}:${column}` : place;
      },
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const notebooks = await findNotebooks(NOTEBOOKS, Deno.args);
  const said = await checkNotebooks(notebooks);
  if (said) console.error(said);
  console.log(`${notebooks.length} notebooks checked${said ? ", with errors" : ""}`);
  if (said) Deno.exit(1);
}
