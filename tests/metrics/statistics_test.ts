import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  clusterBootstrap,
  cohenD,
  effectiveRank,
  freedmanLane,
  fTail,
  gini,
  maxT,
  normalOrderStatistics,
  signFlip,
  simulateNull,
  tTest,
  twoWayAnova,
  vectorContrast,
} from "../../lib/metrics/mod.ts";
import recorded from "../fixtures/statistics/statistics.json" with { type: "json" };

const EFFECTS = ["factorA", "factorB", "interaction"] as const;

/** Equal up to the rounding of float64 sums. */
function assertClose(actual: number, expected: number, what = ""): void {
  assertAlmostEquals(actual, expected, 1e-9 * Math.max(1e-3, Math.abs(expected)), what);
}

Deno.test("The tail of F is scipy's", () => {
  for (const [f, a, b, p] of recorded.fTails) assertClose(fTail(f, a, b), p);
});

Deno.test("Student's and Welch's t, their degrees of freedom and p are scipy's, and d is the pooled one", () => {
  for (const { x, y, d, equal, unequal } of recorded.tTests) {
    for (const [variances, [t, df, p]] of [["equal", equal], ["unequal", unequal]] as const) {
      const ours = tTest(x, y, { variances });
      assertClose(ours.t, t, variances);
      assertClose(ours.df, df, variances);
      assertClose(ours.p, p, variances);
    }
    assertClose(cohenD(x, y), d);
    assertClose(cohenD(y, x), -d);
  }
});

Deno.test("A measure without variation never comes first in a sort by t", () => {
  const constant = Array(10).fill(0.61948);
  const rounding = constant.map((v, i) => v + (i % 2) * 1e-7);
  const moved = [1.2, 1.4, 1.1, 1.3];
  const t = [
    tTest(constant, constant),
    tTest(rounding, constant, { noiseFloor: 1e-5 }),
    tTest([0, 0, 0], [0, 0]),
    tTest(moved, moved.map((v) => v - 1)),
  ].map((test) => Math.abs(test.t));
  assertEquals(t.slice(0, 3), [0, 0, 0]);
  assert(t[3] > 0);
  assertEquals(tTest(constant, constant).p, 1);
  // Two different constants differ without any doubt.
  assertEquals(tTest([1, 1], [2, 2]), {
    ...{ difference: -1, t: -Infinity, df: 2, p: 0, effectSize: -Infinity },
  });
  assertThrows(() => tTest([1, NaN], [1, 2]), RangeError, "NaN at index 1");
  assertThrows(() => tTest([1], [1, 2]), RangeError, "at least 2");
});

Deno.test("The 2×2 analysis of variance is statsmodels', of type III where cells differ in size", () => {
  for (const anova of recorded.anovas) {
    const ours = twoWayAnova(anova.cells);
    assertEquals(ours.residualDf, anova.df);
    for (const effect of EFFECTS) {
      const [F, p, eta] = anova[effect];
      assertClose(ours[effect].F, F, effect);
      assertClose(ours[effect].p, p, effect);
      assertClose(ours[effect].partialEtaSquared, eta, effect);
    }
  }
});

Deno.test("A constant measure has F = 0 everywhere, with rounding too", () => {
  const cell = [0.35303518, 0.35303557, 0.35303518];
  const { factorA, interaction } = twoWayAnova({
    a1b1: cell,
    a1b0: cell,
    a0b1: cell,
    a0b0: [0.353036],
  });
  assertEquals([factorA.F, factorA.p, interaction.F, interaction.p], [0, 1, 0, 1]);
  assertThrows(
    () => twoWayAnova({ a1b1: [1], a1b0: [1], a0b1: [1], a0b0: [1] }),
    RangeError,
    "five",
  );
});

Deno.test("Freedman and Lane's F is the partial F of least squares, with covariates and without", () => {
  for (const { cells, lengths, plain, withLength } of recorded.partialTests) {
    for (const effect of EFFECTS) {
      for (const [expected, covariates] of [[plain, []], [withLength, [lengths]]] as const) {
        const [estimate, F, p, df] = expected[effect];
        const ours = freedmanLane(cells, { effect, covariates, draws: 4000 });
        assertClose(ours.estimate, estimate, effect);
        assertClose(ours.F, F, effect);
        assertEquals(ours.residualDf, df);
        assertClose(ours.partialEtaSquared, F / (F + df), effect);
        // Normal data: the permutations agree with the F distribution, up to √(p(1−p)/4000) and
        // what 33 to 48 items leave between the two.
        assertAlmostEquals(ours.p, p, 4 * Math.sqrt(p * (1 - p) / 4000) + 0.015, effect);
      }
    }
  }
});

Deno.test("A covariate that is a factor in disguise is refused, and one that is constant changes nothing", () => {
  const cells = { a1b1: [5, 6, 7], a1b0: [1, 3, 2], a0b1: [2, 2, 3], a0b0: [1, 1, 0] };
  const of = (v11: number, v10: number, v01: number, v00: number) => ({
    a1b1: Array(3).fill(v11),
    a1b0: Array(3).fill(v10),
    a0b1: Array(3).fill(v01),
    a0b0: Array(3).fill(v00),
  });
  assertThrows(
    () => freedmanLane(cells, { covariates: [of(12, 10, 9, 4)] }),
    RangeError,
    "the covariates do not fix",
  );
  const plain = freedmanLane(cells, { draws: 999 });
  const constant = freedmanLane(cells, { draws: 999, covariates: [of(7, 7, 7, 7)] });
  assertEquals(constant, plain);
  assertThrows(
    () => freedmanLane(cells, { covariates: [{ ...cells, a0b0: [1] }] }),
    RangeError,
    "covariate 0",
  );
  assertEquals(freedmanLane(of(3, 3, 3, 3), { draws: 99 }).p, 1);
});

