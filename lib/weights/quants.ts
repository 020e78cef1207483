/**
 * Number formats of GGUF tensors, and how to read them as float32.
 *
 * A quantised tensor is a row of blocks; a block holds 32 or 256 small integers and the scales that
 * turn them into numbers. The layouts are those of ggml; the K-quants are in `k_quants.ts`.
 *
 * @module
 */
import { BF16, F16, F32, float16, type NumberFormat } from "./floats.ts";
import { readQ2K, readQ3K, readQ4K, readQ5K, readQ6K } from "./k_quants.ts";

/** Formats by their number in a GGUF file. */
export const QUANTIZATIONS: ReadonlyMap<number, NumberFormat> = new Map([
  [0, F32],
  [1, F16],
  [2, { name: "Q4_0", values: 32, bytes: 18, read: readQ4_0 }],
  [3, { name: "Q4_1", values: 32, bytes: 20, read: readQ4_1 }],
  [6, { name: "Q5_0", values: 32, bytes: 22, read: readQ5_0 }],
  [7, { name: "Q5_1", values: 32, bytes: 24, read: readQ5_1 }],
  [8, { name: "Q8_0", values: 32, bytes: 34, read: readQ8_0 }],
  [10, { name: "Q2_K", values: 256, bytes: 84, read: readQ2K }],
  [11, { name: "Q3_K", values: 256, bytes: 110, read: readQ3K }],
  [12, { name: "Q4_K", values: 256, bytes: 144, read: readQ4K }],
  [13, { name: "Q5_K", values: 256, bytes: 176, read: readQ5K }],
  [14, { name: "Q6_K", values: 256, bytes: 210, read: readQ6K }],
  [30, BF16],
]);

/**
 * Values of a stored tensor as float32.
 *
 * @param format Its format.
 * @param bytes Its bytes, little-endian; a whole number of blocks.
 */
export function dequantize(format: NumberFormat, bytes: Uint8Array): Float32Array {
  const blocks = bytes.length / format.bytes;
  if (!Number.isInteger(blocks)) {
    throw new RangeError(
      `Cannot read ${bytes.length} bytes as ${format.name}: expected a multiple of ` +
        `${format.bytes}`,
    );
  }
  const out = new Float32Array(blocks * format.values);
  format.read(bytes, out);
  return out;
}

function readQ4_0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 18, y += 32) {
    const d = float16(bytes, at);
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 2 + j];
      out[y + j] = d * ((q & 15) - 8);
      out[y + j + 16] = d * ((q >> 4) - 8);
    }
  }
}

function readQ4_1(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 20, y += 32) {
    const d = float16(bytes, at);
    const m = float16(bytes, at + 2);
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 4 + j];
      out[y + j] = d * (q & 15) + m;
      out[y + j + 16] = d * (q >> 4) + m;
    }
  }
}

function readQ5_0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 22, y += 32) {
    const d = float16(bytes, at);
    const high = fifthBits(bytes, at + 2);
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 6 + j];
      out[y + j] = d * ((q & 15 | (high >> j & 1) << 4) - 16);
      out[y + j + 16] = d * ((q >> 4 | (high >> j + 16 & 1) << 4) - 16);
    }
  }
}

function readQ5_1(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 24, y += 32) {
    const d = float16(bytes, at);
    const m = float16(bytes, at + 2);
    const high = fifthBits(bytes, at + 4);
    for (let j = 0; j < 16; j++) {
      const q = bytes[at + 8 + j];
      out[y + j] = d * (q & 15 | (high >> j & 1) << 4) + m;
      out[y + j + 16] = d * (q >> 4 | (high >> j + 16 & 1) << 4) + m;
    }
  }
}

function readQ8_0(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, y = 0; y < out.length; at += 34, y += 32) {
    const d = float16(bytes, at);
    for (let j = 0; j < 32; j++) out[y + j] = d * (bytes[at + 2 + j] << 24 >> 24);
  }
}

/** The fifth bits of 32 values, one bit a value. */
function fifthBits(bytes: Uint8Array, at: number): number {
  return bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24;
}
