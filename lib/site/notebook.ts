/**
 * Notebooks as files: what they hold, and whether they can be published.
 *
 * @module
 */
import { basename } from "node:path";
import { VERSION } from "../files/mod.ts";
import { provenanceOf } from "./provenance.ts";

/** One output of a cell, in the formats of the Jupyter notebook format 4. */
export interface Output {
  /** `stream`, `display_data`, `execute_result` or `error`. */
  output_type: string;
  /** Text of a stream. */
  text?: string | string[];
  /** MIME bundle of a display. */
  data?: Record<string, unknown>;
  /** Notes about the formats, as the size of a PNG. */
  metadata?: Record<string, unknown>;
  /** Name of an error. */
  ename?: string;
  /** Message of an error. */
  evalue?: string;
}

/** A cell of a notebook. */
export interface Cell {
  /** `code`, `markdown` or `raw`. */
  cell_type: string;
  /** Its text. */
  source: string | string[];
  /** Notes; `tags` are the author's. */
  metadata?: { tags?: string[] };
  /** When it ran; null before. */
  execution_count?: number | null;
  /** What it showed. */
  outputs?: Output[];
}

/** A notebook. */
export interface Notebook {
  /** Its cells in order. */
  cells: Cell[];
  /** Notes about kernel and language. */
  metadata: Record<string, unknown>;
  /** Major version of the format. */
  nbformat: number;
}

/**
 * Reads a notebook.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readNotebook } from "interlens";
 *
 * const path = await Deno.makeTempFile({ suffix: ".ipynb" });
 * await Deno.writeTextFile(path, `{ "nbformat": 4, "metadata": {}, "cells": [] }`);
 * assertEquals((await readNotebook(path)).cells.length, 0);
 * await Deno.remove(path);
 * ```
 *
 * @param path The `.ipynb` file.
 * @throws {Error} If there is no such file or it is not a notebook of format 4.
 */
export async function readNotebook(path: string): Promise<Notebook> {
  let notebook: Notebook;
  try {
    notebook = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    const why = error instanceof SyntaxError ? "it is not JSON" : "it cannot be read";
    throw new Error(`Cannot use the notebook "${path}": ${why}`, { cause: error });
  }
  if (notebook?.nbformat !== 4 || !Array.isArray(notebook.cells)) {
    throw new Error(
      `Cannot use the notebook "${path}": expected format 4 with a list of cells, got format ` +
        `${notebook?.nbformat}`,
    );
  }
  return notebook;
}

/** A text that the format may store as a list of lines. */
export function joined(text: unknown): string {
  return Array.isArray(text) ? text.join("") : typeof text === "string" ? text : "";
}

/**
 * Why a notebook cannot be published, one sentence a reason; empty if it can be.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { notebookProblems } from "interlens";
 *
 * const cell = { cell_type: "code", source: "1 + 1", execution_count: null, outputs: [] };
 * assertEquals(notebookProblems({ nbformat: 4, metadata: {}, cells: [cell] }, "01_a.ipynb"), [
 *   "01_a.ipynb: 1 of 1 code cells was not executed (cell 1); run the notebook from top to bottom",
 * ]);
 * ```
 *
 * @param notebook The notebook.
 * @param path Its path, for the sentences.
 */
export function notebookProblems(notebook: Notebook, path: string): string[] {
  const name = basename(path);
  const problems: string[] = [];
  const code = notebook.cells.filter((cell) =>
    cell.cell_type === "code" && joined(cell.source).trim() !== ""
  );
  if (code.length === 0) problems.push(`${name}: there is no code cell`);
  const missed = code.flatMap((cell, i) => cell.execution_count == null ? [i + 1] : []);
  if (missed.length > 0) {
    const shown = missed.slice(0, 5).join(", ") + (missed.length > 5 ? ", …" : "");
    problems.push(
      `${name}: ${missed.length} of ${code.length} code cells ` +
        `${missed.length === 1 ? "was" : "were"} not executed (cell ${shown}); run the notebook ` +
        `from top to bottom`,
    );
  }
  code.forEach((cell, i) => {
    const error = cell.outputs?.find((output) => output.output_type === "error");
    if (error) {
      problems.push(`${name}: cell ${i + 1} ended with ${error.ename}: ${error.evalue}`.trim());
    }
  });
  const made = provenanceOf(notebook);
  if (made && made.version !== VERSION) {
    problems.push(
      `${name}: it was executed with Interlens ${made.version}, and this is ${VERSION}; execute it again`,
    );
  }
  if (made?.rehearsal) {
    problems.push(`${name}: it was executed as a rehearsal, whose numbers mean nothing`);
  }
  return problems;
}
