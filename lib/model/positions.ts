/**
 * Parts of an activation by position.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/**
 * Positions to keep: one, a list in any order, or those from `start` up to and without `end`. A
 * negative number counts from the end of the run, the longest sequence: -1 is its last position.
 */
export type Positions =
  | number
  | readonly number[]
  | { readonly start?: number; readonly end?: number };

/**
 * The positions themselves, each in 0…length-1.
 *
 * @throws {RangeError} If one does not exist, or there are none.
 */
export function resolvePositions(positions: Positions, length: number): number[] {
  const counted = (position: number, last: number) => {
    const found = position < 0 ? length + position : position;
    if (!Number.isInteger(position) || found < 0 || found > last) {
      throw new RangeError(
        `Cannot keep position ${position} of a run of ${length} positions: expected an integer ` +
          `in ${-length}…${last}`,
      );
    }
    return found;
  };
  if (typeof positions === "number") return [counted(positions, length - 1)];
  if (Array.isArray(positions)) {
    if (positions.length === 0) throw new RangeError("Cannot keep no positions: name at least one");
    return positions.map((position) => counted(position, length - 1));
  }
  const range = positions as Exclude<Positions, number | readonly number[]>;
  const start = counted(range.start ?? 0, length - 1);
  const end = counted(range.end ?? length, length);
  if (end <= start) {
    throw new RangeError(
      `Cannot keep positions ${range.start ?? 0} to ${
        range.end ?? length
      } of ${length}: expected ` +
        `an end after the start`,
    );
  }
  return Array.from({ length: end - start }, (_, i) => start + i);
}

/**
 * The activation at some positions. They lie along axis 1; scores and patterns, which have heads
 * there, are cut along their queries, axis 2.
 *
 * @param name Name of the hook point.
 * @returns A tensor that the caller owns.
 */
export function atPositions(activation: tf.Tensor, name: string, positions: number[]): tf.Tensor {
  const axis = /\.hook_(attn_scores|pattern)$/.test(name) ? 2 : 1;
  return tf.tidy(() => {
    // Slices and not a gather, whose gradient the wasm backend does not have.
    const parts: tf.Tensor[] = [];
    for (let i = 0; i < positions.length;) {
      let end = i + 1;
      while (positions[end] === positions[i] + end - i) end++;
      const begin = activation.shape.map((_, a) => a === axis ? positions[i] : 0);
      const size = activation.shape.map((n, a) => a === axis ? end - i : n);
      parts.push(tf.slice(activation, begin, size));
      i = end;
    }
    return parts.length === 1 ? parts[0] : tf.concat(parts, axis);
  });
}
