import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DensityMeter, FvuMeter, ReconstructionMeter } from "../../lib/metrics/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const rng = new Rng(0, "reconstruction");
const x = Array.from({ length: 12 }, () => [3 + rng.normal(), rng.normal(), -2 * rng.normal()]);
const xHat = x.map((row) => row.map((value) => 0.8 * value + 0.1 * rng.normal()));
const document = [4, 4, 4, 1, 1, 9, 9, 9, 9, 1, 4, 4];

async function measure(order: number[][]): Promise<ReconstructionMeter> {
  const meter = new ReconstructionMeter(3);
  for (const tokens of order) {
    const tensors = [x, xHat].map((all) => tf.tensor2d(tokens.map((t) => all[t])));
    await meter.update(tensors[0], tensors[1], { document: tokens.map((t) => document[t]) });
    tf.dispose(tensors);
  }
  return meter;
}

eachBackend("Document sums add up to the FVU and the error % of all tokens", async () => {
  const all = Array.from(document.keys());
  const meter = await measure([all]);
  const fvu = new FvuMeter(3);
  await fvu.update(tf.tensor2d(x), tf.tensor2d(xHat));
  assertAlmostEquals(meter.summary().fvu, fvu.fvu(), 1e-6);

  const { squaredError, variation, squaredNorm } = meter.perDocument();
  const sum = (values: number[]) => values.reduce((a, b) => a + b);
  assertAlmostEquals(sum(squaredError) / sum(variation), fvu.fvu(), 1e-6);
  assertAlmostEquals(
    100 * sum(squaredError) / sum(squaredNorm),
    meter.summary().errorPercent,
    1e-9,
  );
});

eachBackend("Document sums are those of a direct computation in float64", async () => {
  const { document: numbers, tokens, squaredError, variation } =
    (await measure([[0, 3, 6], [9, 1, 4, 7, 10], [2, 5, 8, 11]])).perDocument();
  assertEquals(numbers, [1, 4, 9]);
  assertEquals(tokens, [3, 5, 4]);
  const mean = [0, 1, 2].map((d) => x.reduce((all, row) => all + row[d], 0) / x.length);
  numbers.forEach((number, i) => {
    const members = [...document.keys()].filter((t) => document[t] === number);
    const norm = (t: number, from: number[]) =>
      x[t].reduce((all, value, d) => all + (value - from[d]) ** 2, 0);
    const total = (from: (t: number) => number[]) =>
      members.reduce((all, t) => all + norm(t, from(t)), 0);
    assertAlmostEquals(squaredError[i], total((t) => xHat[t]), 1e-5);
    assertAlmostEquals(variation[i], total(() => mean), 1e-4);
  });
});

eachBackend("Measuring leaves no tensor behind", async () => {
  const before = tf.memory().numTensors;
  await measure([[0, 1], [2]]);
  assertEquals(tf.memory().numTensors, before);
});

eachBackend("Sparse and dense codes give the same L0 and dead fraction", async () => {
  const dense = new DensityMeter(5);
  await dense.update(tf.tensor2d([[0, 2, 0, 1, 0], [0, 3, 0, 0, 0]]));
  const sparse = new DensityMeter(5);
  await sparse.update({
    indices: tf.tensor2d([[1, 3], [1, 0]], [2, 2], "int32"),
    values: tf.tensor2d([[2, 1], [3, 0]]), // the last pair is padding
  });
  for (const meter of [dense, sparse]) {
    assertEquals([...meter.densities()], [0, 1, 0, 0.5, 0]);
    assertEquals([meter.l0(), meter.deadFraction(), meter.tokens], [1.5, 0.6, 2]);
  }
});

eachBackend("Meters refuse wrong widths, missing documents and codes without dSae", async () => {
  const zeros = tf.zeros<tf.Rank.R2>([2, 3]);
  const meter = new ReconstructionMeter(3);
  await assertRejects(() => meter.update(zeros, tf.zeros([2, 4])), RangeError, "[tokens, 3]");
  await assertRejects(() => meter.update(zeros, zeros, { document: [1] }), RangeError, "2 tokens");
  await assertRejects(() => meter.update(zeros, zeros, { codes: zeros }), TypeError, "dSae");
  await assertRejects(() => new DensityMeter(4).update(zeros), RangeError, "[tokens, 4]");
  await meter.update(zeros, zeros);
  assertThrows(() => meter.summary(), RangeError, "must vary");
});
