/**
 * Reading harvested activations: in order, by index, or shuffled. Only what a batch needs is in
 * memory.
 *
 * @module
 */
import { join } from "node:path";
import { configHash, sha256File } from "../files/mod.ts";
import { type SplitName, SPLITS } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import { fetchPlace } from "./fetch_place.ts";
import { type ActivationManifest, readManifest } from "./manifest.ts";
import { fitNormalizer, Normalizer } from "./normalizer.ts";
import { StoreFetcher } from "./store_fetcher.ts";
import { StoreSplit } from "./store_split.ts";

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
  /**
   * Shard files that are shuffled together: an epoch of a training goes through windows of so many
   * files, which are drawn anew for every epoch, and shuffles the tokens of each window. So a step
   * needs few files at a time; see {@linkcode WindowedOrder}. Default: all tokens are shuffled
   * together, which needs all files.
   */
  window?: number;
}

/** How a store is fetched and read. */
export interface FetchOptions extends OpenOptions {
  /**
   * Most bytes of shard files that are kept in the folder. Default 16 GiB. It must hold two windows:
   * the next one is fetched while one is read.
   */
  cacheBytes?: number;
  /**
   * Folder of this machine for the files; several processes may share it. Default: one in the cache
   * that the content names. What is in it is not fetched again.
   */
  dir?: string;
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
  readonly #fetcher: StoreFetcher | undefined;

  private constructor(
    dir: string,
    found: ActivationManifest,
    { faithful, readAhead, window }: OpenOptions,
    fetcher?: StoreFetcher,
  ) {
    const leaky = faithful?.includes("B12");
    const normalizer = leaky
      ? fitOn(["train", "validation"], dir, found, fetcher)
      : Normalizer.load(dir);
    const manifest: ActivationManifest = {
      ...found,
      ...leaky && { faithful: ["B12"] as const },
      ...window !== undefined && { window },
    };
    this.dir = dir;
    this.manifest = manifest;
    this.normalizer = normalizer;
    const { scale, clip } = normalizer;
    this.hash = configHash({ manifest, normalizer: { scale, clip } });
    this.#fetcher = fetcher;
    const options = { readAhead, window, fetcher };
    this.#splits = Object.fromEntries(
      SPLITS.map((name) => [name, new StoreSplit({ dir, name, manifest }, normalizer, options)]),
    ) as Record<SplitName, StoreSplit>;
  }

  /**
   * Opens a store and checks that every file of it is there, whole, and as the manifest states.
   *
   * @param dir Folder of the store.
   * @param options How it is read.
   * @throws {Error} Naming the file that is missing, cut short, or disagrees.
   * @throws {RangeError} If the window is not an integer from 1 on.
   */
  static open(dir: string, options: OpenOptions = {}): ActivationStore {
    return new ActivationStore(dir, readManifest(dir), options);
  }

  /**
   * Opens a store that lies in a storage, such as a bucket. Manifest and normaliser come at once; a
   * shard file comes, and is checked against its SHA-256, when a token of it is first read, and those
   * that a training reads next come before. At most `cacheBytes` are kept on this machine: files that
   * were not used for the longest time go first.
   *
   * What is read is the same, byte by byte, as from the store itself opened with the same `window`,
   * and so is the hash of what is trained on it. Memory does not grow with the number of tokens,
   * except for the columns of ids (4 bytes a token each) and the manifest.
   *
   * A file that is not there is waited for, by `shuffledBatch` while the event loop goes on, by `rows`
   * and `batch` without it. If it cannot be fetched, the read ends with an error that says why; it can
   * be tried again.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import {
   *   ActivationStore,
   *   fromTexts,
   *   harvest,
   *   openDevice,
   *   openStorage,
   *   pushFolder,
   *   randomModel,
   * } from "interlens";
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
   *     shardTokens: 6,
   *     dir,
   *   });
   *   const storage = openStorage(`${dir}/shared`);
   *   await pushFolder(storage, store.dir, "activations/example", { last: "artefact.json" });
   *
   *   using fetched = await ActivationStore.fetch(storage, "activations/example", {
   *     window: 2,
   *     dir: `${dir}/fetched`,
   *   });
   *   const x = await fetched.split("train").shuffledBatch(0, 10, 0);
   *   assertEquals(x.shape, [10, model.cfg.dModel]);
   *   x.dispose();
   * }
   * await Deno.remove(dir, { recursive: true });
   * ```
   *
   * @param storage Where it lies.
   * @param key Its folder there.
   * @param options What is kept here, and how it is read.
   * @throws {Error} If it is not there or not complete, or the folder holds another store.
   * @throws {RangeError} If `cacheBytes` does not hold two windows.
   */
  static async fetch(
    storage: Storage,
    key: string,
    options: FetchOptions = {},
  ): Promise<ActivationStore> {
    const { manifest, place } = await fetchPlace(storage, key, options);
    const fetcher = new StoreFetcher(place);
    try {
      return new ActivationStore(place.dir, manifest, options, fetcher);
    } catch (error) {
      fetcher.close();
      throw error;
    }
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
      for (const [i, { file, sha256 }] of this.manifest.splits[name].shards.entries()) {
        const path = join(this.dir, file);
        await this.#splits[name].fetchFile(i);
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
    this.#fetcher?.close();
  }

  /** Closes its files at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** The normaliser for a harvest that is complete but for it. */
export function fitOnTraining(dir: string, manifest: ActivationManifest): Normalizer {
  return fitOn(["train"], dir, manifest);
}

function fitOn(
  names: readonly SplitName[],
  dir: string,
  manifest: ActivationManifest,
  fetcher?: StoreFetcher,
): Normalizer {
  const splits = names.map((name) =>
    new StoreSplit({ dir, name, manifest }, new Normalizer(), { fetcher })
  );
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
