/**
 * Tables that read well: rounded, aligned, escaped, with a line that says how much is shown.
 *
 * @module
 */
import { escapeHtml } from "./escape.ts";
import { formatNumber, groupThousands } from "./format.ts";
import { type Displayable, JUPYTER_DISPLAY, type MimeBundle } from "./jupyter.ts";

/** Names that may become links. */
const NOTEBOOK = /^\w+$/;

/** What `table` needs of a polars data frame. */
export interface DataFrameLike {
  /** Names of the columns, in order. */
  readonly columns: string[];
  /** Number of rows. */
  readonly height: number;
  /** The first rows. */
  head(count?: number): DataFrameLike;
  /** The rows as objects. */
  toRecords(): Record<string, unknown>[];
}

/** How a table is shown. */
export interface TableOptions {
  /** What the table says; it must be understood without the text around. */
  caption?: string;
  /** Rows shown at most. Default 20. */
  maxRows?: number;
  /** Significant digits of the largest number in a column. Default 4. */
  digits?: number;
  /** Columns whose cells are names of notebooks, shown as links to them, beside this one. */
  notebooks?: readonly string[];
}

/**
 * A table that renders in Jupyter and prints in a terminal; made by `table`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Table, table } from "interlens";
 *
 * const errors = table([{ head: "linear", error: 12.5 }, { head: "relu", error: 3 }]);
 * assertEquals(errors instanceof Table, true);
 * assertEquals(errors.numeric, [false, true]);
 * assertEquals(errors.cells.map(([head]) => head), ["linear", "relu"]);
 * ```
 */
export class Table implements Displayable {
  /** Names of the columns. */
  readonly columns: readonly string[];
  /** Cells as they are shown, row by row. */
  readonly cells: readonly (readonly string[])[];
  /** Whether a column holds numbers and is aligned at the right. */
  readonly numeric: readonly boolean[];
  /** Whether a column holds names of notebooks and links to them. */
  readonly linked: readonly boolean[];
  /** What the table says. */
  readonly caption: string | undefined;
  /** How many rows and columns there are, and how many rows are shown. */
  readonly shape: string;

  /**
   * @param rows The rows to show.
   * @param columns Names of the columns, in order.
   * @param height Number of rows of the whole table.
   * @param options How to show them.
   */
  constructor(
    rows: Record<string, unknown>[],
    columns: string[],
    height: number,
    options: TableOptions,
  ) {
    const digits = options.digits ?? 4;
    this.columns = columns;
    this.numeric = columns.map((name) =>
      rows.some((row) => isNumber(row[name])) &&
      rows.every((row) => isNumber(row[name]) || row[name] == null)
    );
    this.linked = columns.map((name) => options.notebooks?.includes(name) ?? false);
    const formatted = columns.map((name, column) =>
      this.numeric[column]
        ? formatColumn(rows.map((row) => row[name] as number | bigint | null), digits)
        : rows.map((row) => formatCell(row[name], digits))
    );
    this.cells = rows.map((_, row) => formatted.map((cells) => cells[row]));
    this.caption = options.caption;
    const size = `${groupThousands(String(height))} ${height === 1 ? "row" : "rows"} × ` +
      `${columns.length} ${columns.length === 1 ? "column" : "columns"}`;
    this.shape = rows.length < height ? `First ${rows.length} of ${size}` : size;
  }

  /** HTML with every cell escaped, and the same as text. */
  [JUPYTER_DISPLAY](): MimeBundle {
    return { "text/html": this.#html(), "text/plain": this.toString() };
  }

  /** The table as text with aligned columns. */
  toString(): string {
    const lines = [this.columns, ...this.cells].map((row) => row.map(oneLine));
    const widths = this.columns.map((_, c) => Math.max(...lines.map((row) => row[c].length)));
    const [header, ...body] = lines.map((row) =>
      row.map((cell, c) => this.numeric[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c]))
        .join("  ").trimEnd()
    );
    const rule = widths.map((width) => "─".repeat(width)).join("  ");
    return [...(this.caption ? [this.caption] : []), header, rule, ...body, this.shape].join("\n");
  }

