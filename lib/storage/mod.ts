/**
 * Where artefacts of many machines lie: a folder, or a bucket of an S3-compatible object store.
 *
 * @module
 */
export type { Storage } from "./storage.ts";
