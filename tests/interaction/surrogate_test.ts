import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import {
  type PlantedConfig,
  plantedPairs,
  rankingScores,
  surrogateNull,
} from "../../lib/interaction/mod.ts";
import { choleskyFactor } from "../../lib/interaction/least_squares.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

/** Twice as many features as dimensions: an encoder of one pass cannot tell them apart. */
const CROWDED: PlantedConfig = { n: 12, d: 6, pairs: 4, firing: 0.15, train: 6000, test: 3000 };

/** The true decoder of a world with an encoder of one pass. */
function crowded(config: PlantedConfig) {
  const world = plantedPairs({ ...CROWDED, ...config });
  const { n, d } = world.config;
  const W_dec = tf.tensor2d([...world.features], [n, d]);
  const dictionary = {
    W_dec,
    b_dec: tf.zeros<tf.Rank.R1>([d]),
    encode: (x: tf.Tensor2D) =>
      tf.relu(tf.sub(tf.matMul(x, W_dec, false, true), 0.3)) as tf.Tensor2D,
    decode: (codes: tf.Tensor2D) => tf.matMul(codes, W_dec) as tf.Tensor2D,
  };
  const [train, test] = [world.train, world.test]
    .map(({ tokens, x }) => tf.tensor2d(x, [tokens, d]));
  return { world, dictionary, x: { train, test } };
}

/** Features on axes of their own, and the product of the first two on another. */
function orthogonal(product: number) {
  const [n, d] = [4, 6];
  const axes = (rows: number) =>
    tf.tensor2d(Array.from({ length: rows * d }, (_, at) => +(at % d === Math.floor(at / d))), [
      rows,
      d,
    ]);
  const draw = (tokens: number, name: string) => {
    const rng = new Rng(0, name);
    const rows = new Float32Array(tokens * d);
    for (let token = 0; token < tokens; token++) {
      const f = Array.from({ length: n }, () => rng.uniform() < 0.3 ? 0.5 + rng.uniform() : 0);
      rows.set([...f, product * f[0] * f[1], 0], token * d);
      for (let k = 0; k < d; k++) rows[token * d + k] += 0.02 * rng.normal();
    }
    return tf.tensor2d(rows, [tokens, d]);
  };
  const W_dec = axes(n);
  const dictionary = {
    W_dec,
    b_dec: tf.zeros<tf.Rank.R1>([d]),
    encode: (x: tf.Tensor2D) =>
      tf.relu(tf.sub(tf.matMul(x, W_dec, false, true), 0.2)) as tf.Tensor2D,
    decode: (codes: tf.Tensor2D) => tf.matMul(codes, W_dec) as tf.Tensor2D,
  };
  return { dictionary, x: { train: draw(4000, "train"), test: draw(2000, "test") } };
}

Deno.test("A factor of a covariance gives it back, also where a direction has no variance", () => {
  const L = choleskyFactor([4, 2, 0, 2, 5, 0, 0, 0, 0], 3);
  [2, 0, 0, 1, 2, 0].forEach((value, at) => assertAlmostEquals(L[at], value, 1e-4));
  assertAlmostEquals(L[8], 0, 1e-3);
});

Deno.test("The surrogate of a world without pairs repeats its gain", async () => {
  await openDevice();
  const { dictionary, x } = crowded({ kind: "independent" });
  const { observed, surrogate, gainPercent, surplusPercent } = await surrogateNull(dictionary, x);
  // Pairs explain a large part of what single features leave, though nothing interacts.
  const [gain, again] = [observed, surrogate].map(({ gain, R2 }) => gain / R2);
  assert(gain > 0.3, `interference gains ${gain}`);
  assertAlmostEquals(again, gain, 0.1 * gain);
  assertAlmostEquals(surplusPercent, gainPercent.observed - gainPercent.surrogate, 1e-9);
});

Deno.test("Where nothing interferes the surrogate gains nothing, and a product stays", async () => {
  await openDevice();
  const { dictionary, x } = orthogonal(1);
  const before = tf.memory().numTensors;
  const { gainPercent, pairs, observed } = await surrogateNull(dictionary, x);
  assertEquals(tf.memory().numTensors, before);
  assert(gainPercent.observed > 5, JSON.stringify(gainPercent));
  // Six products on 4000 tokens: chance alone costs about 0.2 %.
  assert(Math.abs(gainPercent.surrogate) < 1, JSON.stringify(gainPercent));
  assertEquals(pairs[0].pair, [0, 1]);
  assertAlmostEquals(pairs[0].strength, observed.pairs[0].strength, 0.1 * pairs[0].strength);
});

Deno.test("Without a product nothing is left of pairs either", async () => {
  await openDevice();
  const { dictionary, x } = orthogonal(0);
  const { gainPercent, surplusPercent } = await surrogateNull(dictionary, x);
  assert(Math.abs(gainPercent.observed) < 1 && Math.abs(surplusPercent) < 1);
});

Deno.test("What the surrogate has not of the effects of pairs names planted ones better", async () => {
  await openDevice();
  const { world, dictionary, x } = crowded({ beta: 0.6 });
  const { observed, pairs } = await surrogateNull(dictionary, x);
  const precision = (ranked: typeof pairs) =>
    rankingScores(ranked.map(({ pair }) => pair), world.pairs).averagePrecision;
  assert(
    precision(pairs) > precision(observed.pairs),
    `${precision(pairs)} after, ${precision(observed.pairs)} before`,
  );
});

Deno.test("The same seed makes the same surrogate, another seed another", async () => {
  await openDevice();
  const { dictionary, x } = orthogonal(1);
  const [a, b, c] = [
    await surrogateNull(dictionary, x, { seed: 1 }),
    await surrogateNull(dictionary, x, { seed: 1 }),
    await surrogateNull(dictionary, x, { seed: 2 }),
  ];
  assertEquals(a.gainPercent, b.gainPercent);
  assertEquals(a.observed.R3, c.observed.R3);
  assertNotEquals(a.surrogate.R3, c.surrogate.R3);
});
