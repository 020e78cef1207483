/**
 * What is known of a store in a storage before any of its shard files is fetched.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { cacheDir, configHash, writeFileAtomic } from "../files/mod.ts";
import { SPLITS } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import type { StoredFile } from "./fetch_thread.ts";
import { type ActivationManifest, MANIFEST, parseManifest } from "./manifest.ts";
import { NORMALIZER_FILES } from "./normalizer.ts";
import type { FetchPlace } from "./store_fetcher.ts";

const CACHE_BYTES = 16 * 2 ** 30;

/**
 * Fetches manifest and normaliser of a store to a folder of this machine.
 *
 * @throws {Error} If the store is not there or not complete, or the folder holds another one.
 * @throws {RangeError} If `cacheBytes` does not hold two windows.
 */
export async function fetchPlace(
  storage: Storage,
  key: string,
  { cacheBytes = CACHE_BYTES, dir, window }: { cacheBytes?: number; dir?: string; window?: number },
): Promise<{ manifest: ActivationManifest; place: FetchPlace }> {
  const address = `${storage.url}/${key}`;
  if (!await isComplete(storage, key)) {
    throw new Error(
      `There is no complete activation store at "${address}": harvest it, or wait until all parts of ` +
        `it are merged`,
    );
  }
  const text = new TextDecoder().decode(await storage.read(`${key}/${MANIFEST}`));
  const manifest = parseManifest(`${address}/${MANIFEST}`, () => text);
  const files = await filesOf(storage, key, manifest);
  requireRoom(manifest, files, cacheBytes, window);

  const folder = dir ?? join(cacheDir(), "fetched", configHash(manifest));
  const path = join(folder, MANIFEST);
  const found = await Deno.readTextFile(path).catch(() => undefined);
  if (found !== undefined && found !== text) {
    throw new Error(
      `Cannot fetch the activation store "${address}" to "${folder}": another store is there, give ` +
        `another folder or delete it`,
    );
  }
  for (const name of NORMALIZER_FILES) {
    await storage.download(`${key}/${name}`, join(folder, name));
  }
  if (found === undefined) await writeFileAtomic(path, text);
  const { url, options } = storage;
  const place = { url, storage: options, key, dir: folder, cacheBytes, files };
  return { manifest, place };
}

/** True if the record that is written last is there; stores of several hook points share one. */
async function isComplete(storage: Storage, key: string): Promise<boolean> {
  const folders = key.includes("/") ? [key, dirname(key)] : [key];
  for (const folder of folders) {
    if (await storage.stat(`${folder}/artefact.json`)) return true;
  }
  return false;
}

/** Shard files of all splits in order, with their sizes. */
async function filesOf(
  storage: Storage,
  key: string,
  { splits }: ActivationManifest,
): Promise<StoredFile[]> {
  const sizes = new Map<string, number>();
  for await (const found of storage.list(`${key}/`)) sizes.set(found.key, found.size);
  return SPLITS.flatMap((name) => splits[name].shards).map(({ file, sha256 }) => {
    const size = sizes.get(`${key}/${file}`);
    if (size === undefined) {
      throw new Error(
        `The activation store "${storage.url}/${key}" has no "${file}", which its manifest names: ` +
          `harvest it again`,
      );
    }
    return { file, size, sha256 };
  });
}

function requireRoom(
  { splits }: ActivationManifest,
  files: readonly StoredFile[],
  cacheBytes: number,
  window: number | undefined,
): void {
  const largest = files.reduce((most, { size }) => Math.max(most, size), 0);
  const atOnce = Math.max(2, Math.min(2 * (window ?? 1), splits.train.shards.length));
  const least = atOnce * largest;
  if (cacheBytes >= least) return;
  throw new RangeError(
    `Cannot fetch a store to read it with cacheBytes = ${cacheBytes}: two windows of ${
      window ?? 1
    } files of up to ${largest} bytes need ${least}. Raise cacheBytes, or give a smaller window`,
  );
}
