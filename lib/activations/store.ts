/**
 * Reading harvested activations: in order, by index, or shuffled. Only what a batch needs is in
 * memory.
 *
 * @module
 */
import { join } from "node:path";
import { configHash, openSafetensors, sha256File } from "../files/mod.ts";
import { tf } from "../tensor/mod.ts";
import { shuffledIndices } from "../training/mod.ts";
import { type SplitName, SPLITS } from "../corpus/mod.ts";
import { type ActivationManifest, readManifest, type SplitManifest } from "./manifest.ts";
import { fitNormalizer, Normalizer } from "./normalizer.ts";
import { ReadAhead } from "./read_ahead.ts";
import { RowFiles, type RowFilesOptions } from "./row_files.ts";

/** Elements that a streaming pass holds at a time. */
const CHUNK_ELEMENTS = 1 << 20;
/** Bytes of a split from which on batches are read ahead: less is read faster than a thread starts. */
const READ_AHEAD_BYTES = 256 * 2 ** 20;

/** How a store is read. */
export interface OpenOptions {
  /**
   * Defects of the study that are repeated. `"B12"`: the normaliser is fitted on the tokens of training
   * and validation together, which is done when the store is opened. Default: none.
   */
  faithful?: readonly "B12"[];
  /**
   * Whether the next batch of a training is read in another thread while this one computes. Default:
   * for splits of at least 256 MiB. It changes no byte of what is read.
   */
  readAhead?: boolean;
}

/**
 * Activations of a model at one hook point, by split; made by `harvest`.
 *
 * It keeps up to 256 files of a split open between batches, and a thread that reads the next batch of
 * a training; `close`, or `using`, ends both.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ActivationStore, fromTexts, harvest, openDevice, randomModel } from "interlens";
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
 *   using again = await ActivationStore.open(store.dir);
 *   assertEquals([again.hash, again.manifest.dModel], [store.hash, model.cfg.dModel]);
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 */
export class ActivationStore implements Disposable {
  /** Folder of the store. */
  readonly dir: string;
  /** Where the activations come from. */
  readonly manifest: ActivationManifest;
  /** Fitted on the training tokens; every row that is read has gone through it. */
  readonly normalizer: Normalizer;
  /** Names the content of the store: of the activations and of their normaliser. */
  readonly hash: string;
  readonly #splits: Record<SplitName, StoreSplit>;

