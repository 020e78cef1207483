/** Files that other libraries wrote, and the values that these read in them. */
import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import type { WeightFile } from "../../lib/weights/mod.ts";

/** Where a recorded file or folder lies. */
export function recordedPath(name: string): string {
  return fileURLToPath(new URL(`../fixtures/weights_files/${name}`, import.meta.url));
}

type Recorded = Record<string, { shape: number[]; hex: string }>;

/** Tensors that were recorded for a file or folder. */
export function recorded(name: string): Recorded {
  return JSON.parse(Deno.readTextFileSync(recordedPath(`${name}.json`)));
}

/** Asserts that all recorded tensors are read exactly, whole and row by row. */
export async function assertRecorded(weights: WeightFile, name: string): Promise<void> {
  for (const [tensor, { shape, hex }] of Object.entries(recorded(name))) {
    assertEquals(weights.shape(tensor), shape, tensor);
    const read = await weights.read(tensor, shape);
    // As lists: typed arrays count two kinds of NaN as different.
    assertEquals([...read], [...new Float32Array(Uint8Array.fromHex(hex).buffer)], tensor);
    if (shape.length !== 2 || shape[0] === 0) continue;
    for (let row = 0; row < shape[0]; row++) {
      assertEquals(await weights.readRows(tensor, row, 1), rowOf(read, row, shape[1]), tensor);
    }
    assertEquals(await weights.readRows(tensor, 1, shape[0] - 1), read.slice(shape[1]), tensor);
  }
}

function rowOf(matrix: Float32Array, row: number, columns: number): Float32Array {
  return matrix.slice(row * columns, (row + 1) * columns);
}
