/**
 * Records of CSV (RFC 4180): where they end, and which of them cannot be read.
 *
 * @module
 */
const [NEWLINE, QUOTE, COMMA] = [10, 34, 44];

/** Where a byte of a CSV file stands: at the start of a field, in one, in quotes, after them. */
export type Place = "start" | "plain" | "quoted" | "closed";

/** The place after a byte. */
export function after(place: Place, byte: number): Place {
  if (place === "quoted") return byte === QUOTE ? "closed" : "quoted";
  if (byte === COMMA || byte === NEWLINE) return "start";
  return byte === QUOTE && place !== "plain" ? "quoted" : "plain";
}

/** What a look at the records of a whole file gives. */
export interface CsvScan {
  /** Bytes of the first record. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** The first row that cannot be read, the header being row 1, and what is wrong with it. */
  readonly problem?: { readonly row: number; readonly reason: string };
}

/** Looks for the first record that a parser would refuse without saying which. */
export function scanCsv(csv: Uint8Array<ArrayBuffer>): CsvScan {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  let header: Uint8Array<ArrayBuffer> | undefined;
  let columns = 0;
  let [row, start, fields] = [1, 0, 1];
  let place: Place = "start";
  for (let i = 0; i <= csv.length; i++) {
    if (i < csv.length) {
      place = after(place, csv[i]);
      if (csv[i] === COMMA && place === "start") fields++;
      if (csv[i] !== NEWLINE || place === "quoted") continue;
    }
    const record = csv.subarray(start, i);
    if (!header) [header, columns] = [record, fields];
    let reason: string | undefined;
    if (place === "quoted") reason = "a quotation mark is not closed";
    if (fields > columns) {
      reason =
        `${fields} fields, while the header has ${columns}; put quotation marks around a text ` +
        `with a comma, and close them`;
    }
    try {
      utf8.decode(record);
    } catch {
      reason = "its bytes are not UTF-8; save the file as UTF-8";
    }
    if (reason) return { header, problem: { row, reason } };
    [row, start, fields] = [row + 1, i + 1, 1];
  }
  return { header: header! };
}
