/**
 * Activations of one split of a store, in order, by index, or shuffled.
 *
 * @module
 */
import { join } from "node:path";
import { configHash } from "../files/mod.ts";
import { tf } from "../tensor/mod.ts";
import { shuffledIndices, WindowedOrder } from "../training/mod.ts";
import { type SplitName, SPLITS } from "../corpus/mod.ts";
import type { ActivationManifest, SplitManifest } from "./manifest.ts";
import type { Normalizer } from "./normalizer.ts";
import { ReadAhead } from "./read_ahead.ts";
import { RowFiles, type RowFilesOptions } from "./row_files.ts";
import type { SplitFetcher, StoreFetcher } from "./store_fetcher.ts";

/** Elements that a streaming pass holds at a time. */
const CHUNK_ELEMENTS = 1 << 20;
/** Bytes of a split from which on batches are read ahead: less is read faster than a thread starts. */
const READ_AHEAD_BYTES = 256 * 2 ** 20;

/** Which split of which store. */
export interface SplitOf {
  /** Folder of the store. */
  readonly dir: string;
  /** Name of the split. */
  readonly name: SplitName;
  /** What the folder holds. */
  readonly manifest: ActivationManifest;
}

/** How a split is read. */
export interface SplitOptions {
  /** Whether batches of a training are read ahead in another thread. */
  readonly readAhead?: boolean;
  /** Files of a window of the order of training; absent: all tokens are shuffled together. */
  readonly window?: number;
  /** Only its first tokens. */
  readonly tokens?: number;
  /** Brings files that are not there. */
  readonly fetcher?: StoreFetcher;
}

