/**
 * Where artefacts of many machines lie: a folder, or a bucket of an S3-compatible object store.
 *
 * @module
 */
export { type FolderOptions, pullFolder, pushFolder } from "./folders.ts";
export { openStorage } from "./open.ts";
export type { Storage, StorageOptions } from "./storage.ts";
