/**
 * The header of a GGUF file, checked before a byte of it is trusted.
 *
 * Format, little-endian: `GGUF`, the version, the numbers of tensors and of metadata; then the
 * metadata (key, type, value), then the tensors (name, shape, number format, offset), then, from a
 * multiple of the alignment, their bytes
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Versions 2 and 3 are read; they
 * differ in nothing else.
 *
 * @module
 */
import type { ByteSource } from "./byte_source.ts";
import { QUANTIZATIONS } from "./quants.ts";
import { elements, type TensorPlace } from "./stored_weights.ts";

/** A value of the metadata; integers beyond 2^53 are `bigint`. */
export type GgufValue = number | bigint | boolean | string | GgufValue[];

/** What stands before the tensors' bytes. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, TensorPlace>;
}

/** Most axes of a tensor: those of ggml. */
const MAX_AXES = 4;
/** Longest list in the metadata: 30 times the largest vocabulary. */
const MAX_LIST = 1 << 23;
/** Lists inside lists; no model has even two. */
const MAX_DEPTH = 3;
/** Fewest bytes of a metadata entry: length of the key, type, value. */
const LEAST_METADATA = 13;
/** Fewest bytes of a tensor: length of the name, number of axes, format, offset. */
const LEAST_TENSOR = 24;

const STRING = 8;
const LIST = 9;

/** Types of metadata that take a fixed number of bytes, by their numbers. */
const FIXED: ReadonlyMap<number, {
  readonly bytes: number;
  readonly read: (view: DataView, at: number) => GgufValue | undefined;
}> = new Map([
  [0, { bytes: 1, read: (view: DataView, at: number) => view.getUint8(at) }],
  [1, { bytes: 1, read: (view: DataView, at: number) => view.getInt8(at) }],
  [2, { bytes: 2, read: (view: DataView, at: number) => view.getUint16(at, true) }],
  [3, { bytes: 2, read: (view: DataView, at: number) => view.getInt16(at, true) }],
  [4, { bytes: 4, read: (view: DataView, at: number) => view.getUint32(at, true) }],
  [5, { bytes: 4, read: (view: DataView, at: number) => view.getInt32(at, true) }],
  [6, { bytes: 4, read: (view: DataView, at: number) => view.getFloat32(at, true) }],
  [7, { bytes: 1, read: (view: DataView, at: number) => [false, true][view.getUint8(at)] }],
  [10, { bytes: 8, read: (view: DataView, at: number) => integer(view.getBigUint64(at, true)) }],
  [11, { bytes: 8, read: (view: DataView, at: number) => integer(view.getBigInt64(at, true)) }],
  [12, { bytes: 8, read: (view: DataView, at: number) => view.getFloat64(at, true) }],
]);

function integer(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/**
 * Reads and checks a header.
 *
 * @throws {Error} If the file is no GGUF file of version 2 or 3, is cut short, or describes tensors
 * that overlap, leave it, or have an unknown number format; the message names the file, and the
 * byte, the metadata or the tensor.
 */
export function readGgufHeader(source: ByteSource): GgufHeader {
  const cursor = new Cursor(source);
  const magic = String.fromCharCode(...source.readNow(0, Math.min(4, source.size)));
  if (magic !== "GGUF") throw cursor.bad("its bytes 0…4 are not the letters GGUF");
  cursor.skip(4, "its first word");
  const version = cursor.u32("its version");
  if (version !== 2 && version !== 3) {
    throw new Error(
      `Cannot read "${source.path}": ` +
        (version >>> 16
          ? "it is big-endian by its version at byte 4, expected a little-endian GGUF file"
          : `its version at byte 4 is ${version}, expected 2 or 3; convert the model again`),
    );
  }
  const tensorCount = cursor.count("tensors", LEAST_TENSOR);
  const metadataCount = cursor.count("metadata entries", LEAST_METADATA);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < metadataCount; i++) {
    const key = cursor.string(`the key of metadata entry ${i}`);
    if (metadata.has(key)) throw cursor.bad(`it has the metadata "${key}" twice`);
    metadata.set(key, readValue(cursor, cursor.u32(`the type of "${key}"`), `"${key}"`));
  }
  const parts = metadata.get("split.count") ?? 1;
  if (typeof parts !== "number" || parts > 1) {
    throw new Error(
      `Cannot read "${source.path}": it is one of "split.count" = ${shown(parts)} parts of a ` +
        `model; merge them with llama-gguf-split`,
    );
  }
  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment !== "number" || !(Math.log2(alignment) % 1 === 0) || alignment > 1 << 20) {
    throw cursor.bad(`"general.alignment" is ${shown(alignment)}, expected a power of 2`);
  }
  return { metadata, tensors: readTensors(cursor, tensorCount, alignment) };
}