Deno.test("The p-value of changed signs is scipy's, exactly, ties included", () => {
  for (const { x, p } of recorded.signFlips) assertClose(signFlip(x), p);
});

Deno.test("Drawn changes of signs agree with all of them, are named by their seed, and never give 0", () => {
  // Seventeen units are drawn; the last is 0, so the exact p-value is that of the other sixteen.
  const x = Array.from({ length: 16 }, (_, i) => Math.sin(i) + 0.3);
  const exact = signFlip(x);
  const drawn = signFlip([...x, 0], { draws: 20_000 });
  assertAlmostEquals(drawn, exact, 4 * Math.sqrt(exact * (1 - exact) / 20_000));
  assertEquals(signFlip([...x, 0], { seed: 3 }), signFlip([...x, 0], { seed: 3 }));
  assertEquals(signFlip(Array(60).fill(1), { draws: 99 }), 0.01);
  // More than 32 units take more than one word of random bits: the last are flipped as well.
  const late = Array.from({ length: 40 }, (_, i) => i < 34 ? 0 : 1);
  assertAlmostEquals(signFlip(late), 2 / 2 ** 6, 4 * Math.sqrt(1 / 32 / 10_000));
});

Deno.test("Adjusted p-values are those of the step-down procedure by brute force", () => {
  const { measures, t, p } = recorded.maxT;
  const ours = maxT(measures);
  ours.forEach((effect, m) => {
    assertClose(effect.t, t[m]);
    assertClose(effect.p, p[m]);
  });
  // One measure alone is not adjusted.
  const [{ a1b1, a1b0, a0b1, a0b0 }] = measures;
  const contrast = a1b1.map((y, i) => y - a1b0[i] - a0b1[i] + a0b0[i]);
  assertClose(maxT([measures[0]])[0].p, signFlip(contrast));
  assertEquals(maxT([]), []);
  assertThrows(
    () => maxT([measures[0], { a1b1: [1, 2], a1b0: [1, 2], a0b1: [1, 2], a0b0: [1, 2] }]),
    RangeError,
    "measure 1",
  );
});

Deno.test("The vector contrast is the mean inner product of different frames, by brute force", () => {
  const { cells, width, T, p } = recorded.vectors;
  const { interaction } = vectorContrast(cells, { width });
  assertClose(interaction.T, T);
  assertClose(interaction.p, p);
  assert(interaction.share <= 1);
  assertThrows(() => vectorContrast(cells, { width: 4 }), RangeError, "width 4");
});

Deno.test("Order statistics of normal draws are those of scipy's beta distribution", () => {
  for (const { n, rank, sigma, absolute, quantiles } of recorded.orderStatistics) {
    const [{ low, median, high }] = normalOrderStatistics(n, [rank], { sigma, absolute });
    [low, median, high].forEach((value, i) =>
      assertAlmostEquals(value, quantiles[i], 1e-8 * sigma)
    );
  }
  assertThrows(() => normalOrderStatistics(5, [6]), RangeError, "rank 6 of 5");
});

Deno.test("A simulated null agrees with the exact one, and its tail counts what is as large", () => {
  const [exact] = normalOrderStatistics(20, [1]);
  const largest = simulateNull((rng) => {
    let max = 0;
    for (let i = 0; i < 20; i++) max = Math.max(max, Math.abs(rng.normal()));
    return max;
  }, { draws: 20_000 });
  assertAlmostEquals(largest.median, exact.median, 0.02);
  assertAlmostEquals(largest.low, exact.low, 0.02);
  assertAlmostEquals(largest.high, exact.high, 0.05);
  assertAlmostEquals(largest.tail(exact.high), 0.025, 0.005);
  let next = 0;
  const counted = simulateNull(() => next++ % 10, { draws: 10 });
  assertEquals(counted.tail(9), 2 / 11);
  assertEquals(counted.tail(9.5), 1 / 11);
  assertEquals(counted.tail(0), 1);
});

Deno.test("Gini is half the relative mean difference, and the effective rank exp of the entropy", () => {
  for (const { x, gini: expected, effectiveRank: rank } of recorded.weights) {
    assertClose(gini(x), expected);
    assertClose(effectiveRank(x), rank);
    assertClose(gini(x.map((w) => -3 * w)), expected);
  }
  assertEquals([gini([0, 0]), effectiveRank([0, 0])], [0, 0]);
  assertThrows(() => gini([]), RangeError, "0 weights");
});

Deno.test("The BCa interval is scipy's, up to the draws", () => {
  const { x, interval } = recorded.bca;
  const { low, high } = clusterBootstrap([x], ([sum]) => sum / x.length, { resamples: 20_000 });
  // An end of 20,000 draws is off by about √(.025 · .975 / 20000) / density = 0.01.
  assertAlmostEquals(low, interval[0], 0.04);
  assertAlmostEquals(high, interval[1], 0.04);
});
