/**
 * Text columns of parquet files, a slice of rows at a time.
 *
 * @module
 */

/** Rows in memory at a time. */
export const SLICE_ROWS = 4096;

/**
 * Values of a text column, in the order of the file. Polars maps the file and decodes only the
 * pages that hold a slice, whether the file has one row group or many.
 *
 * @throws {Error} If the file is no parquet file, is damaged, or has no such column of text.
 */
export async function* parquetColumn(path: string, column: string): AsyncGenerator<string | null> {
  const { default: pl } = await import("nodejs-polars");
  for (let start = 0;; start += SLICE_ROWS) {
    let rows: (string | null)[];
    try {
      rows = (await pl.scanParquet(path, { glob: false })
        .select(pl.col(column).cast(pl.String)).slice(start, SLICE_ROWS).collect())
        .getColumn(column).toArray() as (string | null)[];
    } catch (error) {
      const reason = (error instanceof Error ? error.message : String(error)).split("\n")[0];
      throw new Error(
        `Cannot read column "${column}" of "${path}" from row ${start} on: ${reason}`,
        { cause: error },
      );
    }
    yield* rows;
    if (rows.length < SLICE_ROWS) return;
  }
}
