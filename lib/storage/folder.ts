/**
 * A storage in a folder: of this machine, or one that several machines mount.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { writeError, writeFileAtomic } from "../files/atomic.ts";
import { byBytes, checkKey, checkPrefix, checkRange, isKey, isTemporary } from "./keys.ts";
import type { Storage } from "./storage.ts";
import { fileChunks, verified } from "./verified.ts";

/** Age after which a temporary file has lost its writer, in milliseconds. */
const ABANDONED_MS = 3_600_000;

/** Files below a folder. */
export class FolderStorage implements Storage {
  readonly url: string;
  readonly #root: string;
  readonly #cleaned = new Map<string, Promise<void>>();

  /** @param root Absolute path; made by the first write. */
  constructor(root: string) {
    this.#root = root;
    this.url = pathToFileURL(root).href.replace(/(?<!\/)\/$/, "");
  }

  async stat(key: string): Promise<{ size: number } | undefined> {
    const { isFile, size } = await statOrAbsent(this.#path(key)) ?? {};
    return isFile ? { size: size! } : undefined;
  }

  async read(key: string, range?: { start: number; end: number }): Promise<Uint8Array> {
    if (range) checkRange(range);
    using file = await this.#open(key);
    const { size } = await file.stat();
    const start = Math.min(range?.start ?? 0, size);
    const bytes = new Uint8Array(Math.min(range?.end ?? size, size) - start);
    await file.seek(start, Deno.SeekMode.Start);
    let done = 0;
    while (done < bytes.length) {
      const count = await file.read(bytes.subarray(done));
      if (count === null) break;
      done += count;
    }
    return bytes.subarray(0, done);
  }

  async *list(prefix: string): AsyncGenerator<{ key: string; size: number }> {
    checkPrefix(prefix);
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    yield* this.#below(folder, prefix);
  }

  /** @param folder Empty, or with "/" at its end. */
  async *#below(folder: string, prefix: string): AsyncGenerator<{ key: string; size: number }> {
    const entries: string[] = [];
    try {
      for await (const { name, isDirectory } of Deno.readDir(join(this.#root, folder))) {
        // With its "/" a folder stands where its files stand among all keys.
        if (isKey(name)) entries.push(isDirectory ? `${name}/` : name);
      }
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
    for (const entry of entries.sort(byBytes)) {
      const key = folder + entry;
      if (entry.endsWith("/")) {
        if (key.startsWith(prefix) || prefix.startsWith(key)) yield* this.#below(key, prefix);
      } else if (key.startsWith(prefix) && isKey(key)) {
        const found = await this.stat(key);
        if (found) yield { key, size: found.size };
      }
    }
  }

  async write(key: string, content: Uint8Array | string): Promise<void> {
    const path = this.#path(key);
    await this.#clean(dirname(path));
    await writeFileAtomic(path, content);
  }

  async upload(
    path: string,
    key: string,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<void> {
    const target = this.#path(key);
    signal?.throwIfAborted();
    using source = await Deno.open(path);
    await this.#clean(dirname(target));
    if (!await link(path, source, target)) {
      await writeFileAtomic(target, fileChunks(source, signal));
    }
  }

  async download(
    key: string,
    path: string,
    { sha256, signal }: { sha256?: string; signal?: AbortSignal } = {},
  ): Promise<void> {
    using source = await this.#open(key);
    const chunks = fileChunks(source, signal);
    const url = `${this.url}/${key}`;
    await writeFileAtomic(path, sha256 ? verified(chunks, url, () => sha256) : chunks);
  }

  async remove(key: string): Promise<void> {
    try {
      await Deno.remove(this.#path(key));
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  /** Removes what is abandoned in a folder, once: a look at all its files at every write would add up. */
  #clean(folder: string): Promise<void> {
    const cleaned = this.#cleaned.get(folder) ?? removeAbandoned(folder);
    this.#cleaned.set(folder, cleaned);
    return cleaned;
  }

  #path(key: string): string {
    checkKey(key);
    return join(this.#root, key);
  }

  async #open(key: string): Promise<Deno.FsFile> {
    const path = this.#path(key);
    const { isFile } = await statOrAbsent(path) ?? {};
    if (!isFile) throw new Deno.errors.NotFound(`There is no "${key}" in "${this.url}"`);
    return await Deno.open(path);
  }
}

/** Gives a file a second name, where both are on one disk that can do so. */
async function link(path: string, source: Deno.FsFile, target: string): Promise<boolean> {
  const temporary = join(dirname(target), `.${basename(target)}.${crypto.randomUUID()}.tmp`);
  try {
    await Deno.mkdir(dirname(target), { recursive: true });
  } catch (error) {
    throw writeError(target, error);
  }
  try {
    await source.sync();
    // The file itself: a symbolic link would get the second name.
    await Deno.link(await Deno.realPath(path), temporary);
    await Deno.rename(temporary, target);
    return true;
  } catch {
    return false;
  } finally {
    // Two names of one file are not renamed into each other: both stay.
    await Deno.remove(temporary).catch(() => {});
  }
}

/** Removes what writers left behind in a folder when they were killed, long ago. */
async function removeAbandoned(folder: string): Promise<void> {
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (!isTemporary(name)) continue;
      const temporary = join(folder, name);
      const { mtime } = await statOrAbsent(temporary) ?? {};
      if (Date.now() - (mtime?.getTime() ?? Infinity) <= ABANDONED_MS) continue;
      await Deno.remove(temporary).catch(() => {});
    }
  } catch {
    // The folder is not there yet.
  }
}

async function statOrAbsent(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

/** True if a path, or a folder on the way to it, is not there. */
function isAbsent(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}
