/**
 * Arrays that TensorFlow uses where they lie.
 *
 * @module
 */

const PAGE_BYTES = 65_536;

/**
 * A Float32Array at the start of a page. TensorFlow copies an array that does not start at a
 * multiple of 64 bytes, which most do not; WebAssembly memory is the one kind whose start is known.
 *
 * @param length Number of values; from 2^30 on the array lies anywhere, as WebAssembly ends there.
 */
export function alignedFloats(length: number): Float32Array<ArrayBuffer> {
  if (length > 2 ** 30) return new Float32Array(length);
  const initial = Math.ceil(4 * length / PAGE_BYTES);
  const { buffer } = new WebAssembly.Memory({ initial });
  return new Float32Array(buffer as ArrayBuffer, 0, length);
}
