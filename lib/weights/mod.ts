/**
 * Weights in files: the formats in which people publish them, read as float32.
 *
 * @module
 */
export { GgufFile } from "./gguf.ts";
