import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ShrinkageMeter, SparsityMeter, TokenwiseVarianceMeter } from "../../lib/metrics/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const [d, tokens] = [3, 12];
const rng = new Rng(0, "shrinkage");
const x = Array.from({ length: tokens }, () => [3 + rng.normal(), rng.normal(), -2 * rng.normal()]);
const guess = x.map((row) => row.map((value) => 0.8 * value + 0.1 * rng.normal()));
const mean = [0, 1, 2].map((j) => x.reduce((all, row) => all + row[j], 0) / tokens);
const document = [4, 4, 4, 1, 1, 9, 9, 9, 9, 1, 4, 4];

const dot = (a: number[], b: number[]) => a.reduce((all, value, i) => all + value * b[i], 0);
const norm = (a: number[]) => Math.sqrt(dot(a, a));
const minus = (a: number[], b: number[]) => a.map((value, i) => value - b[i]);
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

async function shrinkage(xHat: number[][], batches = [[...x.keys()]]) {
  const meter = new ShrinkageMeter(d);
  for (const batch of batches) {
    const tensors = [x, xHat].map((all) => tf.tensor2d(batch.map((t) => all[t])));
    await meter.update(tensors[0], tensors[1], { document: batch.map((t) => document[t]) });
    tf.dispose(tensors);
  }
  return meter;
}

eachBackend("The identity has cosine, L2 ratio and reconstruction bias 1", async () => {
  const { cosine, l2Ratio, l2NormIn, l2NormOut, relativeReconstructionBias } = (await shrinkage(x))
    .summary();
  for (const value of [cosine, l2Ratio, relativeReconstructionBias]) {
    assertAlmostEquals(value, 1, 1e-6);
  }
  assertEquals(l2NormIn, l2NormOut);
});

eachBackend("The mean has reconstruction bias 1, a part of it that part, zeros none", async () => {
  const of = async (factor: number) =>
    (await shrinkage(x.map(() => mean.map((m) => factor * m)))).summary();
  assertAlmostEquals((await of(1)).relativeReconstructionBias, 1, 1e-6);
  assertAlmostEquals((await of(0.3)).relativeReconstructionBias, 0.3, 1e-6);
  const zero = await of(0);
  assertEquals([zero.cosine, zero.l2Ratio, zero.l2NormOut], [0, 0, 0]);
  assert(Number.isNaN(zero.relativeReconstructionBias));
});

eachBackend("Half of x has half its length and its direction; an offset has neither", async () => {
  const half = (await shrinkage(x.map((row) => row.map((value) => value / 2)))).summary();
  assertAlmostEquals(half.cosine, 1, 1e-6);
  assertAlmostEquals(half.l2Ratio, 0.5, 1e-6);
  assertAlmostEquals(half.relativeReconstructionBias, 0.5, 1e-6);
  const off = (await shrinkage(x.map((row) => row.map((value) => value + 5)))).summary();
  assert(off.cosine < 0.95 && off.l2Ratio > 1.5 && off.relativeReconstructionBias > 1.2);
});

eachBackend("Document sums and means are those of plain loops, however batched", async () => {
  const before = tf.memory().numTensors;
  const meter = await shrinkage(guess, [[0, 3, 6], [9, 1, 4, 7, 10], [2, 5, 8, 11]]);
  assertEquals(tf.memory().numTensors, before);
  const per = meter.perDocument();
  assertEquals([per.document, per.tokens], [[1, 4, 9], [3, 5, 4]]);
  const cosines = x.map((row, t) => dot(row, guess[t]) / norm(row) / norm(guess[t]));
  per.document.forEach((number, i) => {
    const members = [...document.keys()].filter((t) => document[t] === number);
    assertAlmostEquals(per.cosine[i], sum(members.map((t) => cosines[t])), 1e-5);
    assertAlmostEquals(per.dot[i], sum(members.map((t) => dot(x[t], guess[t]))), 1e-4);
  });
  const { cosine, l2NormIn, l2NormOut, l2Ratio, relativeReconstructionBias } = meter.summary();
  assertAlmostEquals(cosine, sum(cosines) / tokens, 1e-6);
  assertAlmostEquals(l2NormIn, sum(x.map(norm)) / tokens, 1e-5);
  assertAlmostEquals(l2NormOut, sum(guess.map(norm)) / tokens, 1e-5);
  assertAlmostEquals(l2Ratio, sum(x.map((row, t) => norm(guess[t]) / norm(row))) / tokens, 1e-6);
  assertAlmostEquals(
    relativeReconstructionBias,
    sum(guess.map((row) => dot(row, row))) / sum(guess.map((row, t) => dot(row, x[t]))),
    1e-6,
  );
});

