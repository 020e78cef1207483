/**
 * Places in sorted numbers: quantiles, the first that is not below, and ranks.
 *
 * @module
 */

/**
 * A quantile by linear interpolation between order statistics (Hyndman & Fan, 1996, type 7).
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { quantile } from "interlens";
 *
 * assertEquals(quantile([1, 2, 4], 0.75), 3);
 * ```
 *
 * @param sorted Ascending numbers, at least one.
 * @param probability 0 to 1.
 */
export function quantile(sorted: ArrayLike<number>, probability: number): number {
  const position = probability * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

/**
 * Place of the first of ascending numbers that is not below a value; their number if all are.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { firstAtLeast } from "interlens";
 *
 * assertEquals([0, 2, 5].map((value) => firstAtLeast([1, 2, 2, 4], value)), [0, 1, 4]);
 * ```
 */
export function firstAtLeast(sorted: ArrayLike<number>, value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Ranks from 1, the smallest; ties share the mean of theirs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ranks } from "interlens";
 *
 * assertEquals([...ranks([5, 1, 5])], [2.5, 1, 2.5]);
 * ```
 *
 * @param values The numbers.
 * @param tie Numbers that differ from the smallest of a tie by no more than this are in it; default 0.
 */
export function ranks(values: ArrayLike<number>, tie = 0): Float64Array {
  const order = Array.from({ length: values.length }, (_, i) => i)
    .sort((i, j) => values[i] - values[j]);
  const rank = new Float64Array(values.length);
  // Infinite numbers tie too, though their difference is none.
  const tied = (x: number, y: number) => x === y || y - x <= tie;
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && tied(values[order[start]], values[order[end]])) end++;
    for (let i = start; i < end; i++) rank[order[i]] = (start + end + 1) / 2;
    start = end;
  }
  return rank;
}
