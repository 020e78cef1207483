/**
 * Activations of one file of a store, as they are on disk, without holding the file.
 *
 * @module
 */
import { openSafetensors } from "../files/mod.ts";

/** Elements that are held at a time. */
const CHUNK_ELEMENTS = 1 << 20;

/** Activations of a file, `[tokens, d_model]` a chunk. */
export function* shardRows(path: string): Generator<Float32Array> {
  using file = openSafetensors(path);
  const [tokens, width] = file.header.activations.shape;
  const rows = Math.max(1, Math.floor(CHUNK_ELEMENTS / width));
  for (let start = 0; start < tokens; start += rows) {
    const values = file.readRows("activations", start, Math.min(rows, tokens - start));
    yield values as Float32Array;
  }
}
