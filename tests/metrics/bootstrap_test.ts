import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  bootstrapRatio,
  clusterBootstrap,
  normalCdf,
  normalQuantile,
  pairedBootstrap,
} from "../../lib/metrics/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";

Deno.test("A 90 % interval covers the true ratio in about 90 % of simulated corpora", () => {
  // Documents of 5…15 tokens with their own error rate: true ratio 0.3.
  const corpora = 200;
  let covered = 0;
  for (let corpus = 0; corpus < corpora; corpus++) {
    const rng = new Rng(corpus, "coverage");
    const denominator = Array.from({ length: 40 }, () => 5 + rng.integer(11));
    const numerator = denominator.map((n) => n * (0.3 + 0.1 * rng.normal()));
    const { low, high } = bootstrapRatio(numerator, denominator, {
      resamples: 300,
      seed: corpus,
      level: 0.9,
    });
    if (low <= 0.3 && 0.3 <= high) covered++;
  }
  // Binomial standard error of the coverage: √(.9 · .1 / 200) = 0.021; three of them.
  assert(Math.abs(covered / corpora - 0.9) < 0.064, `${covered} of ${corpora}`);
});

Deno.test("Treating tokens as independent would give a narrower interval than documents do", () => {
  const rng = new Rng(3, "clusters");
  const level = Array.from({ length: 20 }, () => rng.normal());
  const tokens = level.flatMap((mean) => Array.from({ length: 50 }, () => mean + rng.normal()));
  const ones = tokens.map(() => 1);
  const perDocument = level.map((_, i) =>
    tokens.slice(50 * i, 50 * i + 50).reduce((a, b) => a + b)
  );
  const honest = bootstrapRatio(perDocument, level.map(() => 50));
  const naive = bootstrapRatio(tokens, ones);
  assertAlmostEquals(honest.estimate, naive.estimate, 1e-9);
  assert(honest.high - honest.low > 2 * (naive.high - naive.low));
});

Deno.test("Pairing removes the variation that two models share", () => {
  const rng = new Rng(5, "pairs");
  const variation = Array.from({ length: 60 }, () => 10 + 5 * rng.uniform());
  const a = variation.map((v) => v * (0.2 + 0.2 * rng.uniform()));
  const b = a.map((error) => error * (0.9 + 0.02 * rng.normal()));
  const reduction = pairedBootstrap(
    { squaredError: a, variation },
    { squaredError: b, variation },
  );
  const total = (values: number[]) => values.reduce((x, y) => x + y);
  assertAlmostEquals(reduction.estimate, 1 - total(b) / total(a), 1e-12);
  assert(reduction.low > 0.09 && reduction.high < 0.11, JSON.stringify(reduction));
  const alone = bootstrapRatio(a, variation);
  assert(alone.high - alone.low > reduction.high - reduction.low);
  const difference = pairedBootstrap(
    { squaredError: a, variation },
    { squaredError: b, variation },
    { statistic: "difference" },
  );
  assertAlmostEquals(difference.estimate, (total(a) - total(b)) / total(variation), 1e-12);
});

Deno.test("A seed names an interval", () => {
  const n = [1, 2, 3, 4, 7];
  const d = [10, 10, 9, 12, 10];
  assertEquals(bootstrapRatio(n, d, { seed: 1 }), bootstrapRatio(n, d, { seed: 1 }));
  const other = bootstrapRatio(n, d, { seed: 2 });
  assert(other.low !== bootstrapRatio(n, d, { seed: 1 }).low);
});

Deno.test("A statistic without spread has an interval without width", () => {
  assertEquals(clusterBootstrap([[4, 4, 4, 4]], ([s]) => s), { estimate: 16, low: 16, high: 16 });
});

Deno.test("A bootstrap refuses one document, unequal columns and too few resamples", () => {
  assertThrows(() => bootstrapRatio([1], [2]), RangeError, "at least 2");
  assertThrows(() => bootstrapRatio([1, 2], [2, 3, 4]), RangeError, "2, 3 documents");
  assertThrows(() => bootstrapRatio([1, 2], [2, 3], { resamples: 10 }), RangeError, "10 resamples");
  assertThrows(() => bootstrapRatio([1, 2], [2, 3], { level: 1 }), RangeError, "level 1");
});

Deno.test("The normal distribution matches tabulated values, and its inverse inverts it", () => {
  assertEquals(normalCdf(0), 0.5);
  assertAlmostEquals(normalCdf(1), 0.8413447460685429, 1e-14);
  assertAlmostEquals(normalCdf(-6), 9.865876450376981e-10, 1e-20);
  for (const p of [1e-6, 0.025, 0.3, 0.5, 0.9, 0.999]) {
    assertAlmostEquals(normalCdf(normalQuantile(p)), p, 1e-12);
  }
  assertThrows(() => normalQuantile(0), RangeError, "between 0 and 1");
});
