/**
 * The header of a safetensors file, checked before a byte of it is trusted.
 *
 * Format: an unsigned 64-bit length, that many bytes of JSON (`{name: {dtype, shape,
 * data_offsets}}`, and strings under `__metadata__`), then the tensors' bytes, little-endian,
 * row-major, one after another without gap or overlap
 * (https://huggingface.co/docs/safetensors).
 *
 * @module
 */
import { repeatedKey } from "./json_keys.ts";

/** Bytes of one element of every type that the format names. */
const ELEMENT_BYTES: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
};

/** Longest header that is read; a real one is far shorter, a corrupt length rarely is. */
const MAX_HEADER_BYTES = 100_000_000;
/** Most axes of a tensor: those of PyTorch. */
const MAX_AXES = 64;

/** One tensor as the header describes it. */
export interface TensorEntry {
  /** Element type by its name in the format, for example `"F32"`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly begin: number;
  /** Byte after the last one, counted from the start of the file. */
  readonly end: number;
}

/** Everything that stands before the tensors' bytes. */
export interface SafetensorsHeader {
  readonly tensors: Readonly<Record<string, TensorEntry>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads and checks a header.
 *
 * @param path Name of the file, for messages.
 * @param size Length of the whole file in bytes.
 * @param read Reads `length` bytes from `position`.
 * @throws {Error} If the file is cut short, too long, or its header is no header; the message names
 * the file and the field.
 */
export function readHeader(
  path: string,
  size: number,
  read: (position: number, length: number) => Uint8Array,
): SafetensorsHeader {
  const bad = (reason: string) =>
    new Error(
      `"${path}" is not a whole safetensors file: ${reason}. It was cut short or changed: make it again`,
    );
  if (size < 8) throw bad(`it has ${size} bytes, and the header's length alone takes 8`);
  const length = Number(new DataView(read(0, 8).slice().buffer).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES || 8 + length > size) {
    throw bad(`its header should take ${length} bytes, but the file has ${size}`);
  }
  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(read(8, length));
    json = JSON.parse(text);
  } catch (error) {
    throw bad(`its header is not JSON (${(error as Error).message})`);
  }
  if (!isRecord(json)) throw bad("its header is not a JSON object");
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw bad(`its header has the field "${repeated}" twice`);

  const { __metadata__: metadata = {}, ...entries } = json;
  if (!isRecord(metadata) || Object.values(metadata).some((text) => typeof text !== "string")) {
    throw bad('the field "__metadata__" must hold strings only');
  }
  const start = 8 + length;
  const tensors = Object.fromEntries(
    Object.entries(entries).map((
      [name, entry],
    ) => [name, checkedEntry(entry, start, (reason) => bad(`tensor "${name}" ${reason}`))]),
  );

  let covered = start;
  const inOrder = Object.entries(tensors).sort(([, a], [, b]) =>
    a.begin - b.begin || a.end - b.end
  );
  for (const [name, { begin, end }] of inOrder) {
    if (begin < covered) throw bad(`tensor "${name}" overlaps the one before it`);
    if (begin > covered) throw bad(`${begin - covered} bytes before tensor "${name}" are unused`);
    covered = end;
  }
  if (covered !== size) {
    throw bad(`by its header it should have ${covered} bytes, but it has ${size}`);
  }
  return { tensors, metadata: metadata as Record<string, string> };
}

function checkedEntry(entry: unknown, start: number, bad: (reason: string) => Error): TensorEntry {
  if (!isRecord(entry)) throw bad("is not described by an object");
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(ELEMENT_BYTES, dtype)) {
    throw bad(`has the unknown "dtype" ${shown(dtype)}`);
  }
  if (!isCounts(shape) || shape.length > MAX_AXES) {
    throw bad(`has the bad "shape" ${shown(shape)}`);
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw bad(`has the bad "data_offsets" ${shown(offsets)}`);
  }
  const bytes = shape.reduce((product, n) => product * n, 1) * ELEMENT_BYTES[dtype];
  if (offsets[1] - offsets[0] !== bytes) {
    throw bad(
      `of shape [${shape}] and dtype ${dtype} needs ${bytes} bytes, but "data_offsets" ` +
        `[${offsets}] hold ${offsets[1] - offsets[0]}`,
    );
  }
  return { dtype, shape, begin: start + offsets[0], end: start + offsets[1] };
}

/** A value for a message; one that nests or is long would be no help in it. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return value.length > 8 ? "of many numbers" : `[${value.map(flat)}]`;
  return flat(value);
}

function flat(value: unknown): string {
  return typeof value === "object" && value !== null
    ? "{…}"
    : JSON.stringify(value)?.slice(0, 40) ?? "undefined";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
