import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import {
  chooseK,
  compareWithNull,
  type Embeddings,
  featureSpreads,
  giniAgainstNulls,
  kAgainstNulls,
  type LearnedEmbeddings,
  learnedEmbeddings,
  matchDimension,
  partnerAgainstNulls,
  rankingStability,
  selectByGini,
  strongestPartner,
} from "../../lib/analysis/mod.ts";
import { Sae } from "../../lib/dictionary/mod.ts";
import { Nfm, trainNfm } from "../../lib/interaction/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { memoryStore } from "../planted.ts";

/** What the study drew its embeddings with. */
const STD = 0.05;

function learned(values: Float32Array, features: number, K: number): LearnedEmbeddings {
  const trained: Embeddings = { values, features, K };
  return { trained, initial: trained, change: trained, initialStd: STD };
}

const untrained = (seed: number, features: number, K: number) =>
  learned(new Rng(seed, "untrained").normals(features * K, STD), features, K);

eachBackend("What training changed counts from the weights that it started from", async () => {
  const store = memoryStore(
    4,
    { train: 200, validation: 20, test: 20 },
    (rng) => [rng.normal(), rng.normal(), rng.normal(), rng.normal()],
  );
  const sae = new Sae({ architecture: "topk", dIn: 4, dSae: 6, k: 2 }, {
    W_enc: tf.tensor2d(new Rng(1).normals(24, 1), [4, 6]),
    b_enc: tf.zeros([6]),
    W_dec: tf.tensor2d(new Rng(2).normals(24, 1), [6, 4]),
    b_dec: tf.zeros([4]),
  });
  const train = async (learningRate: number) => {
    const config = { K: 3, steps: 5, batchSize: 20, seed: 7, cache: false };
    const { nfm } = await trainNfm(store, sae, { ...config, learningRate });
    const read = await learnedEmbeddings(nfm);
    nfm.dispose();
    return read;
  };
  const [still, moved] = [await train(1e-12), await train(1e-2)];
  assertEquals(still.initial, moved.initial);
  assert(still.initial.values.some((value) => Math.abs(value) > 0.01));
  assert(still.change.values.every((value) => Math.abs(value) < 1e-9));
  assert(moved.change.values.some((value) => Math.abs(value) > 1e-3));
  sae.dispose();
});

eachBackend("A model without pairs or without a record is refused", async () => {
  const weights = { b: tf.zeros<tf.Rank.R1>([1]), W: tf.zeros<tf.Rank.R2>([2, 1]) };
  const shape = { parts: "linear", dSae: 2, dOut: 1, K: 0, head: "linear", topN: 1 } as const;
  await assertRejects(() => learnedEmbeddings(new Nfm(shape, weights)), RangeError, '"linear"');
  const nfm = new Nfm({ ...shape, parts: "interaction", K: 1 }, {
    b: weights.b,
    V: tf.ones([2, 1]),
    C: tf.ones([1, 1]),
  });
  await assertRejects(() => learnedEmbeddings(nfm), RangeError, "give seed");
});

Deno.test("Gini of untrained rows of 150 is 0.412 ± 0.021, the ledger's null", () => {
  const ginis = featureSpreads(untrained(0, 2000, 150)).map(({ gini }) => gini);
  const mean = ginis.reduce((all, g) => all + g, 0) / ginis.length;
  const variance = ginis.reduce((all, g) => all + (g - mean) ** 2, 0) / ginis.length;
  assertAlmostEquals(mean, 0.412, 0.002);
  assertAlmostEquals(Math.sqrt(variance), 0.021, 0.002);
});

Deno.test("A feature in one dimension is first by Gini, whatever the size of its weights", () => {
  const { trained } = untrained(1, 30, 16);
  trained.values.fill(0, 4 * 16, 5 * 16);
  trained.values[4 * 16 + 9] = -1e-3;
  const [first] = selectByGini(learned(trained.values, 30, 16), { top: 1 });
  assertEquals([first.feature, first.k, first.gini], [4, 9, 15 / 16]);
});

Deno.test("The highest Gini of untrained weights is not remarkable, more often than not", () => {
  const runs = 40;
  const small = { untrained: 0, permuted: 0 };
  for (let seed = 0; seed < runs; seed++) {
    const { nulls } = giniAgainstNulls(untrained(seed, 40, 12), {
      faithful: ["B3"],
      draws: 39,
      seed,
    });
    for (const { kind, highest } of nulls) {
      if (highest.p <= 0.05) small[kind as "untrained" | "permuted"]++;
    }
  }
  // Expected 2 of 40; 7 or more have a probability of 0.3 %.
  assert(small.untrained <= 6 && small.permuted <= 6, JSON.stringify(small));
});

Deno.test("A feature that training did not reach is no candidate and has no partner", () => {
  const { trained } = untrained(2, 10, 8);
  trained.values.fill(0, 3 * 8, 4 * 8);
  const all = learned(trained.values, 10, 8);
  const { spreads } = giniAgainstNulls(all, { draws: 19 });
  assertEquals(spreads.map(({ feature }) => feature).includes(3), false);
  assertThrows(() => partnerAgainstNulls(all, 3), RangeError, "did not reach it");
  const groups = { first: [1], second: [3] };
  assertThrows(() => kAgainstNulls(all, groups, { method: "combined" }), RangeError, "features 3");
});

