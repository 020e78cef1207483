/**
 * Weights in files: the formats in which people publish them, read as float32.
 *
 * @module
 */
export { openWeights } from "./folder.ts";
export { GgufFile } from "./gguf.ts";
export type { WeightFile } from "./weight_file.ts";
