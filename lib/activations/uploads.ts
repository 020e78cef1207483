/**
 * Files of a part of a harvest on their way to the storage.
 *
 * @module
 */
import { join } from "node:path";
import type { Storage } from "../storage/mod.ts";
import type { PartFile } from "./harvest_part.ts";
import type { Shard } from "./manifest.ts";

/** Uploads files while the model runs; what fails then is tried again at the end. */
export class Uploads {
  readonly #storage: Storage;
  readonly #key: string;
  readonly #signal: AbortSignal | undefined;
  readonly #done = new Set<string>();
  #queue: Promise<void> = Promise.resolve();
  #stopped = false;

  /** @param key Folder of the files in the storage. */
  constructor(storage: Storage, key: string, signal: AbortSignal | undefined) {
    this.#storage = storage;
    this.#key = key;
    this.#signal = signal;
  }

  /** Uploads a file when those before it are there. */
  begin(path: string, { file, sha256 }: Shard): void {
    this.#queue = this.#queue.then(async () => {
      if (this.#stopped) return;
      const name = contentName(file, sha256);
      await this.#storage.upload(path, `${this.#key}/${name}`, { signal: this.#signal });
      this.#done.add(name);
    }).catch(() => {});
  }

  /** Uploads what is not there yet; files as the storage names them, by local name. */
  async finish(dir: string, shards: readonly Shard[]): Promise<Map<string, PartFile>> {
    await this.#queue;
    const files = new Map<
      string,
      { file: string; tokens: number; sha256: string; bytes: number }
    >();
    for (const { file, tokens, sha256 } of shards) {
      this.#signal?.throwIfAborted();
      const name = contentName(file, sha256);
      const path = join(dir, file);
      const bytes = (await Deno.stat(path)).size;
      const key = `${this.#key}/${name}`;
      // One of this name and size has this content, whichever process uploaded it.
      if (!this.#done.has(name) && (await this.#storage.stat(key))?.size !== bytes) {
        await this.#storage.upload(path, key, { signal: this.#signal });
      }
      files.set(file, { file: name, tokens, sha256, bytes });
    }
    return files;
  }

  /** Ends after the file that is on its way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#queue;
  }
}

/** Another machine may round otherwise: its files must not take the place of these. */
function contentName(file: string, sha256: string): string {
  return file.replace(/\.safetensors$/, `-${sha256.slice(0, 16)}.safetensors`);
}
