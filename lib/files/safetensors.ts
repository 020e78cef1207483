/**
 * Tensors on disk in the safetensors format: written atomically, read whole or row by row.
 *
 * Float32 and int32 are read and written: they are what Interlens computes with. Float16 is written
 * where it halves what a disk holds, and widened when it is read, which is exact.
 *
 * @module
 */
import { writeFileAtomic } from "./atomic.ts";
import { readHeader, type SafetensorsHeader, type TensorEntry } from "./safetensors_header.ts";

/** A tensor in memory: type, shape and elements in row-major order. */
export type StoredTensor =
  | { dtype: "F32"; shape: number[]; data: Float32Array }
  | { dtype: "I32"; shape: number[]; data: Int32Array };

/** What a file can hold: float16 as well, which is rounded to by whoever makes the array. */
export type WritableTensor =
  | StoredTensor
  | { dtype: "F16"; shape: number[]; data: Float16Array };

/** Gap between two wanted rows up to which one read is cheaper than a seek and a second read. */
const MERGE_GAP_BYTES = 16_384;
/** Longest single read, which bounds the memory of a gather. */
const MAX_READ_BYTES = 1 << 20;

/**
 * Writes tensors to a safetensors file, atomically.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readSafetensors, writeSafetensors } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * const W = { dtype: "F32" as const, shape: [2, 2], data: new Float32Array([1, 2, 3, 4]) };
 * await writeSafetensors(path, { W }, { unit: "none" });
 * const { tensors, metadata } = readSafetensors(path);
 * assertEquals(tensors.W, W);
 * assertEquals(metadata, { unit: "none" });
 * await Deno.remove(path);
 * ```
 *
 * @param path File to write; replaced if it exists.
 * @param tensors Tensors by name, stored in this order.
 * @param metadata Strings to keep beside them.
 * @throws {RangeError} If the elements of a tensor do not fill its shape.
 * @throws {Error} If the file cannot be written.
 */
export async function writeSafetensors(
  path: string,
  tensors: Record<string, WritableTensor>,
  metadata: Record<string, string> = {},
): Promise<void> {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    const size = shape.reduce((product, n) => product * n, 1);
    if (size !== data.length) {
      throw new RangeError(
        `Cannot write tensor "${name}" of shape [${shape}] to "${path}": it has ${data.length} ` +
          `elements, expected ${size}`,
      );
    }
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Padded with spaces so that the elements start at a multiple of 8, as other readers expect.
  const start = new Uint8Array(Math.ceil((8 + json.length) / 8) * 8).fill(0x20);
  new DataView(start.buffer).setBigUint64(0, BigInt(start.length - 8), true);
  start.set(json, 8);

  async function* chunks(): AsyncIterable<Uint8Array> {
    yield start;
    for (const { data } of Object.values(tensors)) {
      yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    }
  }
  await writeFileAtomic(path, chunks());
}

/**
 * Reads all tensors of a safetensors file.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readSafetensors, writeSafetensors } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * const data = Float32Array.of(1, 2);
 * await writeSafetensors(path, { x: { dtype: "F32", shape: [2], data } });
 * assertEquals(readSafetensors(path).tensors.x.data, data);
 * await Deno.remove(path);
 * ```
 *
 * @throws {Error} If the file is missing, cut short, or has a bad header; if it holds a type other
 * than F32, F16 and I32.
 */
export function readSafetensors(
  path: string,
): { tensors: Record<string, StoredTensor>; metadata: Record<string, string> } {
  using file = openSafetensors(path);
  const tensors = Object.fromEntries(
    Object.keys(file.header).map((name) => [name, file.read(name)]),
  );
  return { tensors, metadata: { ...file.metadata } };
}

/**
 * Opens a safetensors file to read parts of it; its header and length are checked now.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openSafetensors, writeSafetensors } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * const data = Float32Array.from({ length: 12 }, (_, i) => i);
 * await writeSafetensors(path, { x: { dtype: "F32", shape: [6, 2], data } });
 * using file = openSafetensors(path);
 * assertEquals(file.readRows("x", 1, 2), new Float32Array([2, 3, 4, 5]));
 * const out = new Float32Array(4);
 * file.gatherRows("x", [5, 0], out);
 * assertEquals(out, new Float32Array([10, 11, 0, 1]));
 * await Deno.remove(path);
 * ```
 *
 * @throws {Error} If the file is missing, cut short, or has a bad header.
 */
