/**
 * Which segment of a line a place is in. Imports nothing: threads use it too.
 *
 * @module
 */

/**
 * The segment that a place is in.
 *
 * @param starts First place of each segment, ascending, and the end of the last one.
 * @param place From the first start to before the end.
 */
export function segmentOf(starts: ArrayLike<number>, place: number): number {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}
