import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { bootstrapRatio, compareFvu } from "../../lib/metrics/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";

const rng = new Rng(0, "compare");
const documents = 40;
const numbers = Array.from({ length: documents }, (_, i) => 3 * i);
const tokens = numbers.map(() => 50 + rng.integer(100));
const variation = tokens.map((n) => n * (5 + 3 * rng.uniform()));
const same = { document: numbers, tokens, variation, squaredNorm: variation };
/** Hard documents are hard for both. */
const hard = variation.map((v) => v * (0.2 + 0.2 * rng.uniform()));
const a = { ...same, squaredError: hard };

Deno.test("A model compared with itself differs by 0, in an interval of no width", () => {
  const { difference, relativeReduction, documentsWon } = compareFvu(a, a);
  assertEquals(difference, { estimate: 0, low: 0, high: 0 });
  assertEquals([relativeReduction.estimate, documentsWon], [0, 0.5]);
});

Deno.test("The difference of two FVU has an interval narrower than either of them", () => {
  const b = { ...same, squaredError: hard.map((e) => e * (0.95 + 0.01 * rng.normal())) };
  const { difference, relativeReduction, documentsWon, ...rest } = compareFvu(a, b);
  const [fvuA, fvuB] = [a, b].map((m) => bootstrapRatio(m.squaredError, variation));
  assertAlmostEquals(difference.estimate, fvuA.estimate - fvuB.estimate, 1e-12);
  assertAlmostEquals(relativeReduction.estimate, 1 - fvuB.estimate / fvuA.estimate, 1e-12);
  assert(difference.high - difference.low < 0.3 * (fvuA.high - fvuA.low));
  assert(difference.low > 0 && documentsWon > 0.95);
  assertEquals(rest, { documents, tokens: tokens.reduce((x, y) => x + y) });
  const swapped = compareFvu(b, a);
  assertAlmostEquals(swapped.difference.estimate, -difference.estimate, 1e-12);
  assertAlmostEquals(swapped.documentsWon, 1 - documentsWon, 1e-12);
});

Deno.test("Noise without a difference is not called one, 19 times of 20", () => {
  let excluded = 0;
  const worlds = 100;
  for (let world = 0; world < worlds; world++) {
    const noise = new Rng(world, "null");
    const jitter = () => hard.map((e) => e * (1 + 0.05 * noise.normal()));
    const { difference } = compareFvu(
      { ...same, squaredError: jitter() },
      { ...same, squaredError: jitter() },
      { resamples: 400, seed: world },
    );
    if (difference.low > 0 || difference.high < 0) excluded++;
  }
  // 5 expected; binomial standard deviation √(100 · .05 · .95) = 2.2; three of them.
  assert(excluded <= 11, `${excluded} of ${worlds}`);
});

Deno.test("Models on other documents, tokens or units are refused", () => {
  const other = { ...a, document: numbers.map((n) => n + 1) };
  assertThrows(() => compareFvu(a, other), RangeError, "same split");
  const scaled = { ...a, variation: variation.map((v) => 4 * v) };
  assertThrows(() => compareFvu(a, scaled), RangeError, "same units");
});
