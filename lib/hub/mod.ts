/**
 * Files from a model hub, in the cache that Hugging Face's tools share.
 *
 * @module
 */
export type { HubEntry } from "./cache.ts";
export { hubFile, hubFiles, hubSnapshot } from "./files.ts";
export type { HubRepo } from "./repo.ts";
export type { HubOptions } from "./request.ts";
