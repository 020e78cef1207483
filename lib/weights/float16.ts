/**
 * Half-precision numbers inside bytes.
 *
 * @module
 */

/** Writes the values that whole blocks stand for into `out`, which has room for exactly them. */
export type Reader = (bytes: Uint8Array, out: Float32Array) => void;

/** Every half-precision number by its bits: a look-up is faster than a conversion. */
const FLOAT16 = Float32Array.from(
  new Float16Array(Uint16Array.from({ length: 1 << 16 }, (_, bits) => bits).buffer),
);

/** The half-precision number at a byte offset, little-endian. */
export function float16(bytes: Uint8Array, at: number): number {
  return FLOAT16[bytes[at] | bytes[at + 1] << 8];
}