/**
 * Activations of one split. Tokens are numbered in the order of the harvest, in which the tokens of
 * a sequence follow each other.
 *
 * Every tensor that it returns is float32 `[tokens, d_model]`, normalised, and owned by the caller.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, harvest, openDevice, randomModel, StoreSplit } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const dir = await Deno.makeTempDir();
 * {
 *   using store = await harvest(model, { train, validation, test }, {
 *     hook: "blocks.0.hook_resid_post",
 *     contextLength: 8,
 *     tokens: { train: 20, validation: 5, test: "all" },
 *     dir,
 *   });
 *   const split = store.split("validation");
 *   assertEquals([split instanceof StoreSplit, split.tokens], [true, 5]);
 *   const rows = split.rows(1, 3);
 *   assertEquals(rows.shape, [3, model.cfg.dModel]);
 *   rows.dispose();
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class StoreSplit {
  /** `"train"`, `"validation"` or `"test"`. */
  readonly name: SplitName;
  /** Number of tokens. */
  readonly tokens: number;
  /** Ids of the documents, `document` is an index into it. */
  readonly documents: readonly string[];
  readonly #of: SplitOf;
  readonly #normalizer: Normalizer;
  readonly #options: SplitOptions;
  readonly #rows: RowFilesOptions;
  readonly #files: RowFiles;
  readonly #source: SplitFetcher | undefined;
  readonly #columns = new Map<string, Int32Array>();
  readonly #order: WindowedOrder | undefined;
  readonly #readsAhead: boolean;
  readonly #parts = new Map<number, StoreSplit>();
  #ahead: ReadAhead | undefined;
  /** The batch that would come after the one that was read last. */
  #next: string | undefined;

  /** Use {@linkcode ActivationStore.split}. */
  constructor(of: SplitOf, normalizer: Normalizer, options: SplitOptions = {}) {
    const { dir, name, manifest: { splits, dModel, dtype } } = of;
    const { tokens: stored, documents, shards }: SplitManifest = splits[name];
    const { tokens = stored, window, readAhead, fetcher } = options;
    this.name = name;
    this.tokens = tokens;
    this.documents = documents;
    this.#of = of;
    this.#normalizer = normalizer;
    this.#options = options;
    const starts = [0];
    for (const shard of shards) {
      if (starts.at(-1)! < tokens) starts.push(Math.min(tokens, starts.at(-1)! + shard.tokens));
    }
    this.#source = fetcher?.of(`${name}/${tokens}`, firstFile(of.manifest, name));
    this.#rows = {
      paths: shards.slice(0, starts.length - 1).map(({ file }) => join(dir, file)),
      starts,
      width: dModel,
      ...this.#source && { fetched: this.#source.shared },
    };
    this.#files = new RowFiles(this.#rows, this.#source);
    if (window !== undefined) this.#order = new WindowedOrder(starts, window);
    const bytes = tokens * dModel * (dtype === "float16" ? 2 : 4);
    this.#readsAhead = readAhead ?? bytes >= READ_AHEAD_BYTES;
  }

  /**
   * Says where the order of {@linkcode shuffledBatch} comes from, if that is more than the number of
   * tokens: rows of two splits belong together in training if these are the same.
   */
  get order(): string | undefined {
    return this.#order && `windows of ${this.#order.window}: ${configHash(this.#rows.starts)}`;
  }

  /** Document of each token, `[tokens]`; read when it is first asked for, and held from then on. */
  get document(): Int32Array {
    return this.#column("document");
  }

  /** Id of each token, `[tokens]`; read when it is first asked for, and held from then on. */
  get tokenIds(): Int32Array {
    return this.#column("token");
  }

  /**
   * Place of each token in its sequence, BOS being 0, `[tokens]`; read when it is first asked for,
   * and held from then on.
   */
  get positions(): Int32Array {
    return this.#column("position");
  }

  /**
   * Normalised activations of some tokens, in the order asked for.
   *
   * @param indices Numbers of tokens; a number may repeat.
   * @returns `[indices.length, d_model]`.
   * @throws {RangeError} If there are none, or a number is not one of a token.
   */
  batch(indices: Int32Array): tf.Tensor2D {
    if (indices.length === 0) {
      throw new RangeError(`Cannot read a batch of no tokens from "${this.name}"`);
    }
    for (const index of indices) {
      if (!(index >= 0 && index < this.tokens)) {
        throw new RangeError(
          `Cannot read token ${index} of "${this.name}": it has ${this.tokens}`,
        );
      }
    }
    return this.#tensor(this.#files.gather(indices), indices.length);
  }

  /**
   * Normalised activations of consecutive tokens.
   *
   * @param start Number of the first token.
   * @param count Number of tokens, at least 1.
   * @returns `[count, d_model]`.
   * @throws {RangeError} If the split ends before.
   */
  rows(start: number, count: number): tf.Tensor2D {
    if (
      !(Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 1) ||
      start + count > this.tokens
    ) {
      throw new RangeError(
        `Cannot read ${count} tokens from token ${start} of "${this.name}": it has ${this.tokens}`,
      );
    }
    return this.#tensor(this.#files.read(start, count), count);
  }

  /**
   * Step's batch of an endless stream in which every token comes once an epoch, in an order that is
   * new in every epoch. The same (seed, step) gives the same batch, whatever was read before, so a
   * resumed training goes on exactly. A batch at the end of an epoch goes on into the next one.
   *
   * @param step Number of the batch, from 0.
   * @param batchSize Tokens, at most those of the split.
   * @param seed Decides the order.
   * @returns `[batchSize, d_model]`.
   * @throws {RangeError} If an argument is out of range.
   */
  async shuffledBatch(step: number, batchSize: number, seed: number): Promise<tf.Tensor2D> {
    const nameOf = (step: number) => `${step}/${batchSize}/${seed}`;
    const key = nameOf(step);
    const ready = await this.#ahead?.take(key);
    const x = ready
      ? tf.tensor2d(ready, [batchSize, this.#rows.width])
      : this.batch(await this.#fetched(step, batchSize, seed));
    // Two batches in a row are the beginning of many.
    if (this.#readsAhead && this.#next === key) {
      const { scale, clip } = this.#normalizer;
      this.#ahead ??= new ReadAhead(this.#rows, { scale, clip });
      this.#expect(step + 1, batchSize, seed);
      this.#ahead.ask(nameOf(step + 1), this.shuffledIndices(step + 1, batchSize, seed));
    }
    this.#next = nameOf(step + 1);
    return x;
  }

  /**
   * Numbers of the tokens in {@linkcode shuffledBatch}, to look up their documents and ids.
   *
   * @throws {RangeError} If an argument is out of range.
   */
  shuffledIndices(step: number, batchSize: number, seed: number): Int32Array {
    const batch = { step, batchSize, seed };
    return this.#order?.indices(batch) ?? shuffledIndices(this.tokens, batch);
  }

  /**
   * The first tokens, in an order of training of their own; of files that have none of them nothing is
   * read. Its files are closed with those of the split.
   *
   * @param tokens How many.
   * @throws {RangeError} If the split has fewer.
   */
  firstTokens(tokens: number): StoreSplit {
    if (!(Number.isInteger(tokens) && tokens >= 1 && tokens <= this.tokens)) {
      throw new RangeError(
        `Cannot take the first ${tokens} tokens of "${this.name}": expected an integer of 1 to ` +
          `${this.tokens}`,
      );
    }
    let part = tokens === this.tokens ? this : this.#parts.get(tokens);
    if (!part) {
      part = new StoreSplit(this.#of, this.#normalizer, { ...this.#options, tokens });
      this.#parts.set(tokens, part);
    }
    return part;
  }

  /** Closes its files; reading opens them again. */
  close(): void {
    this.#files.close();
    this.#ahead?.close();
    this.#ahead = undefined;
    for (const part of this.#parts.values()) part.close();
  }

  /** Waits until one of its files is on disk, where it may have to be fetched. */
  async fetchFile(file: number): Promise<void> {
    await this.#source?.ready([file]);
  }

  /** Activations as they are on disk, chunk by chunk, `[tokens, d_model]` each. */
  *rawChunks(): Generator<Float32Array> {
    const rows = Math.max(1, Math.floor(CHUNK_ELEMENTS / this.#rows.width));
    for (let start = 0; start < this.tokens;) {
      const end = this.#rows.starts[this.#files.fileOf(start) + 1];
      const count = Math.min(rows, end - start);
      yield this.#files.read(start, count);
      start += count;
    }
  }

  #tensor(values: Float32Array, count: number): tf.Tensor2D {
    this.#normalizer.applyTo(values);
    return tf.tensor2d(values, [count, this.#rows.width]);
  }

  #column(name: "token" | "document" | "position"): Int32Array {
    let values = this.#columns.get(name);
    if (!values) {
      const { shards } = this.#of.manifest.splits[this.name];
      const from = shards.map(({ documentsFrom = 0 }) => documentsFrom);
      values = this.#files.column(name, this.tokens, name === "document" ? from : undefined);
      this.#columns.set(name, values);
    }
    return values;
  }

  /** Numbers of the tokens of a step, when their files are there. */
  async #fetched(step: number, batchSize: number, seed: number): Promise<Int32Array> {
    const indices = this.shuffledIndices(step, batchSize, seed);
    if (this.#source) {
      this.#requireRoom();
      this.#expect(step, batchSize, seed);
      const { cacheBytes } = this.#options.fetcher!.place;
      const most = Math.floor(cacheBytes / largest(this.#sizes()));
      // More do not fit at a time: the others are waited for one by one as they are read.
      await this.#source.ready(this.#files.filesOf(indices).slice(0, most));
    }
    return indices;
  }

  /** Has the files of a step fetched, and those that come next. */
  #expect(step: number, batchSize: number, seed: number): void {
    if (!this.#source) return;
    if (!this.#order) return this.#source.expect(this.#rows.paths.map((_, i) => i));
    const { now, next } = this.#order.files({ step, batchSize, seed });
    this.#source.expect([...new Set([...now, ...next])]);
  }

  /** Bytes of its files, which may be elsewhere. */
  #sizes(): number[] {
    const first = firstFile(this.#of.manifest, this.name);
    return this.#options.fetcher!.place.files.slice(first, first + this.#rows.paths.length)
      .map(({ size }) => size);
  }

  /** @throws {RangeError} If tokens are shuffled over more files than there is room for. */
  #requireRoom(): void {
    if (this.#order) return;
    const { cacheBytes } = this.#options.fetcher!.place;
    const sizes = this.#sizes();
    const bytes = sizes.reduce((total, size) => total + size, 0);
    if (bytes <= cacheBytes) return;
    const window = Math.floor(cacheBytes / largest(sizes) / 2);
    throw new RangeError(
      `Cannot shuffle all ${this.tokens} tokens of "${this.name}" together: they are ${bytes} bytes, ` +
        `and cacheBytes, what is kept of them here, is ${cacheBytes}. Fetch the store with a window, ` +
        `of at most ${window} files, or with a larger cacheBytes`,
    );
  }
}

/** The largest of any number of sizes. */
function largest(sizes: readonly number[]): number {
  return sizes.reduce((most, size) => Math.max(most, size));
}

/** Number of a split's first file among those of the store. */
function firstFile({ splits }: ActivationManifest, name: SplitName): number {
  let files = 0;
  for (const before of SPLITS.slice(0, SPLITS.indexOf(name))) files += splits[before].shards.length;
  return files;
}