eachBackend("Token-wise variance is 1 for x, 0 for the mean, and not 1 − FVU", async () => {
  const of = async (xHat: number[][]) => {
    const meter = new TokenwiseVarianceMeter(mean);
    for (const [from, to] of [[0, 5], [5, tokens]]) {
      const tensors = [x, xHat].map((all) => tf.tensor2d(all.slice(from, to)));
      await meter.update(tensors[0], tensors[1], { document: document.slice(from, to) });
      tf.dispose(tensors);
    }
    return meter;
  };
  assertEquals((await of(x)).explainedVariance(), 1);
  assertAlmostEquals((await of(x.map(() => mean))).explainedVariance(), 0, 1e-6);

  const error = x.map((row, t) => norm(minus(row, guess[t])) ** 2);
  const variation = x.map((row) => norm(minus(row, mean)) ** 2);
  const meter = await of(guess);
  const expected = sum(error.map((e, t) => 1 - e / variation[t])) / tokens;
  assertAlmostEquals(meter.explainedVariance(), expected, 1e-5);
  assertAlmostEquals(sum(meter.perDocument().explained) / tokens, expected, 1e-5);
  assert(Math.abs(expected - (1 - sum(error) / sum(variation))) > 0.01);
  const offset = (await of(x.map((row) => row.map((value) => value + 0.5)))).explainedVariance();
  assertAlmostEquals(offset, sum(variation.map((v) => 1 - d * 0.25 / v)) / tokens, 1e-5);
});

eachBackend("L0 counts activations that are not 0, L1 adds them up, by document", async () => {
  const rows = [[0, 2, 0, 1, 0], [0, 3, 0, 0, 0], [0, 0, 0, 0, 0]];
  const dense = new SparsityMeter();
  await dense.update(tf.tensor2d(rows.slice(0, 1)), { document: [2] });
  await dense.update(tf.tensor2d(rows.slice(1)), { document: [1, 2] });
  const sparse = new SparsityMeter();
  await sparse.update({
    indices: tf.tensor2d([[1, 3], [1, 0], [0, 0]], [3, 2], "int32"),
    values: tf.tensor2d([[2, 1], [3, 0], [0, 0]]), // a pair of value 0 is padding
  }, { document: [2, 1, 2] });
  for (const meter of [dense, sparse]) {
    assertEquals(meter.summary(), { l0: 1, l1: 2 });
    assertEquals(meter.perDocument(), {
      document: [1, 2],
      tokens: [1, 2],
      l0: [1, 2],
      l1: [3, 3],
    });
  }
});

eachBackend("Meters by document refuse missing documents and nothing to summarise", async () => {
  const zeros = tf.zeros<tf.Rank.R2>([2, d]);
  const document = [1];
  const meters = [new ShrinkageMeter(d), new TokenwiseVarianceMeter(mean)];
  for (const meter of meters) {
    await assertRejects(() => meter.update(zeros, zeros, { document }), RangeError, "2 tokens");
    await assertRejects(() => meter.update(zeros, tf.zeros([2, 4])), RangeError, "[tokens, 3]");
  }
  const sparsity = new SparsityMeter();
  await assertRejects(() => sparsity.update(zeros, { document }), RangeError, "2 tokens");
  assertThrows(() => sparsity.summary(), RangeError, "0 tokens");
  assertThrows(() => new ShrinkageMeter(d).summary(), RangeError, "0 tokens");
});
