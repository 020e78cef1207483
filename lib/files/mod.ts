/**
 * Bytes on disk: atomic writes, hashes, safetensors, and artefacts named by their configuration.
 *
 * @module
 */
export { artefact, artefactDir } from "./artefact.ts";
export type { ArtefactKey, ArtefactMaker, ArtefactRecord } from "./artefact.ts";
export { type FileContent, writeFileAtomic } from "./atomic.ts";
export { canonicalJson, configHash, sha256, sha256File } from "./hash.ts";
export { cacheDir, ROOT } from "./paths.ts";
export {
  openSafetensors,
  readSafetensors,
  SafetensorsFile,
  type StoredTensor,
  type WritableTensor,
  writeSafetensors,
} from "./safetensors.ts";
export type { TensorEntry } from "./safetensors_header.ts";
export { requireSpace } from "./space.ts";
export { VERSION } from "./version.ts";
