/**
 * WikiText: the good and featured articles of the English Wikipedia, from the hub.
 *
 * @module
 */
import { join } from "node:path";
import { hubSnapshot } from "../hub/mod.ts";
import type { SplitName } from "./split.ts";
import { type DocumentSource, sourceOf } from "./source.ts";

/** Which WikiText; see {@linkcode wikitext}. */
export interface WikitextOptions {
  /** The corpus' own split; default "train". */
  split?: SplitName;
  /** Version of the corpus, a folder of the repository; default "wikitext-103-raw-v1". */
  name?: string;
  /** Data set on the hub; default "Salesforce/wikitext". */
  repo?: string;
  /** Stops the download. */
  signal?: AbortSignal;
}

/** Heading of an article; one of a section has more signs on either side (" = = Plot = = "). */
const TITLE = /^\s*= (?!=).*(?<!=) =\s*$/;

/**
 * WikiText by article, as its parquet files on the hub have it (S. Merity et al. 2016, "Pointer
 * Sentinel Mixture Models"; text of Wikipedia, CC BY-SA and GFDL). Files are downloaded when
 * reading starts, unless the cache has them; then a few thousand rows are in memory at a time, never
 * the whole set.
 *
 * An article starts at a row like " = Title = " after an empty row. Its text is its rows as they
 * stand, marks such as "@-@" included, a line each, without the empty ones. Ids number the articles
 * of a split from 0 on.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { takeDocuments, type Tokenizer, wikitext } from "interlens";
 *
 * // Half a million of the model's tokens, from the first articles on.
 * const sample = (tokenizer: Tokenizer) =>
 *   takeDocuments(wikitext(), { tokens: 500_000, tokenizer });
 * // What cannot be taken is refused before anything is downloaded.
 * await assertRejects(() => takeDocuments(wikitext(), { documents: 0 }), RangeError, "from 1 on");
 * ```
 *
 * @throws {Error} While reading: as `hubSnapshot`; if a part of the split is missing, or a file
 * cannot be read.
 */
export function wikitext(
  { split = "train", name = "wikitext-103-raw-v1", repo = "Salesforce/wikitext", signal }:
    WikitextOptions = {},
): DocumentSource {
  return sourceOf(async function* () {
    let article = 0;
    const rows = rowsOf(await filesOf({ repo, name, split, signal }));
    for await (const text of articlesOf(rows)) {
      yield { id: `${name}/${split}/${article++}`, text, group: name };
    }
  });
}

/** Paths of the parquet files of a split, in order, all of them. */
async function filesOf(
  { repo, name, split, signal }: Required<Omit<WikitextOptions, "signal">> & WikitextOptions,
): Promise<string[]> {
  const paths: string[] = [];
  const prefix = `${name}/${split}-`;
  const folder = await hubSnapshot({ id: repo, kind: "dataset" }, (path) => {
    const wanted = path.startsWith(prefix) && path.endsWith(".parquet");
    if (wanted) paths.push(path);
    return wanted;
  }, { signal });
  const parts = Number(/-of-(\d+)\.parquet$/.exec(paths[0])?.[1] ?? paths.length);
  if (paths.length !== parts) {
    throw new Error(
      `The split "${split}" of "${name}" has ${parts} parts, but ${paths.length} are here: unset ` +
        `HF_HUB_OFFLINE to download the others`,
    );
  }
  return paths.sort().map((path) => join(folder, path));
}

async function* rowsOf(files: string[]): AsyncGenerator<string> {
  const { parquetColumn } = await import("./polars.ts");
  for (const file of files) {
    for await (const row of parquetColumn(file, "text")) yield row ?? "";
  }
}

/** Texts of the articles in rows of WikiText. */
async function* articlesOf(rows: AsyncIterable<string>): AsyncGenerator<string> {
  let lines: string[] = [];
  let afterEmpty = true;
  for await (const row of rows) {
    const empty = row.trim() === "";
    if (afterEmpty && lines.length > 0 && TITLE.test(row)) {
      yield lines.join("");
      lines = [];
    }
    if (!empty) lines.push(row.endsWith("\n") ? row : `${row}\n`);
    afterEmpty = empty;
  }
  if (lines.length > 0) yield lines.join("");
}