Deno.test("The nulls of a K are the ledger's: .216, .456 and .116 for N(0, .05) and K = 150", () => {
  const faithful = ["B3", "B23"] as const;
  const all = untrained(3, 6, 150);
  const nullOf = (first: number[], second: number[], method: "combined" | "difference") =>
    kAgainstNulls(all, { first, second }, { method, faithful, draws: 3999 }).nulls[0];
  const near = (actual: { median: number; low: number; high: number }, expected: number[]) => {
    // 3,999 draws leave about 1 % of the spread at the median, some 4 % in the tails.
    assertAlmostEquals(actual.median, expected[0], 0.003);
    assertAlmostEquals(actual.low, expected[1], 0.005);
    assertAlmostEquals(actual.high, expected[2], 0.008);
  };
  near(nullOf([0], [1], "combined"), [0.216, 0.178, 0.277]);
  near(nullOf([0, 1, 2], [3, 4, 5], "combined"), [0.456, 0.398, 0.550]);
  near(nullOf([0, 1, 2], [3, 4, 5], "difference"), [0.116, 0.092, 0.154]);
});

Deno.test("Of 50,000 untrained features the strongest partner weighs .218", () => {
  const all = untrained(4, 50_000, 2);
  const { partner: [none], choice } = partnerAgainstNulls(all, 0, { faithful: ["B3"], draws: 99 });
  assertAlmostEquals(none.median, 0.218, 0.003);
  assert(none.p > 0.05, `${choice.weight}`);
});

Deno.test("Random directions keep the norm of each row, and its coordinates their distribution", () => {
  // Row 0 is looked at; the other rows have norm 1, so that the strongest of 400 coordinates of
  // random directions in 32 dimensions is compared with one that is drawn whole.
  const K = 32;
  const rng = new Rng(5);
  const values = rng.normals(401 * K, 1);
  for (let i = 0; i < 401; i++) {
    const row = values.subarray(i * K, (i + 1) * K);
    const norm = Math.hypot(...row);
    row.forEach((value, k) => row[k] = value / norm);
  }
  const { partner: [isotropic] } = partnerAgainstNulls(learned(values, 401, K), 0, { draws: 1999 });
  const whole = Array.from({ length: 300 }, () => {
    let most = 0;
    for (let i = 0; i < 400; i++) {
      const row = rng.normals(K, 1);
      most = Math.max(most, Math.abs(row[0]) / Math.hypot(...row));
    }
    return most;
  }).sort((a, b) => a - b);
  assertEquals(isotropic.kind, "isotropic");
  assertAlmostEquals(isotropic.median, whole[150], 0.01);
});

Deno.test("Combined and difference coincide for opposite signs only in the study's form (B23)", () => {
  const values = Float32Array.of(0.4, 0.1, 0.3, -0.5, 0.1, 0.3);
  const all = learned(values, 2, 3);
  const groups = { first: [0], second: [1] };
  const combined = chooseK(all, groups, { method: "combined" });
  const asStudied = chooseK(all, groups, { method: "difference", faithful: ["B23"] });
  const corrected = chooseK(all, groups, { method: "difference" });
  assertEquals([asStudied.k, asStudied.value], [combined.k, combined.value]);
  assertNotEquals(corrected.value, combined.value);
  assertAlmostEquals(corrected.all[2], 0, 1e-7);
});

Deno.test("The variance of a K is that of the conditions' means, of the population", () => {
  const all = learned(Float32Array.of(1, 0, 0, 2), 2, 2);
  const conditionMeans = [[3, 1], [3, 1], [1, 1], [1, 1]]; // feature 0 differs, 1 does not
  const choice = chooseK(all, { first: [0], second: [1], conditionMeans }, { method: "variance" });
  assertEquals([choice.k, choice.value, choice.all[1]], [0, 1, 0]);
  const without = { first: [0], second: [1] };
  assertThrows(() => chooseK(all, without, { method: "variance" }), RangeError, "conditionMeans");
  assertThrows(() => chooseK(all, { first: [], second: [1] }, { method: "combined" }), RangeError);
});

Deno.test("By default what training changed decides, with B3 the weights as they are", () => {
  const initial: Embeddings = { values: Float32Array.of(0.9, 0, 0, 0), features: 2, K: 2 };
  const trained: Embeddings = { values: Float32Array.of(0.9, 0.2, 0.1, 0.3), features: 2, K: 2 };
  const change = {
    ...trained,
    values: trained.values.map((value, i) => value - initial.values[i]),
  };
  const all = { initial, trained, change, initialStd: 0.5 };
  assertEquals(strongestPartner(all, 0).k, 1);
  assertEquals(strongestPartner(all, 0, { faithful: ["B3"] }).k, 0);
});

Deno.test("A p-value counts the observed among the draws and treats rounding as equal", () => {
  assertEquals(compareWithNull(1, [0, 0.5, 1 - 1e-15], { kind: "x" }).p, 0.5);
  assertEquals(compareWithNull(2, [0, 1, 1], { kind: "x" }).p, 0.25);
  assertThrows(() => compareWithNull(NaN, [1], { kind: "x" }), RangeError, "Cannot compare NaN");
});

Deno.test("Rankings of independent seeds agree by chance, a dimension is found under another number", () => {
  const of = (seed: number) => new Rng(seed, "scores").normals(4000, 1);
  const { correlation, overlap, chance } = rankingStability([of(0), of(1)], { top: 400 });
  assert(Math.abs(correlation) < 0.06 && Math.abs(overlap - chance) < 0.06);

  const { trained } = untrained(6, 200, 5);
  const moved = {
    ...trained,
    values: trained.values.map((_, at) => -trained.values[at - at % 5 + (at + 2) % 5]),
  };
  const { k, cosine } = matchDimension(trained, 4, moved);
  assertEquals(k, 2);
  assertAlmostEquals(cosine, 1, 1e-6);
});
