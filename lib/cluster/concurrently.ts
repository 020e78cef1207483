/**
 * Many requests, some at a time.
 *
 * @module
 */

/** Requests at a time. */
const AT_ONCE = 16;

/**
 * Does something for every item, up to sixteen at a time, all of them even if some fail.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { concurrently } from "./concurrently.ts";
 *
 * const seen: number[] = [];
 * const visit = (n: number) => n === 2 ? Promise.reject(new Error("Two")) : void seen.push(n);
 * await assertRejects(() => concurrently([1, 2, 3], visit), Error, "Two");
 * assertEquals(seen, [1, 3]);
 * ```
 *
 * @throws Whatever the first of the failing ones throws, after all have ended.
 */
export async function concurrently<T>(
  items: Iterable<T>,
  visit: (item: T) => Promise<unknown> | void,
): Promise<void> {
  const left = [...items];
  const errors: { index: number; error: unknown }[] = [];
  let next = 0;
  const lane = async () => {
    while (next < left.length) {
      const index = next++;
      try {
        await visit(left[index]);
      } catch (error) {
        errors.push({ index, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, left.length) }, lane));
  if (errors.length > 0) throw errors.sort((a, b) => a.index - b.index)[0].error;
}
