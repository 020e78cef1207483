/**
 * GGUF files: a header of metadata and tensor descriptions, then the tensors.
 *
 * The header is read by `@huggingface/gguf`. Every tensor is checked against the length of the file
 * before the first is read, so a download that broke off is found at once.
 *
 * @module
 */
import { gguf } from "@huggingface/gguf";
import type { NumberFormat } from "./floats.ts";
import { dequantize, QUANTIZATIONS } from "./quants.ts";

/** A tensor as the file describes it. */
interface Entry {
  /** Rows first: the reverse of the file's order. */
  readonly shape: readonly number[];
  readonly quantization: NumberFormat;
  readonly offset: number;
  readonly bytes: number;
}

/** An open GGUF file. */
export class GgufFile implements Disposable {
  /** Where it lies. */
  readonly path: string;
  readonly #metadata: Record<string, unknown>;
  readonly #tensors: ReadonlyMap<string, Entry>;
  readonly #file: Deno.FsFile;

  private constructor(
    path: string,
    metadata: Record<string, unknown>,
    tensors: ReadonlyMap<string, Entry>,
    file: Deno.FsFile,
  ) {
    this.path = path;
    this.#metadata = metadata;
    this.#tensors = tensors;
    this.#file = file;
  }

  /**
   * Opens a file and checks every tensor that it describes.
   *
   * @throws {Error} If it is no GGUF file, is truncated, or holds a tensor of an unknown type.
   */
  static async open(path: string): Promise<GgufFile> {
    const { size } = await Deno.stat(path);
    let header: Awaited<ReturnType<typeof gguf>>;
    try {
      header = await gguf(path, { allowLocalFile: true });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(
        `Cannot read "${path}": its header is not that of a GGUF file, or is damaged (${why})`,
        { cause: error },
      );
    }
    const start = Number(header.tensorDataOffset);
    if (start > size) {
      throw new Error(
        `Cannot read "${path}": its ${size} bytes end inside the header; the file is truncated, ` +
          `fetch it again`,
      );
    }
    if (!header.littleEndian) {
      throw new Error(
        `Cannot read "${path}": it is big-endian; expected a little-endian GGUF file`,
      );
    }
    const tensors = new Map<string, Entry>();
    for (const { name, shape, dtype, offset } of header.tensorInfos) {
      const quantization = QUANTIZATIONS.get(dtype);
      if (!quantization) {
        const known = [...QUANTIZATIONS.values()].map(({ name }) => name).join(", ");
        throw new Error(
          `Cannot read "${name}" of "${path}": its number format is type ${dtype} of GGUF; ` +
            `expected one of ${known}`,
        );
      }
      const entry = {
        shape: shape.map(Number).reverse(),
        quantization,
        offset: start + Number(offset),
        bytes: 0,
      };
      const count = entry.shape.reduce((product, length) => product * length, 1);
      entry.bytes = count / quantization.values * quantization.bytes;
      if (!Number.isSafeInteger(entry.bytes) || entry.shape.at(-1)! % quantization.values !== 0) {
        throw new Error(
          `Cannot read "${name}" of "${path}": a row of shape [${entry.shape}] is not a whole ` +
            `number of ${quantization.name} blocks of ${quantization.values}; the file is damaged`,
        );
      }
      if (entry.offset + entry.bytes > size) {
        throw new Error(
          `Cannot read "${name}" of "${path}": it ends at byte ${entry.offset + entry.bytes}, ` +
            `the file at byte ${size}; the file is truncated, fetch it again`,
        );
      }
      tensors.set(name, entry);
    }
    const metadata = header.metadata as Record<string, unknown>;
    return new GgufFile(path, metadata, tensors, await Deno.open(path));
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
   * @throws {Error} If the file has no such tensor.
   */
  shape(name: string): readonly number[] {
    return this.#entry(name).shape;
  }

  /**
   * A tensor as float32, row by row.
   *
   * @throws {Error} If the file has no such tensor, or one of another shape.
   */
  async read(name: string, shape: readonly number[]): Promise<Float32Array> {
    const entry = this.#entry(name);
    if (`${entry.shape}` !== `${shape}`) {
      throw new Error(
        `Cannot use "${name}" of "${this.path}": its shape is [${entry.shape}], expected [${shape}]`,
      );
    }
    await this.#file.seek(entry.offset, Deno.SeekMode.Start);
    const bytes = new Uint8Array(entry.bytes);
    for (let filled = 0; filled < bytes.length;) {
      const count = await this.#file.read(bytes.subarray(filled));
      if (count === null) {
        throw new Error(`Cannot read "${name}" of "${this.path}": the file became shorter`);
      }
      filled += count;
    }
    return dequantize(entry.quantization, bytes);
  }

  /** A metadata value; undefined if there is none. */
  get(key: string): unknown {
    const value = this.#metadata[key];
    return typeof value === "bigint" ? Number(value) : value;
  }

  /**
   * A metadata number.
   *
   * @param otherwise What it is if the file does not say.
   * @throws {Error} If there is none.
   */
  number(key: string, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    return typeof value === "number" ? value : this.#missing(key, "a number");
  }

  /**
   * A metadata list.
   *
   * @throws {Error} If there is none.
   */
  list<T>(key: string): T[] {
    const value = this.get(key);
    return Array.isArray(value) ? value : this.#missing(key, "a list");
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }

  #entry(name: string): Entry {
    const entry = this.#tensors.get(name);
    if (!entry) throw new Error(`Cannot read "${name}" of "${this.path}": there is no such tensor`);
    return entry;
  }

  #missing(key: string, what: string): never {
    throw new Error(`Cannot use "${this.path}": its metadata has no "${key}" that is ${what}`);
  }
}
