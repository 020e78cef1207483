/**
 * Whether there is room for what is about to be written.
 *
 * @module
 */
import { statfs } from "node:fs/promises";

/**
 * Refuses to start what could not be finished for want of disk space.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { requireSpace } from "interlens";
 *
 * await requireSpace(".", 1);
 * await assertRejects(() => requireSpace(".", 1e18, "Everything"), Error, "Everything needs");
 * ```
 *
 * @param dir Existing folder that will be written to.
 * @param bytes How much will be written.
 * @param what What it is, for the message.
 * @throws {Error} If less is free, saying how much is missing. Nothing is thrown where the system
 * does not tell.
 */
export async function requireSpace(dir: string, bytes: number, what = "This"): Promise<void> {
  const free = await statfs(dir).then(({ bavail, bsize }) => bavail * bsize, () => Infinity);
  if (free >= bytes) return;
  const gigabytes = (count: number) => `${(count / 1e9).toPrecision(3)} GB`;
  throw new Error(
    `${what} needs ${gigabytes(bytes)} in "${dir}", but ${gigabytes(free)} are free. Free some ` +
      `space, ask for less, or set INTERLENS_CACHE to a folder on another disk`,
  );
}
