/**
 * The table of contents of a zip archive whose entries are stored as they are, which is how PyTorch
 * writes one (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, ZIP64 included).
 *
 * @module
 */
import type { ByteSource } from "./byte_source.ts";

/** Where the bytes of an entry lie in the archive. */
export interface ZipEntry {
  readonly begin: number;
  readonly size: number;
}

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
/** Most entries that are read; a state dict has one for each tensor, and four more. */
const MAX_ENTRIES = 100_000;
/** A size or position that a ZIP64 field holds instead. */
const ELSEWHERE = 0xffffffff;

/**
 * Entries of an archive by name.
 *
 * @throws {Error} If the archive is cut short, its entries overlap or are compressed or encrypted,
 * or two have one name; the message names the file, and the byte or the entry.
 */
export function zipEntries(source: ByteSource): Map<string, ZipEntry> {
  const bad = (reason: string) =>
    new Error(
      `"${source.path}" is not a whole zip archive: ${reason}. It is truncated or was changed: ` +
        `fetch it again`,
    );
  const view = (at: number, length: number, what: string) => {
    if (!(at + length <= source.size)) {
      throw bad(
        `${what} should lie at bytes ${at}…${at + length}, but the file has ${source.size}`,
      );
    }
    return new DataView(source.readNow(at, length).buffer);
  };
  const u64 = (from: DataView, at: number) => Number(from.getBigUint64(at, true));

  if (source.size < 22) throw bad(`it has ${source.size} bytes, and its end alone takes 22`);
  const endAt = source.size - 22;
  const end = view(endAt, 22, "the end of its table of contents");
  if (end.getUint32(0, true) !== END) {
    throw bad(`its table of contents does not end at byte ${endAt}`);
  }
  let count = end.getUint16(10, true);
  let size = end.getUint32(12, true);
  let begin = end.getUint32(16, true);
  let limit = endAt;
  if (endAt >= 20) {
    const locator = view(endAt - 20, 20, "the ZIP64 locator");
    if (locator.getUint32(0, true) === LOCATOR_64) {
      limit = u64(locator, 8);
      const end64 = view(limit, 56, "the ZIP64 end of its table of contents");
      if (end64.getUint32(0, true) !== END_64) {
        throw bad(`the ZIP64 end of its table of contents is not at byte ${limit}`);
      }
      count = u64(end64, 32);
      size = u64(end64, 40);
      begin = u64(end64, 48);
    }
  }
  if (count > MAX_ENTRIES) {
    throw bad(`what ends at byte ${limit} lists ${count} entries, expected at most ${MAX_ENTRIES}`);
  }
  if (begin + size > limit) {
    throw bad(`its table of contents at bytes ${begin}…${begin + size} overlaps what ends it`);
  }

  const table = view(begin, size, "its table of contents");
  const bytes = new Uint8Array(table.buffer);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || table.getUint32(at, true) !== CENTRAL) {
      throw bad(`entry ${i} of its table of contents is not at byte ${begin + at}`);
    }
    const nameEnd = at + 46 + table.getUint16(at + 28, true);
    const extraEnd = nameEnd + table.getUint16(at + 30, true);
    const next = extraEnd + table.getUint16(at + 32, true);
    if (next > size) throw bad(`entry ${i} at byte ${begin + at} leaves its table of contents`);
    let name: string;
    try {
      name = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at + 46, nameEnd));
    } catch {
      throw bad(`the name of entry ${i} at byte ${begin + at + 46} is not UTF-8`);
    }
    if (entries.has(name)) throw bad(`it has the entry "${name}" twice`);
    const [length, stored, header] = sizes(table, at, nameEnd, extraEnd) ??
      [NaN, NaN, NaN];
    if (!(header >= 0)) throw bad(`the ZIP64 field of entry "${name}" is too short`);
    if (table.getUint16(at + 8, true) & 1) throw bad(`the entry "${name}" is encrypted`);
    if (table.getUint16(at + 10, true) !== 0 || stored !== length) {
      throw new Error(
        `Cannot read "${source.path}": its entry "${name}" is compressed, expected one that is ` +
          `stored as it is; save the file again with torch.save`,
      );
    }
    const local = view(header, 30, `the header of entry "${name}"`);
    if (local.getUint32(0, true) !== LOCAL) {
      throw bad(`the header of entry "${name}" is not at byte ${header}`);
    }
    const data = header + 30 + local.getUint16(26, true) + local.getUint16(28, true);
    if (data + length > begin) {
      throw bad(
        `the entry "${name}" at bytes ${data}…${
          data + length
        } leaves the room before byte ${begin}`,
      );
    }
    entries.set(name, { begin: data, size: length });
    at = next;
  }
  if (at !== size) {
    throw bad(`bytes ${begin + at}…${begin + size} of its table of contents are unused`);
  }

  let covered = 0;
  const inOrder = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.size - b.size);
  for (const [name, entry] of inOrder) {
    if (entry.begin < covered) throw bad(`the entry "${name}" overlaps the one before it`);
    covered = entry.begin + entry.size;
  }
  return entries;
}

/** Length, stored length and position of an entry; undefined if its ZIP64 field lacks one. */
function sizes(
  table: DataView,
  at: number,
  extra: number,
  extraEnd: number,
): [length: number, stored: number, header: number] | undefined {
  const fields = [24, 20, 42].map((offset) => table.getUint32(at + offset, true));
  // The extra fields are pairs of 16-bit numbers, kind and length, and what they announce.
  let from = extraEnd;
  let to = extraEnd;
  for (let field = extra; field + 4 <= extraEnd;) {
    const end = field + 4 + table.getUint16(field + 2, true);
    if (end > extraEnd) break;
    if (table.getUint16(field, true) === 1) [from, to] = [field + 4, end];
    field = end;
  }
  for (let i = 0; i < fields.length; i++) {
    if (fields[i] !== ELSEWHERE) continue;
    if (from + 8 > to) return undefined;
    fields[i] = Number(table.getBigUint64(from, true));
    from += 8;
  }
  return [fields[0], fields[1], fields[2]];
}