  private constructor(
    dir: string,
    manifest: ActivationManifest,
    normalizer: Normalizer,
    options: OpenOptions,
  ) {
    this.dir = dir;
    this.manifest = manifest;
    this.normalizer = normalizer;
    const { scale, clip } = normalizer;
    this.hash = configHash({ manifest, normalizer: { scale, clip } });
    this.#splits = Object.fromEntries(
      SPLITS.map((name) => [name, new StoreSplit(dir, name, manifest, normalizer, options)]),
    ) as Record<SplitName, StoreSplit>;
  }

  /**
   * Opens a store and checks that every file of it is there, whole, and as the manifest states.
   *
   * @param dir Folder of the store.
   * @param options How it is read.
   * @throws {Error} Naming the file that is missing, cut short, or disagrees.
   */
  static open(dir: string, options: OpenOptions = {}): ActivationStore {
    const manifest = readManifest(dir);
    if (!options.faithful?.includes("B12")) {
      return new ActivationStore(dir, manifest, Normalizer.load(dir), options);
    }
    const normalizer = fitOn(["train", "validation"], dir, manifest);
    return new ActivationStore(dir, { ...manifest, faithful: ["B12"] }, normalizer, options);
  }

  /** Width of an activation. */
  get dModel(): number {
    return this.manifest.dModel;
  }

  /** Hook point that was harvested. */
  get hook(): string {
    return this.manifest.hook;
  }

  /** The model that they are of. */
  get model(): ActivationManifest["model"] {
    return this.manifest.model;
  }

  /**
   * Activations of one split.
   *
   * @param name `"train"`, `"validation"` or `"test"`.
   */
  split(name: SplitName): StoreSplit {
    const split = Object.hasOwn(this.#splits, name) ? this.#splits[name] : undefined;
    if (!split) {
      throw new RangeError(
        `There is no split "${name}": expected ${SPLITS.map((known) => `"${known}"`).join(", ")}`,
      );
    }
    return split;
  }

  /**
   * Reads every byte and compares it with what was written.
   *
   * @throws {Error} Naming the first file that changed.
   */
  async verify(): Promise<void> {
    for (const name of SPLITS) {
      for (const { file, sha256 } of this.manifest.splits[name].shards) {
        const path = join(this.dir, file);
        const found = await sha256File(path);
        if (found !== sha256) {
          throw new Error(
            `"${path}" is not what was harvested: its SHA-256 is ${found}, expected ${sha256}. ` +
              `Delete its folder and harvest again`,
          );
        }
      }
    }
  }

  /** Closes its files; reading opens them again. */
  close(): void {
    for (const name of SPLITS) this.#splits[name].close();
  }

  /** Closes its files at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
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
  readonly #dModel: number;
  readonly #normalizer: Normalizer;
  readonly #options: RowFilesOptions;
  readonly #files: RowFiles;
  readonly #documentsFrom: readonly number[];
  readonly #columns = new Map<string, Int32Array>();
  readonly #readsAhead: boolean;
  #ahead: ReadAhead | undefined;
  /** The batch that would come after the one that was read last. */
  #next: string | undefined;

  /** Use {@linkcode ActivationStore.split}. */
  constructor(
    dir: string,
    name: SplitName,
    { splits, dModel, dtype }: ActivationManifest,
    normalizer: Normalizer,
    { readAhead }: OpenOptions = {},
  ) {
    const { tokens, documents, shards }: SplitManifest = splits[name];
    this.name = name;
    this.tokens = tokens;
    this.documents = documents;
    this.#dModel = dModel;
    this.#normalizer = normalizer;
    this.#documentsFrom = shards.map(({ documentsFrom = 0 }) => documentsFrom);
    this.#options = {
      paths: shards.map(({ file }) => join(dir, file)),
      starts: shards.reduce((starts, shard) => [...starts, starts.at(-1)! + shard.tokens], [0]),
      width: dModel,
    };
    this.#files = new RowFiles(this.#options);
    const bytes = tokens * dModel * (dtype === "float16" ? 2 : 4);
    this.#readsAhead = readAhead ?? bytes >= READ_AHEAD_BYTES;
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
      ? tf.tensor2d(ready, [batchSize, this.#dModel])
      : this.batch(this.shuffledIndices(step, batchSize, seed));
    // Two batches in a row are the beginning of many.
    if (this.#readsAhead && this.#next === key) {
      const { scale, clip } = this.#normalizer;
      this.#ahead ??= new ReadAhead(this.#options, { scale, clip });
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
    return shuffledIndices(this.tokens, { step, batchSize, seed });
  }

  /** Closes its files; reading opens them again. */
  close(): void {
    this.#files.close();
    this.#ahead?.close();
    this.#ahead = undefined;
  }

  /** Activations as they are on disk, chunk by chunk, `[tokens, d_model]` each. */
  *rawChunks(): Generator<Float32Array> {
    const rows = Math.max(1, Math.floor(CHUNK_ELEMENTS / this.#dModel));
    for (let start = 0; start < this.tokens;) {
      const end = this.#options.starts[this.#files.fileOf(start) + 1];
      const count = Math.min(rows, end - start);
      yield this.#files.read(start, count);
      start += count;
    }
  }

  #tensor(values: Float32Array, count: number): tf.Tensor2D {
    this.#normalizer.applyTo(values);
    return tf.tensor2d(values, [count, this.#dModel]);
  }

  #column(name: "token" | "document" | "position"): Int32Array {
    let values = this.#columns.get(name);
    if (!values) {
      values = new Int32Array(this.tokens);
      for (const [shard, path] of this.#options.paths.entries()) {
        using file = openSafetensors(path);
        const from = name === "document" ? this.#documentsFrom[shard] : 0;
        const column = file.read(name).data;
        values.set(from > 0 ? column.map((n) => n + from) : column, this.#options.starts[shard]);
      }
      this.#columns.set(name, values);
    }
    return values;
  }
}

/** The normaliser for a harvest that is complete but for it. */
export function fitOnTraining(dir: string, manifest: ActivationManifest): Normalizer {
  return fitOn(["train"], dir, manifest);
}

function fitOn(names: readonly SplitName[], dir: string, manifest: ActivationManifest): Normalizer {
  const splits = names.map((name) => new StoreSplit(dir, name, manifest, new Normalizer()));
  try {
    return fitNormalizer(
      function* () {
        for (const split of splits) yield* split.rawChunks();
      },
      manifest.dModel,
      manifest.normalizer,
    );
  } finally {
    for (const split of splits) split.close();
  }
}
