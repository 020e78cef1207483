/**
 * GGUF files: metadata, such as a model's configuration and vocabulary, and tensors, most of them
 * quantised.
 *
 * @module
 */
import { type ByteSource, openFile } from "./byte_source.ts";
import { type GgufValue, readGgufHeader } from "./gguf_header.ts";
import { StoredWeights, type TensorPlace } from "./stored_weights.ts";

/**
 * An open GGUF file; its tensors are read as those of any {@linkcode WeightFile}. Close it when
 * done.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cacheDir, GgufFile } from "interlens";
 *
 * using file = await GgufFile.open(cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf"));
 * assertEquals(file.get("general.architecture"), "llama");
 * assertEquals(file.number("llama.block_count"), 30);
 * assertEquals(file.list<string>("tokenizer.ggml.tokens").length, 49152);
 * assertEquals(file.shape("token_embd.weight"), [49152, 576]);
 * assertEquals((await file.readRows("token_embd.weight", 504, 1)).length, 576);
 * ```
 */
export class GgufFile extends StoredWeights {
  readonly #metadata: ReadonlyMap<string, GgufValue>;

  private constructor(
    source: ByteSource,
    tensors: ReadonlyMap<string, TensorPlace>,
    metadata: ReadonlyMap<string, GgufValue>,
  ) {
    super(source.path, tensors, [source]);
    this.#metadata = metadata;
  }

  /**
   * Opens a file and checks every tensor that it describes.
   *
   * @throws {Error} If there is no such file, or it is no GGUF file of version 2 or 3, is cut short
   * or one of several parts, or describes tensors that overlap or leave it or are of an unknown
   * number format; the message names the file, and the byte, the metadata or the tensor.
   */
  // deno-lint-ignore require-await -- a promise also where it fails
  static async open(path: string): Promise<GgufFile> {
    return GgufFile.from(openFile(path));
  }

  /** Opens a source, which it owns from now on; what {@linkcode open} does with a file. */
  static from(source: ByteSource): GgufFile {
    try {
      const { tensors, metadata } = readGgufHeader(source);
      return new GgufFile(source, tensors, metadata);
    } catch (error) {
      source[Symbol.dispose]();
      throw error;
    }
  }

  /** A metadata value, a `bigint` if it is an integer beyond 2^53; undefined if there is none. */
  get(key: string): unknown {
    return this.#metadata.get(key);
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

  #missing(key: string, what: string): never {
    throw new Error(`Cannot use "${this.path}": its metadata has no "${key}" that is ${what}`);
  }
}
