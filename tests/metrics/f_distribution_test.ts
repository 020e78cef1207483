import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { benjaminiHochberg, fTail } from "../../lib/metrics/mod.ts";

Deno.test("the tail of F agrees with tables, with its mirror, and with the exponential", () => {
  assertAlmostEquals(fTail(4.9646, 1, 10), 0.05, 1e-6);
  assertAlmostEquals(fTail(2.3479, 10, 20), 0.05, 1e-5);
  assertAlmostEquals(fTail(4.7055, 10, 12) + fTail(1 / 4.7055, 12, 10), 1, 1e-12);
  // With two degrees in the numerator the tail is (1 + 2f/d)^(−d/2).
  for (const [f, d] of [[0.3, 5], [7, 40], [12, 20_000]]) {
    assertAlmostEquals(fTail(f, 2, d) / (1 + 2 * f / d) ** (-d / 2), 1, 1e-9);
  }
  assertEquals(fTail(0, 3, 4), 1);
  assert(fTail(50, 64, 20_000) < 1e-100);
});

Deno.test("discoveries are the smallest p-values up to the last that passes its own line", () => {
  // 0.03 is above its line of 0.0125 · 2, but 0.031 passes that of 3, and takes 0.03 along.
  assertEquals(benjaminiHochberg([0.03, 0.9, 0.001, 0.031], 0.05), [true, false, true, true]);
  assertEquals(benjaminiHochberg([0.06, 0.5], 0.05), [false, false]);
  assertEquals(benjaminiHochberg([], 0.05), []);
});
