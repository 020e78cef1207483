/**
 * What units read from a storage: stores, dictionaries, machines.
 *
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ActivationStore } from "../activations/mod.ts";
import { Sae } from "../dictionary/mod.ts";
import { cacheDir } from "../files/mod.ts";
import { Nfm } from "../interaction/mod.ts";
import { pullFolder, type Storage } from "../storage/mod.ts";
import { readRecord, type UnitRecord } from "./record.ts";
import { type Unit, unitName } from "./unit.ts";

/** Written last, so that a folder with it is whole. */
export const LAST = "artefact.json";

/**
 * The record of a unit that another one needs.
 *
 * @throws {Error} If it is not done.
 */
export async function requireRecord<U extends Unit>(
  storage: Storage,
  unit: U,
): Promise<UnitRecord<U>> {
  const record = await readRecord(storage, unit);
  if (!record) {
    throw new Error(`"${unitName(unit)}" is not done in "${storage.url}": run it first`);
  }
  return record;
}

/**
 * Makes sure that a key from a record names an artefact: it becomes a path of this machine.
 *
 * @throws {RangeError} If it does not.
 */
export function requireArtefactKey(key: unknown): string {
  if (typeof key === "string" && /^[a-z][a-z-]{0,40}\/[0-9a-f]{16}$/.test(key)) return key;
  throw new RangeError(
    `Cannot use the artefact ${
      JSON.stringify(key)
    } of a record: expected a kind and a hash, such ` +
      `as "sae/0123456789abcdef"`,
  );
}

/** Opens a store: in place where the storage is a folder, shard by shard as it is read elsewhere. */
export async function openStore(
  storage: Storage,
  key: string,
  { window }: { window?: number } = {},
): Promise<ActivationStore> {
  requireArtefactKey(key);
  if (storage.url.startsWith("file:")) {
    return ActivationStore.open(join(fileURLToPath(storage.url), key), { window });
  }
  return await ActivationStore.fetch(storage, key, { window });
}

/** Copies a dictionary into the cache, unless it is there, and loads it; the caller's. */
export async function openSae(storage: Storage, key: string): Promise<Sae> {
  return await Sae.load(await pulled(storage, key));
}

/** Copies a machine into the cache, unless it is there, and loads it; the caller's. */
export async function openNfm(storage: Storage, key: string): Promise<Nfm> {
  return await Nfm.load(await pulled(storage, key));
}

async function pulled(storage: Storage, key: string): Promise<string> {
  const dir = cacheDir(...requireArtefactKey(key).split("/"));
  if (!await pullFolder(storage, key, dir, { last: LAST })) {
    throw new Error(
      `There is no "${key}" in "${storage.url}", of which a record says that it is there: remove ` +
        `the record and run its unit again`,
    );
  }
  return dir;
}
