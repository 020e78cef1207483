import { assert, assertEquals } from "@std/assert";

/**
 * Asserts that float32 values equal float64 ones up to rounding.
 *
 * A value passes through fewer than 200 roundings on its way here, each of at most 2^-24 of the
 * numbers that meet there; those are as large as the largest value, or 1. What is masked is far
 * larger than all others, and is compared by itself.
 */
export function assertClose(ours: ArrayLike<number>, exact: ArrayLike<number>, what = ""): void {
  assertEquals(ours.length, exact.length, `${what} has another length`);
  let size = 1;
  const masked = (i: number) => exact[i] <= -1e8;
  for (let i = 0; i < exact.length; i++) if (!masked(i)) size = Math.max(size, Math.abs(exact[i]));
  for (let i = 0; i < exact.length; i++) {
    const error = Math.abs(ours[i] - exact[i]);
    assert(
      error <= 200 * 2 ** -24 * (masked(i) ? -exact[i] : size),
      `${what}[${i}] is ${ours[i]}, expected ${exact[i]} (largest ${size})`,
    );
  }
}
