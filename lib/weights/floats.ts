/**
 * Numbers in bytes: what a number format is, and the three that are plain floats.
 *
 * @module
 */

/**
 * Writes the values that whole blocks stand for into `out`, which has room for exactly them. The
 * bytes begin at a multiple of 4 of their buffer.
 */
export type Reader = (bytes: Uint8Array, out: Float32Array) => void;

/** One number format: how many values a block of so many bytes stands for, and how to get them. */
export interface NumberFormat {
  readonly name: string;
  /** Values in a block; 1 for plain floats. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
  readonly read: Reader;
}

/** Single precision. */
export const F32: NumberFormat = {
  name: "F32",
  values: 1,
  bytes: 4,
  read: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, bytes.length).set(bytes),
};

/** Half precision. */
export const F16: NumberFormat = {
  name: "F16",
  values: 1,
  bytes: 2,
  read(bytes, out) {
    const halves = new Float16Array(bytes.buffer, bytes.byteOffset, out.length);
    // Three times as fast as `out.set(halves)` in V8 15, and no slower than a table of all values.
    for (let i = 0; i < out.length; i++) out[i] = halves[i];
  },
};

/** The upper half of single precision. */
export const BF16: NumberFormat = {
  name: "BF16",
  values: 1,
  bytes: 2,
  read(bytes, out) {
    const upper = new Uint16Array(bytes.buffer, bytes.byteOffset, out.length);
    const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
    for (let i = 0; i < bits.length; i++) bits[i] = upper[i] << 16;
  },
};

/** Every half-precision number by its bits: a look-up is faster than a conversion. */
const FLOAT16 = Float32Array.from(
  new Float16Array(Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits).buffer),
);

/** The half-precision number at a byte offset, little-endian. */
export function float16(bytes: Uint8Array, at: number): number {
  return FLOAT16[bytes[at] | bytes[at + 1] << 8];
}
