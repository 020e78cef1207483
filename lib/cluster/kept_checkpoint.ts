/**
 * The checkpoint of a training, in the storage: whoever goes on with the unit, on this node or on
 * another one, goes on where it was.
 *
 * @module
 */
import { join } from "node:path";
import { openSafetensors } from "../files/mod.ts";
import { readHeader } from "../files/safetensors_header.ts";
import type { Storage } from "../storage/mod.ts";

/** Least time between two copies, in milliseconds. */
const INTERVAL = 60_000;
const FILE = "checkpoint.safetensors";
/** Bytes; names and shapes of the tensors of a training take far fewer. */
const LONGEST_HEADER = 1e7;
/** Folder that `cachedRun` keeps unfinished runs in. */
const FOLDER = "checkpoints";

/** Copies what a training leaves in its folder to the storage, now and then. */
export class KeptCheckpoint implements AsyncDisposable {
  readonly #storage: Storage;
  readonly #prefix: string;
  readonly #dir: string;
  readonly #timer: ReturnType<typeof setInterval>;
  /** What was copied last: name and time of change. */
  #copied = "";
  #copying: Promise<void> = Promise.resolve();

  /**
   * Brings the checkpoint of the storage into the folder, unless one of later steps is there.
   *
   * @param storage Where it is kept.
   * @param hash Of the unit.
   * @param dir Folder of the training, whose `checkpoints` it writes.
   * @param interval Milliseconds between two copies.
   */
  static async open(
    storage: Storage,
    hash: string,
    dir: string,
    interval: number = INTERVAL,
  ): Promise<KeptCheckpoint> {
    const prefix = prefixOf(hash);
    for await (const { key } of storage.list(prefix)) {
      const [, name] = key.slice(prefix.length).match(/^([\w-]+)\/checkpoint\.safetensors$/) ?? [];
      if (name === undefined) continue;
      const folder = join(dir, FOLDER, name);
      await Deno.mkdir(folder, { recursive: true });
      const [path, brought] = [join(folder, FILE), join(folder, "brought.safetensors")];
      try {
        await storage.download(key, brought);
        if (await stepOf(brought) > await stepOf(path)) await Deno.rename(brought, path);
      } catch (error) {
        // Without it the training starts anew, with the same bytes at the end.
        console.warn(
          `Cannot go on from "${key}" in "${storage.url}": ${(error as Error).message}`,
        );
      }
      await Deno.remove(brought).catch(() => {});
    }
    return new KeptCheckpoint(storage, prefix, dir, interval);
  }

  private constructor(storage: Storage, prefix: string, dir: string, interval: number) {
    this.#storage = storage;
    this.#prefix = prefix;
    this.#dir = dir;
    this.#timer = setInterval(() => {
      this.copy().catch((error) => console.warn(`Cannot keep a checkpoint: ${error.message}`));
    }, interval);
  }

  /** Copies what has changed; a copy on its way is waited for first. */
  copy(): Promise<void> {
    return this.#copying = this.#copying.catch(() => {}).then(() => this.#copy());
  }

  async #copy(): Promise<void> {
    const root = join(this.#dir, FOLDER);
    const folders = await Array.fromAsync(Deno.readDir(root), ({ name }) => name).catch(() => []);
    for (const name of folders) {
      const path = join(root, name, FILE);
      const stat = await Deno.stat(path).catch(() => undefined);
      const state = `${name} ${stat?.mtime?.getTime()} ${stat?.size}`;
      if (!stat || state === this.#copied) continue;
      // A second name, because the training may put the next checkpoint in this one's place.
      const fixed = join(root, name, `.${crypto.randomUUID()}.copied`);
      try {
        await Deno.link(path, fixed).catch(() => Deno.copyFile(path, fixed));
        const key = `${this.#prefix}${name}/${FILE}`;
        // Another node may run the same unit, and be further.
        if (!(await keptStep(this.#storage, key) >= await stepOf(fixed))) {
          await this.#storage.upload(fixed, key);
        }
        this.#copied = state;
      } finally {
        await Deno.remove(fixed).catch(() => {});
      }
    }
  }

  /** Stops copying. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#copying.catch(() => {});
  }
}

function prefixOf(hash: string): string {
  return `${FOLDER}/${hash}/`;
}

/** Removes the checkpoint of a unit that is done from the storage. */
export async function removeCheckpoint(storage: Storage, hash: string): Promise<void> {
  const keys = await Array.fromAsync(storage.list(prefixOf(hash)), ({ key }) => key);
  for (const key of keys) await storage.remove(key);
}

/** Steps that a checkpoint in a storage has behind it; −1 if there is none that can be read. */
async function keptStep(storage: Storage, key: string): Promise<number> {
  const { size } = await storage.stat(key) ?? { size: 0 };
  if (size < 8) return -1;
  const first = await storage.read(key, { start: 0, end: 8 });
  const end = 8 + Number(new DataView(first.slice().buffer).getBigUint64(0, true));
  if (end > Math.min(size, LONGEST_HEADER)) return -1;
  const bytes = await storage.read(key, { start: 0, end });
  try {
    const { metadata } = readHeader(key, size, (at, length) => bytes.subarray(at, at + length));
    return Number(metadata.step);
  } catch {
    return -1;
  }
}

/** Steps that a checkpoint has behind it; −1 if there is none. */
async function stepOf(path: string): Promise<number> {
  if (!await Deno.stat(path).catch(() => undefined)) return -1;
  using file = openSafetensors(path);
  return Number(file.metadata.step);
}
