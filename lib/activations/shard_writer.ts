/**
 * Writing activations to shards: one shard is in memory, whatever their number.
 *
 * @module
 */
import { join } from "node:path";
import {
  openSafetensors,
  sha256File,
  type WritableTensor,
  writeSafetensors,
} from "../files/mod.ts";
import type { Shard, StoreDtype } from "./manifest.ts";

/** Size of a shard, and with it the memory of a harvest. */
const SHARD_BYTES = 64 * 2 ** 20;

/** Rows of a shard of about 64 MiB, at least 1. */
export function defaultShardTokens(width: number, dtype: StoreDtype = "float32"): number {
  return Math.max(1, Math.floor(SHARD_BYTES / bytesPerToken(width, dtype)));
}

/** What a token takes on disk: its activation and three ids. */
export function bytesPerToken(width: number, dtype: StoreDtype): number {
  return (dtype === "float16" ? 2 : 4) * width + 12;
}

/** Collects tokens and writes a file whenever it has enough of them. */
export class ShardWriter {
  /** What was written so far. */
  readonly shards: Shard[] = [];
  readonly #dir: string;
  readonly #name: string;
  readonly #width: number;
  readonly #activations: Float32Array | Float16Array;
  readonly #token: Int32Array;
  readonly #document: Int32Array;
  readonly #position: Int32Array;
  readonly #onShard: ((path: string, shard: Shard) => void) | undefined;
  #rows = 0;

  /**
   * @param dir Existing folder.
   * @param name Start of the files' names.
   * @param width Elements of an activation.
   * @param shardTokens Rows of a file.
   * @param dtype Type on disk.
   * @param onShard Called with every file that was written.
   */
  constructor(
    dir: string,
    name: string,
    width: number,
    shardTokens: number,
    dtype: StoreDtype = "float32",
    onShard?: (path: string, shard: Shard) => void,
  ) {
    this.#dir = dir;
    this.#name = name;
    this.#onShard = onShard;
    this.#width = width;
    const size = shardTokens * width;
    this.#activations = dtype === "float16" ? new Float16Array(size) : new Float32Array(size);
    this.#token = new Int32Array(shardTokens);
    this.#document = new Int32Array(shardTokens);
    this.#position = new Int32Array(shardTokens);
  }

  /** True if the next token needs a {@linkcode flush} first. */
  get full(): boolean {
    return this.#rows === this.#token.length;
  }

  /** Adds a token; call it only while not {@linkcode full}. */
  add(activation: Float32Array, token: number, document: number, position: number): void {
    this.#activations.set(activation, this.#rows * this.#width);
    this.#token[this.#rows] = token;
    this.#document[this.#rows] = document;
    this.#position[this.#rows] = position;
    this.#rows++;
  }

  /**
   * Writes what was added since the last file, if anything.
   *
   * @throws {Error} If the file cannot be written.
   */
  async flush(): Promise<void> {
    const rows = this.#rows;
    if (rows === 0) return;
    const file = `${this.#name}-${`${this.shards.length}`.padStart(5, "0")}.safetensors`;
    const path = join(this.#dir, file);
    await this.save(path);
    const shard = { file, tokens: rows, sha256: await sha256File(path) };
    this.shards.push(shard);
    this.#rows = 0;
    this.#onShard?.(path, shard);
  }

  /** Writes what was added since the last file, and keeps it: for a harvest that may be killed. */
  async save(path: string): Promise<void> {
    const rows = this.#rows;
    const shape = [rows, this.#width];
    const values = this.#activations.subarray(0, rows * this.#width);
    const activations: WritableTensor = values instanceof Float32Array
      ? { dtype: "F32", shape, data: values }
      : { dtype: "F16", shape, data: values };
    const ids = (data: Int32Array) => ({
      dtype: "I32" as const,
      shape: [rows],
      data: data.subarray(0, rows),
    });
    // Ids first: what follows an odd number of float16 elements is not aligned.
    await writeSafetensors(path, {
      token: ids(this.#token),
      document: ids(this.#document),
      position: ids(this.#position),
      activations,
    });
  }

  /** Takes up what {@linkcode save} wrote, and the files that were complete then. */
  restore(path: string, shards: readonly Shard[]): void {
    using file = openSafetensors(path);
    this.#activations.set(file.read("activations").data);
    this.#token.set(file.read("token").data);
    this.#document.set(file.read("document").data);
    this.#position.set(file.read("position").data);
    this.#rows = file.header.token.shape[0];
    this.shards.splice(0, Infinity, ...shards);
  }
}