export function openSafetensors(path: string): SafetensorsFile {
  return new SafetensorsFile(path);
}

/**
 * An open safetensors file; see {@linkcode openSafetensors}. Close it when done.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { SafetensorsFile, writeSafetensors } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * await writeSafetensors(path, { x: { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) } });
 * using file = new SafetensorsFile(path);
 * assertEquals(file.header.x.shape, [2]);
 * await Deno.remove(path);
 * ```
 */
export class SafetensorsFile implements Disposable {
  /** Name of the file. */
  readonly path: string;
  /** Tensors by name. */
  readonly header: SafetensorsHeader["tensors"];
  /** Strings kept beside the tensors. */
  readonly metadata: SafetensorsHeader["metadata"];
  readonly #file: Deno.FsFile;
  #open = true;

  /** @throws {Error} If the file is missing, cut short, or has a bad header. */
  constructor(path: string) {
    this.path = path;
    try {
      this.#file = Deno.openSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Error(`Cannot read "${path}": there is no such file`, { cause: error });
    }
    try {
      const { tensors, metadata } = readHeader(
        path,
        this.#file.statSync().size,
        (position, length) => this.#read(position, new Uint8Array(length)),
      );
      this.header = tensors;
      this.metadata = metadata;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * A whole tensor; F16 comes as F32.
   *
   * @throws {Error} If there is none of this name, or it is neither F32, F16 nor I32.
   */
  read(name: string): StoredTensor {
    const { begin, end, shape, dtype } = this.#entry(name);
    const bytes = this.#read(begin, new Uint8Array(end - begin)).buffer;
    if (dtype === "I32") return { dtype, shape: [...shape], data: new Int32Array(bytes) };
    return { dtype: "F32", shape: [...shape], data: floats(dtype, bytes) };
  }

  /**
   * Consecutive rows (entries of the first axis) of a tensor `[rows, …]`.
   *
   * @param name Name of the tensor.
   * @param start First row.
   * @param count Number of rows.
   * @returns Elements of the rows, `[count, …]`; F16 as float32.
   * @throws {RangeError} If the rows reach beyond the tensor.
   * @throws {Error} If there is no such tensor, or it is neither F32, F16 nor I32.
   */
  readRows(name: string, start: number, count: number): Float32Array | Int32Array {
    const entry = this.#entry(name);
    const [rows, rowBytes] = rowsOf(entry);
    if (
      !(Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 0) ||
      start + count > rows
    ) {
      throw new RangeError(
        `Cannot read ${count} rows from row ${start} of "${name}" in "${this.path}": it has ` +
          `${rows} rows`,
      );
    }
    const bytes = this.#read(entry.begin + start * rowBytes, new Uint8Array(count * rowBytes));
    return entry.dtype === "I32" ? new Int32Array(bytes.buffer) : floats(entry.dtype, bytes.buffer);
  }

  /**
   * Any rows of a tensor `[rows, …]`, in the order asked for; fastest when they ascend.
   *
   * @param name Name of the tensor.
   * @param rows Indices on its first axis.
   * @param out Receives the rows, `[rows.length, …]`.
   * @throws {RangeError} If a row is not in the tensor, or `out` has the wrong length.
   * @throws {TypeError} If `out` has another element type than the tensor.
   */
  gatherRows(name: string, rows: ArrayLike<number>, out: Float32Array | Int32Array): void {
    const entry = this.#entry(name);
    const [count, rowBytes] = rowsOf(entry);
    if ((entry.dtype === "I32") !== (out instanceof Int32Array)) {
      throw new TypeError(
        `Cannot gather rows of "${name}" in "${this.path}" into a ${out.constructor.name}: its ` +
          `dtype is ${entry.dtype}`,
      );
    }
    const size = rows.length * rowBytes / elementBytes(entry);
    if (out.length !== size) {
      throw new RangeError(
        `Cannot gather ${rows.length} rows of "${name}" in "${this.path}" into ${out.length} ` +
          `elements: expected ${size}`,
      );
    }
    for (let i = 0; i < rows.length; i++) {
      if (!(Number.isInteger(rows[i]) && rows[i] >= 0 && rows[i] < count)) {
        throw new RangeError(
          `Cannot gather row ${rows[i]} of "${name}" in "${this.path}": it has ${count} rows`,
        );
      }
    }

    const half = entry.dtype === "F16";
    const target = half
      ? new Uint8Array(rows.length * rowBytes)
      : new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
    const mergeGap = Math.floor(MERGE_GAP_BYTES / Math.max(1, rowBytes));
    const maxRows = Math.max(1, Math.floor(MAX_READ_BYTES / Math.max(1, rowBytes)));
    let span: Uint8Array | undefined;
    for (let i = 0; i < rows.length;) {
      // Rows i … last - 1 ascend with small gaps: one read serves them all.
      let last = i + 1;
      while (
        last < rows.length && rows[last] >= rows[last - 1] &&
        rows[last] - rows[last - 1] <= mergeGap && rows[last] - rows[i] < maxRows
      ) last++;
      const begin = entry.begin + rows[i] * rowBytes;
      if (last === i + 1) {
        this.#read(begin, target.subarray(i * rowBytes, last * rowBytes));
      } else {
        span ??= new Uint8Array(maxRows * rowBytes);
        this.#read(begin, span.subarray(0, (rows[last - 1] - rows[i] + 1) * rowBytes));
        for (let j = i; j < last; j++) {
          const from = (rows[j] - rows[i]) * rowBytes;
          target.set(span.subarray(from, from + rowBytes), j * rowBytes);
        }
      }
      i = last;
    }
    if (half) widen(new Float16Array(target.buffer as ArrayBuffer), out as Float32Array);
  }

  /** Closes the file; closing twice does no harm. */
  close(): void {
    if (this.#open) this.#file.close();
    this.#open = false;
  }

  /** Closes the file at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #entry(name: string): TensorEntry {
    if (!Object.hasOwn(this.header, name)) {
      throw new Error(
        `There is no tensor "${name}" in "${this.path}": it has ` +
          (Object.keys(this.header).map((known) => `"${known}"`).join(", ") || "none"),
      );
    }
    const entry = this.header[name];
    if (entry.dtype !== "F32" && entry.dtype !== "F16" && entry.dtype !== "I32") {
      throw new Error(
        `Cannot read tensor "${name}" of "${this.path}": its dtype is ${entry.dtype}, expected F32, ` +
          `F16 or I32`,
      );
    }
    return entry;
  }

  #read(position: number, into: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
  #read(position: number, into: Uint8Array): Uint8Array;
  #read(position: number, into: Uint8Array): Uint8Array {
    this.#file.seekSync(position, Deno.SeekMode.Start);
    for (let done = 0; done < into.length;) {
      const count = this.#file.readSync(into.subarray(done));
      if (count === null) {
        throw new Error(
          `"${this.path}" ends at byte ${position + done} although it was longer when it was ` +
            `opened: something changed it`,
        );
      }
      done += count;
    }
    return into;
  }
}

function rowsOf(entry: TensorEntry): [rows: number, rowBytes: number] {
  const { shape, begin, end } = entry;
  if (shape.length === 0) return [1, end - begin];
  return [shape[0], shape.slice(1).reduce((product, n) => product * n, 1) * elementBytes(entry)];
}

function elementBytes({ dtype }: TensorEntry): number {
  return dtype === "F16" ? 2 : 4;
}

function floats(dtype: string, bytes: ArrayBuffer): Float32Array<ArrayBuffer> {
  if (dtype === "F32") return new Float32Array(bytes);
  const halves = new Float16Array(bytes);
  const values = new Float32Array(halves.length);
  widen(halves, values);
  return values;
}

function widen(halves: Float16Array, out: Float32Array): void {
  // Three times as fast as `out.set(halves)` in V8 15.
  for (let i = 0; i < out.length; i++) out[i] = halves[i];
}