  /** What `console.log` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  /** A link leads to a notebook beside this one and nowhere else, whatever the cell says. */
  #cell(cell: string, column: number): string {
    const text = escapeHtml(cell);
    return this.linked[column] && NOTEBOOK.test(cell)
      ? `<a href="${text}.ipynb">${text}</a>`
      : text;
  }

  #html(): string {
    const align = (column: number) => `text-align: ${this.numeric[column] ? "right" : "left"}`;
    const caption = this.caption
      ? `<caption style="caption-side: top; text-align: left">${escapeHtml(this.caption)}</caption>`
      : "";
    const header = this.columns.map((name, c) =>
      `<th scope="col" style="${align(c)}">${escapeHtml(name)}</th>`
    ).join("");
    const body = this.cells.map((row) =>
      `<tr>${
        row.map((cell, c) => `<td style="${align(c)}">${this.#cell(cell, c)}</td>`).join("")
      }</tr>`
    ).join("\n");
    return `<div class="il-table" style="overflow-x: auto"><table>${caption}` +
      `<thead><tr>${header}</tr></thead>\n<tbody>\n${body}\n</tbody></table>` +
      `<p><small>${this.shape}</small></p></div>`;
  }
}

/**
 * A table of rows or of a polars data frame, as the last value of a cell or for `console.log`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { table } from "interlens";
 *
 * const shown = table([
 *   { model: "linear", "error %": 12.3456 },
 *   { model: "both", "error %": 9.8 },
 * ]);
 * assertEquals(shown.cells, [["linear", "12.35"], ["both", "9.80"]]);
 * assertEquals(shown.shape, "2 rows × 2 columns");
 * ```
 *
 * @param rows Rows as objects; the columns are all keys, in the order in which they appear. Or a
 * data frame.
 * @param options Caption, rows shown, digits, columns that link to notebooks.
 * @throws {RangeError} If `maxRows` is below 1 or `digits` is not in 1 to 15.
 */
export function table(
  rows: readonly object[] | DataFrameLike,
  options: TableOptions = {},
): Table {
  const { maxRows = 20, digits = 4 } = options;
  if (!(maxRows >= 1)) {
    throw new RangeError(`Cannot show ${maxRows} rows: expected maxRows of at least 1`);
  }
  if (!(Number.isInteger(digits) && digits >= 1 && digits <= 15)) {
    throw new RangeError(`Cannot show ${digits} digits: expected a whole number from 1 to 15`);
  }
  if (isDataFrame(rows)) {
    return new Table(rows.head(maxRows).toRecords(), rows.columns, rows.height, options);
  }
  const records = rows as readonly Record<string, unknown>[];
  const columns = [...new Set(records.flatMap((row) => Object.keys(row)))];
  return new Table(records.slice(0, maxRows), columns, records.length, options);
}

function isDataFrame(rows: object): rows is DataFrameLike {
  // A polars frame is a proxy for which `in` finds no method.
  return !Array.isArray(rows) && typeof (rows as DataFrameLike).toRecords === "function";
}

function isNumber(value: unknown): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

function formatColumn(values: (number | bigint | null)[], digits: number): string[] {
  const finite = values.filter((v): v is number => typeof v === "number" && Number.isFinite(v));
  const largest = Math.max(0, ...finite.map(Math.abs));
  const whole = finite.every(Number.isInteger);
  const before = largest >= 1
    ? Math.floor(Math.log10(largest)) + 1
    : largest >= 1e-3
    ? 0
    : -Infinity;
  const decimals = whole ? 0 : Math.min(15, Math.max(0, digits - before));
  return values.map((value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "bigint") return groupThousands(String(value));
    if (!Number.isFinite(value)) return String(value);
    // One number of decimals for the column, so that points stand below each other, except for
    // numbers that would be shown as 0 or that need an exponent.
    const lost = value !== 0 && Math.abs(value) < 0.5 * 10 ** -decimals;
    if (lost || Math.abs(value) >= 1e15 || before === -Infinity && value !== 0) {
      return formatNumber(value, lost ? 2 : digits);
    }
    const fixed = value.toFixed(decimals);
    return groupThousands(Number(fixed) === 0 ? fixed.replace("-", "") : fixed);
  });
}

function formatCell(value: unknown, digits: number): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return formatNumber(value, digits);
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return formatCell(Array.from(value as Float32Array), digits);
  if (Array.isArray(value)) return `[${value.map((v) => formatCell(v, digits)).join(", ")}]`;
  if (typeof value === "object") return JSON.stringify(value) ?? "";
  return String(value);
}

function oneLine(text: string): string {
  // A token such as "\n" must not break the lines of a terminal table, nor an escape code colour it.
  // deno-lint-ignore no-control-regex -- control characters are what is replaced
  return text.replaceAll("\n", "↵").replaceAll("\t", "→").replace(/[\x00-\x1f\x7f-\x9f]/g, "·");
}