function readValue(cursor: Cursor, type: number, what: string, depth = 0): GgufValue {
  const fixed = FIXED.get(type);
  if (fixed) {
    const at = cursor.take(fixed.bytes, what);
    const value = fixed.read(cursor.view, at);
    if (value === undefined) throw cursor.bad(`${what} is neither true nor false`);
    return value;
  }
  if (type === STRING) return cursor.string(what);
  if (type !== LIST || depth === MAX_DEPTH) {
    throw cursor.bad(
      type === LIST
        ? `${what} is a list inside ${depth} others`
        : `${what} is of type ${type}, which GGUF does not have`,
    );
  }
  const itemType = cursor.u32(`the type of the items of ${what}`);
  const least = FIXED.get(itemType)?.bytes ?? (itemType === LIST ? 12 : 8);
  const count = cursor.count(`items in ${what}`, least);
  if (count > MAX_LIST) {
    throw cursor.bad(`${what} has ${count} items, expected at most ${MAX_LIST}`);
  }
  if (itemType === STRING) return cursor.strings(count, what);
  const items: GgufValue[] = [];
  for (let i = 0; i < count; i++) {
    items.push(readValue(cursor, itemType, what, depth + 1));
  }
  return items;
}

function readTensors(
  cursor: Cursor,
  count: number,
  alignment: number,
): Map<string, TensorPlace> {
  const { source } = cursor;
  const tensors = new Map<string, TensorPlace & { bytes: number }>();
  for (let i = 0; i < count; i++) {
    const name = cursor.string(`the name of tensor ${i}`);
    const bad = (reason: string) => cursor.bad(`its tensor "${name}" ${reason}`);
    const what = `its tensor "${name}"`;
    if (tensors.has(name)) throw bad("is described twice");
    const axes = cursor.u32(what);
    if (axes > MAX_AXES) throw bad(`has ${axes} axes, expected at most ${MAX_AXES}`);
    // The file names the fastest axis first.
    const shape = Array.from({ length: axes }, () => cursor.u64(what)).reverse();
    const type = cursor.u32(what);
    const begin = cursor.u64(what);
    const format = QUANTIZATIONS.get(type);
    if (!format) {
      const known = [...QUANTIZATIONS.values()].map(({ name }) => name).join(", ");
      throw new Error(
        `Cannot read "${name}" of "${source.path}": its number format is type ${type} of GGUF; ` +
          `expected one of ${known}`,
      );
    }
    if ((shape.at(-1) ?? 1) % format.values !== 0) {
      throw bad(
        `has rows of shape [${shape}], not a whole number of ${format.name} blocks of ` +
          `${format.values}`,
      );
    }
    if (begin % alignment !== 0) {
      throw bad(`begins at offset ${begin}, which is no multiple of ${alignment}`);
    }
    const bytes = elements(shape) / format.values * format.bytes;
    tensors.set(name, { source, dtype: format.name, format, shape, begin, bytes });
  }

  const start = Math.ceil(cursor.position / alignment) * alignment;
  let covered = start;
  let before = "";
  const places = [...tensors].map(([name, place]) =>
    [name, { ...place, begin: start + place.begin }] as const
  );
  for (
    const [name, { begin, bytes }] of places.toSorted(([, a], [, b]) =>
      a.begin - b.begin || a.bytes - b.bytes
    )
  ) {
    if (!(begin + bytes <= source.size)) {
      throw cursor.bad(
        `its tensor "${name}" should lie at bytes ${begin}…${begin + bytes}, but the file has ` +
          `${source.size}`,
      );
    }
    if (begin < covered) throw cursor.bad(`its tensor "${name}" overlaps "${before}"`);
    covered = begin + bytes;
    before = name;
  }
  return new Map(places);
}

