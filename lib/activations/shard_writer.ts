/**
 * Writing activations to shards: one shard is in memory, whatever their number.
 *
 * @module
 */
import { join } from "node:path";
import { sha256File, writeSafetensors } from "../files/mod.ts";
import type { SplitName } from "../corpus/mod.ts";
import type { Shard } from "./manifest.ts";

/** Size of a shard, and with it the memory of a harvest. */
const SHARD_BYTES = 64 * 2 ** 20;

/** Rows of a shard of about 64 MiB, at least 1. */
export function defaultShardTokens(width: number): number {
  return Math.max(1, Math.floor(SHARD_BYTES / (4 * width + 12)));
}

/** Collects tokens and writes a file whenever it has enough of them. */
export class ShardWriter {
  /** What was written so far. */
  readonly shards: Shard[] = [];
  readonly #dir: string;
  readonly #split: SplitName;
  readonly #width: number;
  readonly #activations: Float32Array;
  readonly #token: Int32Array;
  readonly #document: Int32Array;
  readonly #position: Int32Array;
  #rows = 0;

  /**
   * @param dir Existing folder.
   * @param split Start of the files' names.
   * @param width Elements of an activation.
   * @param shardTokens Rows of a file.
   */
  constructor(dir: string, split: SplitName, width: number, shardTokens: number) {
    this.#dir = dir;
    this.#split = split;
    this.#width = width;
    this.#activations = new Float32Array(shardTokens * width);
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
    const file = `${this.#split}-${`${this.shards.length}`.padStart(5, "0")}.safetensors`;
    const path = join(this.#dir, file);
    const ids = (data: Int32Array) => ({
      dtype: "I32" as const,
      shape: [rows],
      data: data.subarray(0, rows),
    });
    await writeSafetensors(path, {
      activations: {
        dtype: "F32",
        shape: [rows, this.#width],
        data: this.#activations.subarray(0, rows * this.#width),
      },
      token: ids(this.#token),
      document: ids(this.#document),
      position: ids(this.#position),
    });
    this.shards.push({ file, tokens: rows, sha256: await sha256File(path) });
    this.#rows = 0;
  }
}
