/**
 * Reads tensors from the places that the headers of files say they lie in.
 *
 * Every format ends here: its parser checks a header and yields places, this reads them. Bytes
 * stream through one small buffer, so that a tensor costs its float32 values and little else.
 *
 * @module
 */
import { resolve } from "node:path";
import type { ByteSource } from "./byte_source.ts";
import { F32, type NumberFormat } from "./floats.ts";
import type { WeightFile } from "./weight_file.ts";

/** Where and how a tensor is stored; its parser has checked that it lies inside its source. */
export interface TensorPlace {
  readonly source: ByteSource;
  /** Number format as the file names it. */
  readonly dtype: string;
  /** How to read that; undefined if nobody needs it as float32. */
  readonly format: NumberFormat | undefined;
  /** Rows first. */
  readonly shape: readonly number[];
  /** First byte in the source. */
  readonly begin: number;
  /**
   * Values from one entry of an axis to the next, where the order is not row-major. No two entries
   * share a value.
   */
  readonly strides?: readonly number[];
}

/** Bytes read at a time: they still lie in the processor's cache when they are converted. */
const CHUNK_BYTES = 1 << 20;

/** Product of all lengths. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** {@linkcode WeightFile} over places in one or more sources, which it owns. */
export class StoredWeights implements WeightFile {
  readonly path: string;
  readonly files: readonly string[];
  readonly #tensors: ReadonlyMap<string, TensorPlace>;
  readonly #sources: readonly ByteSource[];

  constructor(
    path: string,
    tensors: ReadonlyMap<string, TensorPlace>,
    sources: readonly ByteSource[],
  ) {
    this.path = path;
    this.files = sources.map((source) => resolve(source.path)).sort();
    this.#tensors = tensors;
    this.#sources = sources;
  }

  /** Names of its tensors. */
  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** True if it has the tensor. */
  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /**
   * Shape of a tensor, rows first.
   *
   * @throws {Error} If there is no such tensor.
   */
  shape(name: string): readonly number[] {
    return this.#place(name).shape;
  }

  /**
   * A tensor as float32, row-major.
   *
   * @param into Where to put it, of its length. Default: a new array.
   * @throws {Error} If there is no such tensor, or one of another shape or of a number format that
   * is not read.
   */
  async read(
    name: string,
    shape: readonly number[],
    into?: Float32Array<ArrayBuffer>,
  ): Promise<Float32Array<ArrayBuffer>> {
    const place = this.#place(name);
    if (`${place.shape}` !== `${shape}`) {
      throw new Error(
        `Cannot use "${name}" of "${place.source.path}": its shape is [${place.shape}], expected ` +
          `[${shape}]`,
      );
    }
    if (into && into.length !== elements(shape)) {
      throw new RangeError(
        `Cannot read "${name}" into ${into.length} numbers: expected ${elements(shape)}`,
      );
    }
    return await values(name, place, into);
  }

  /**
   * Rows of a matrix as float32, `[count, columns]`.
   *
   * @param name Name of the tensor.
   * @param start First row.
   * @param count Number of rows.
   * @throws {RangeError} If the rows reach beyond the tensor.
   * @throws {Error} If there is no such tensor, or it is no matrix or of a number format that is
   * not read.
   */
  async readRows(name: string, start: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    const place = this.#place(name);
    const [rows, columns] = place.shape;
    if (place.shape.length !== 2) {
      throw new Error(
        `Cannot read rows of "${name}" of "${place.source.path}": its shape is [${place.shape}], ` +
          `expected [rows, columns]`,
      );
    }
    if (
      !(Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 0) ||
      start + count > rows
    ) {
      throw new RangeError(
        `Cannot read ${count} rows from row ${start} of "${name}" of "${place.source.path}": it ` +
          `has ${rows} rows`,
      );
    }
    const format = readable(name, place);
    const skipped = start * (place.strides?.[0] ?? columns) / format.values * format.bytes;
    return await values(name, { ...place, shape: [count, columns], begin: place.begin + skipped });
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const source of this.#sources) source[Symbol.dispose]();
  }

  #place(name: string): TensorPlace {
    const place = this.#tensors.get(name);
    if (!place) throw new Error(`Cannot read "${name}" of "${this.path}": there is no such tensor`);
    return place;
  }
}

function readable(name: string, { format, dtype, source }: TensorPlace): NumberFormat {
  if (format) return format;
  throw new Error(
    `Cannot read "${name}" of "${source.path}": its number format is ${dtype}, expected F32, F16 ` +
      `or BF16`,
  );
}

async function values(
  name: string,
  place: TensorPlace,
  into?: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const format = readable(name, place);
  const out = into ?? new Float32Array(elements(place.shape));
  if (out.length === 0) return out;
  if (place.strides) await readStrided(place, format, place.strides, out);
  else if (format === F32) await place.source.read(place.begin, bytesOf(out));
  else await readBlocks(place.source, place.begin, format, out);
  return out;
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array<ArrayBuffer>) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Reads consecutive blocks until `out` is full. */
async function readBlocks(
  source: ByteSource,
  begin: number,
  format: NumberFormat,
  out: Float32Array,
): Promise<void> {
  const blocks = out.length / format.values;
  const atOnce = Math.min(blocks, Math.floor(CHUNK_BYTES / format.bytes));
  const buffer = new Uint8Array(atOnce * format.bytes);
  for (let block = 0; block < blocks; block += atOnce) {
    const count = Math.min(atOnce, blocks - block);
    const bytes = buffer.subarray(0, count * format.bytes);
    await source.read(begin + block * format.bytes, bytes);
    format.read(bytes, out.subarray(block * format.values, (block + count) * format.values));
  }
}

/**
 * Reads a tensor whose values do not lie in row-major order, such as a transposed one.
 *
 * The axes are walked in the order of their strides, longest first. Since no two entries share a
 * value, that goes through the file forwards, and each part of it is read once.
 */
async function readStrided(
  { source, begin, shape }: TensorPlace,
  format: NumberFormat,
  strides: readonly number[],
  out: Float32Array,
): Promise<void> {
  const rowMajor = shape.map((_, axis) => elements(shape.slice(axis + 1)));
  const axes = [...shape.keys()].filter((axis) => shape[axis] > 1)
    .sort((a, b) => strides[b] - strides[a]);
  const at = axes.map(() => 0);
  const extent = axes.reduce((sum, axis) => sum + (shape[axis] - 1) * strides[axis], 1);
  let chunk = new Float32Array();
  let chunkBegin = 0;
  for (let n = 0, from = 0, to = 0; n < out.length; n++) {
    if (from >= chunkBegin + chunk.length) {
      chunkBegin = from;
      const length = Math.min(CHUNK_BYTES / format.bytes, extent - from);
      if (chunk.length !== length) chunk = new Float32Array(length);
      await readBlocks(source, begin + from * format.bytes, format, chunk);
    }
    out[to] = chunk[from - chunkBegin];
    for (let i = axes.length - 1; i >= 0; i--) {
      const axis = axes[i];
      from += strides[axis];
      to += rowMajor[axis];
      if (++at[i] < shape[axis]) break;
      from -= shape[axis] * strides[axis];
      to -= shape[axis] * rowMajor[axis];
      at[i] = 0;
    }
  }
}
