/**
 * Documents from a column of a CSV file.
 *
 * @module
 */
import { basename } from "node:path";
import { chunksOf, joined } from "./bytes.ts";
import { after, type Place } from "./csv_records.ts";
import { type DocumentSource, sourceOf } from "./source.ts";

/** Bytes of whole records that are parsed together. */
const BLOCK_BYTES = 8 << 20;
/** Longest record; a quotation mark that is never closed makes a longer one. */
const MAX_RECORD_BYTES = 64 << 20;
const NEWLINE = 10;

/**
 * One column of a CSV file (RFC 4180: commas, quotation marks around what holds commas or line
 * breaks): every row is a document. A document's id ends in the number of its row, from 1 on, the
 * header not counted. Rows without text are left out. A few megabytes are in memory at a time.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromCsv } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, 'year,text\n1999,"Rain, again."\n2000,\n2001,Sun.\n');
 * const documents = await Array.fromAsync(fromCsv(path, { column: "text", name: "mine" }));
 * assertEquals(documents.map(({ id, text }) => [id, text]), [
 *   ["mine/1", "Rain, again."],
 *   ["mine/3", "Sun."],
 * ]);
 * await Deno.remove(path);
 * ```
 *
 * @param path The file; its first row names the columns.
 * @param options.column Column that holds the text.
 * @param options.name Start of every id, and the group; default the name of the file.
 * @throws {Error} While reading: if there is no such column or file, or it cannot be read as CSV.
 */
export function fromCsv(
  path: string,
  { column, name = basename(path) }: { column: string; name?: string },
): DocumentSource {
  return sourceOf(async function* () {
    const { csvColumn } = await import("./polars.ts");
    let row = 0;
    for await (const block of blocksOf(path)) {
      let texts: (string | null)[];
      try {
        texts = csvColumn(block, column);
      } catch (error) {
        const reason = error instanceof Error ? error.message : error;
        throw new Error(`Cannot read "${path}" from row ${row + 1} on: ${reason}`, {
          cause: error,
        });
      }
      for (const text of texts) {
        row++;
        if (text?.trim()) yield { id: `${name}/${row}`, text, group: name };
      }
    }
  });
}

/** Whole records of a file in blocks, each with the header in front. */
async function* blocksOf(path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let header: Uint8Array | undefined;
  let pending: Uint8Array[] = [];
  let place: Place = "start";
  for await (const chunk of chunksOf(path)) {
    let start = 0;
    let end = 0;
    for (let i = 0; i < chunk.length; i++) {
      place = after(place, chunk[i]);
      if (chunk[i] !== NEWLINE || place === "quoted") continue;
      end = i + 1;
      if (header) continue;
      header = joined([...pending, chunk.subarray(0, end)]);
      pending = [];
      start = end;
    }
    const bytes = pending.reduce((sum, { length }) => sum + length, 0);
    if (bytes > BLOCK_BYTES && end > start) {
      yield joined([header!, ...pending, chunk.subarray(start, end)]);
      pending = [];
      start = end;
    } else if (bytes > MAX_RECORD_BYTES) {
      throw new Error(
        `"${path}" has a row of more than ${
          MAX_RECORD_BYTES >> 20
        } MiB: a quotation mark is not closed`,
      );
    }
    pending.push(chunk.subarray(start));
  }
  yield joined([header ?? new Uint8Array(), ...pending]);
}
