/**
 * Columns of text out of parquet and CSV by polars, in memory that does not grow with the file.
 *
 * Imported when a file is read, since loading polars takes longer than loading the library.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import pl, { type DataFrame } from "nodejs-polars";

/** Rows of a parquet file in memory at a time. */
export const SLICE_ROWS = 4096;

/**
 * Values of a text column of a parquet file, in their order. Polars maps the file and decodes only
 * the pages that hold a slice, whether the file has one row group or many.
 *
 * @throws {Error} If the file is no parquet file, is damaged, or has no such column.
 */
export async function* parquetColumn(path: string, column: string): AsyncGenerator<string | null> {
  for (let start = 0;; start += SLICE_ROWS) {
    let rows: (string | null)[];
    try {
      rows = takeTexts(
        await pl.scanParquet(path, { glob: false })
          .select(pl.col(column).cast(pl.String)).slice(start, SLICE_ROWS).collect(),
      );
    } catch (error) {
      throw new Error(
        `Cannot read column "${column}" of "${path}" from row ${start} on: ${reasonOf(error)}`,
        { cause: error },
      );
    }
    yield* rows;
    if (rows.length < SLICE_ROWS) return;
  }
}

/**
 * Values of a text column of CSV with a header; empty fields are null.
 *
 * @throws {Error} If there is no such column, or the bytes are not CSV.
 */
export function csvColumn(csv: Uint8Array<ArrayBuffer>, column: string): (string | null)[] {
  return csvColumns(csv, [column]).map(([text]) => text);
}

/**
 * Rows of CSV with a header, of each the values of some columns; empty fields are null.
 *
 * @throws {Error} If a column is missing, or the bytes are not CSV.
 */
export function csvColumns(
  csv: Uint8Array<ArrayBuffer>,
  columns: readonly string[],
): (string | null)[][] {
  let frame: DataFrame;
  try {
    frame = pl.readCSV(Buffer.from(csv.buffer, csv.byteOffset, csv.length), {
      // Text stays text, "007" too.
      inferSchemaLength: 0,
      truncateRaggedLines: false,
      raiseIfEmpty: false,
    });
  } catch (error) {
    throw new Error(reasonOf(error), { cause: error });
  }
  const known = frame.columns;
  const missing = columns.find((column) => !known.includes(column));
  if (missing !== undefined) {
    const names = known.map((other) => `"${other}"`).join(", ");
    throw new Error(`there is no column "${missing}", it has ${names || "none"}`);
  }
  const rows = frame.select(...columns).rows() as (string | null)[][];
  empty(frame);
  return rows;
}

/** Rows as a polars frame, for people to look at and to group. */
export function frameOf(columns: Record<string, readonly (string | number)[]>): DataFrame {
  return pl.DataFrame(columns);
}

/** Takes the texts out of a frame of one column, which is empty afterwards. */
function takeTexts(frame: DataFrame): (string | null)[] {
  const texts = frame.rows().map(([text]) => text as string | null);
  empty(frame);
  return texts;
}

/**
 * Gives back the memory behind a frame.
 *
 * V8 would do that when it collects the frame, but it sees only the frame's handle, a few bytes, and
 * lets gigabytes pile up. So columns of nulls take the place of what was read, and no other object
 * of polars is made that would hold it. Reading 400 MB of text in slices of 2 MB added 420 MB without
 * this, and 17 MB with it.
 */
function empty(frame: DataFrame): void {
  const nulls = new Array(frame.height).fill(null);
  frame.columns.forEach((name, i) => frame.replaceAtIdx(i, pl.Series(name, nulls, pl.Bool)));
}

/** What polars says is wrong, without its advice on options of its own. */
function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}
