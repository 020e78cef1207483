/**
 * From the parts of a harvest to a store.
 *
 * @module
 */
import type { Storage } from "../storage/mod.ts";

/** Which parts to make a store of. */
export interface MergeShardsOptions {
  /** Where the parts are. */
  storage: Storage;
  /** Key of the store, `activations/<hash>`; every part names it. */
  key: string;
  /** Number of parts. */
  of: number;
  /** Stops the merge. */
  signal?: AbortSignal;
  /** Folder for files that are read on the way; default `data/cache`. */
  dir?: string;
}

/**
 * Makes a store of parts that are all in the storage; their files stay where they are.
 *
 * @param options Which parts.
 * @returns The key of the store, for `ActivationStore.fetch`.
 */
export function mergeShards(_options: MergeShardsOptions): Promise<string> {
  return Promise.reject(new Error("Not there yet"));
}