function shown(value: GgufValue): string {
  return Array.isArray(value) ? "a list" : `${value}`.slice(0, 40);
}

/** Bytes read from the source at a time. */
const WINDOW_BYTES = 1 << 20;
/** Strings of a list that are decoded together. */
const BATCH_BYTES = 1 << 16;

/** Reads a source from its start, never beyond its end. */
class Cursor {
  readonly source: ByteSource;
  /** A part of the source, into which {@linkcode take} points. */
  view = new DataView(new ArrayBuffer(0));
  #window = new Uint8Array();
  /** Where the window begins in the source. */
  #start = 0;
  /** What of the window was taken. */
  #taken = 0;
  readonly #text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(source: ByteSource) {
    this.source = source;
  }

  get position(): number {
    return this.#start + this.#taken;
  }

  bad(reason: string): Error {
    return new Error(
      `"${this.source.path}" is not a whole GGUF file: ${reason} (before byte ${this.position}). ` +
        `It is truncated or was changed: fetch it again`,
    );
  }

  /** Where in the window the next `count` bytes lie, which are taken. */
  take(count: number, what: string): number {
    if (this.#taken + count > this.#window.length) this.#refill(count, what);
    const at = this.#taken;
    this.#taken += count;
    return at;
  }

  skip(count: number, what: string): void {
    this.take(count, what);
  }

  u32(what: string): number {
    const at = this.take(4, what);
    return this.view.getUint32(at, true);
  }

  u64(what: string): number {
    const at = this.take(8, what);
    const value = integer(this.view.getBigUint64(at, true));
    if (typeof value === "number") return value;
    throw this.bad(`${what} has the number ${value}`);
  }

  /** A number of things, each of at least so many bytes. */
  count(what: string, leastBytes: number): number {
    const count = this.u64(`the number of ${what}`);
    const left = this.source.size - this.position;
    if (count * leastBytes <= left) return count;
    throw this.bad(`${count} ${what} do not fit into the ${left} bytes that are left`);
  }

  string(what: string): string {
    const length = this.count(`bytes of ${what}`, 1);
    const at = this.take(length, what);
    return this.#decode(this.#window.subarray(at, at + length), what);
  }

  /** A list of strings; they are decoded many at a time, which is ten times as fast. */
  strings(count: number, what: string): string[] {
    const strings: string[] = [];
    const batch = new Uint8Array(Math.min(BATCH_BYTES, this.source.size));
    let ends: number[] = [];
    let filled = 0;
    const flush = () => {
      const parts = this.#decode(batch.subarray(0, filled), what).split("\0");
      // One more than there are strings, unless one of them has a zero itself.
      if (parts.length === ends.length + 1) parts.pop();
      else {
        parts.length = 0;
        ends.forEach((end, i) => {
          parts.push(this.#decode(batch.subarray(i === 0 ? 0 : ends[i - 1] + 1, end), what));
        });
      }
      for (const part of parts) strings.push(part);
      ends = [];
      filled = 0;
    };
    for (let i = 0; i < count; i++) {
      const length = this.count(`bytes of ${what}`, 1);
      if (filled + length + 1 > batch.length) flush();
      const at = this.take(length, what);
      if (length + 1 > batch.length) {
        strings.push(this.#decode(this.#window.subarray(at, at + length), what));
        continue;
      }
      for (let j = 0; j < length; j++) batch[filled++] = this.#window[at + j];
      ends.push(filled);
      batch[filled++] = 0;
    }
    flush();
    return strings;
  }

  #decode(bytes: Uint8Array, what: string): string {
    try {
      return this.#text.decode(bytes);
    } catch {
      throw this.bad(`${what} is not UTF-8`);
    }
  }

  #refill(count: number, what: string): void {
    const position = this.position;
    const left = this.source.size - position;
    if (count > left) {
      throw this.bad(`it ends at byte ${this.source.size}, inside ${what}`);
    }
    this.#window = this.source.readNow(position, Math.min(left, Math.max(count, WINDOW_BYTES)));
    this.view = new DataView(this.#window.buffer);
    this.#start = position;
    this.#taken = 0;
  }
}
