import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  DeadMeter,
  densityHistogram,
  FeatureActivityMeter,
  featureGeometry,
} from "../../lib/metrics/mod.ts";
import { Rng, scatterRows, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const [features, k, tokens] = [6, 2, 40];
const rng = new Rng(3, "activity");
const pairs = Array.from({ length: tokens }, () => {
  const order = rng.permutation(features - 1); // the last feature never fires
  return Array.from(
    { length: k },
    (_, i) => [order[i], i === 1 && rng.uniform() < 0.4 ? 0 : 1 + rng.uniform()],
  );
});
/** Sequences of 7 tokens. */
const sequence = pairs.map((_, t) => 100 + Math.floor(t / 7));

const codesOf = (from: number, to: number) => ({
  indices: tf.tensor2d(pairs.slice(from, to).map((p) => p.map(([i]) => i)), undefined, "int32"),
  values: tf.tensor2d(pairs.slice(from, to).map((p) => p.map(([, v]) => v))),
});

for (const form of ["sparse", "dense"]) {
  eachBackend(`Activity of ${form} codes is that of plain loops, however batched`, async () => {
    for (const size of [3, 40]) {
      const before = tf.memory().numTensors;
      const meter = new FeatureActivityMeter(features);
      for (let from = 0; from < tokens; from += size) {
        const to = Math.min(from + size, tokens);
        const codes = codesOf(from, to);
        const dense = form === "dense" ? scatterRows(codes, features) : undefined;
        await meter.update(dense ?? codes, { sequence: sequence.slice(from, to) });
        tf.dispose([codes.indices, codes.values, dense!].filter(Boolean));
      }
      assertEquals(tf.memory().numTensors, before);
      for (let f = 0; f < features; f++) {
        const fired = [...pairs.keys()].filter((t) => pairs[t].some(([i, v]) => i === f && v > 0));
        const within = new Set(fired.map((t) => sequence[t])).size;
        const total = pairs.flat().reduce((all, [i, v]) => all + (i === f ? v : 0), 0);
        assertEquals(meter.densities()[f], fired.length / tokens);
        assertEquals(meter.tokensPerSequence()[f], fired.length / within);
        assertAlmostEquals(meter.meanActivations()[f], total / fired.length, 1e-6);
      }
    }
  });

  eachBackend(`A feature is dead from the window's token on, in ${form} codes`, async () => {
    const last = [...Array(features).keys()].map((f) =>
      pairs.reduce((found, pair, t) => pair.some(([i, v]) => i === f && v > 0) ? t : found, -1)
    );
    // Of each window: those whose last firing lies before it.
    for (const window of [1, 3, 8, tokens]) {
      const meter = new DeadMeter(features, { window });
      for (let from = 0; from < tokens; from += 11) {
        const codes = codesOf(from, Math.min(from + 11, tokens));
        await meter.update(form === "dense" ? scatterRows(codes, features) : codes);
      }
      const expected = [...last.keys()].filter((f) => last[f] < tokens - window);
      assertEquals([...meter.dead()], expected);
      assertEquals(meter.fraction(), expected.length / features);
    }
  });
}

eachBackend("Meters of features refuse other widths, and too few tokens to be dead", async () => {
  const zeros = tf.zeros<tf.Rank.R2>([2, 3]);
  const activity = new FeatureActivityMeter(4);
  await assertRejects(() => activity.update(zeros), RangeError, "4 features");
  await assertRejects(() => activity.update(zeros, { sequence: [1] }), RangeError, "1 tokens'");
  const dead = new DeadMeter(4);
  await assertRejects(() => dead.update(zeros), RangeError, "[tokens, 4]");
  assertThrows(() => dead.fraction(), RangeError, "the window is 10000000");
  assertThrows(() => new DeadMeter(4, { window: 0 }), RangeError, "0 tokens");
});

Deno.test("A density histogram loses no feature, and its bins fall on those of another", () => {
  const densities = [0, 1, 0.1, 0.01, 0.001, 0.0999, 0.5, 3e-5, 0];
  const { edges, counts, silent } = densityHistogram(densities, { binsPerDecade: 2 });
  assertEquals(silent + counts.reduce((a, b) => a + b), densities.length);
  assertEquals([edges[0], edges.at(-1), silent], [-5, 0, 2]);
  // A density on a bound belongs above it, whatever its logarithm is rounded to.
  const one = densityHistogram([0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6], { binsPerDecade: 1 });
  assertEquals(one.counts, [1, 1, 1, 1, 1, 1]);
  assertEquals(densityHistogram([0]), { edges: [-0.25, 0], counts: [0], silent: 1 });
  assertThrows(() => densityHistogram([1.5]), RangeError, "density 1.5 of feature 0");
  assertThrows(() => densityHistogram([1], { binsPerDecade: 0.5 }), RangeError, "0.5 bins");
});

eachBackend("Norms and cosines of directions are those of plain loops", async () => {
  const [d, n] = [4, 9];
  const draw = () =>
    Array.from({ length: n }, (_, f) => Array.from(rng.normals(d, f === 2 ? 0 : 1)));
  const [encoder, decoder] = [draw(), draw()];
  const before = tf.memory().numTensors;
  const W = [tf.tidy(() => tf.transpose(tf.tensor2d(encoder))), tf.tensor2d(decoder)];
  const geometry = await featureGeometry(W[0] as tf.Tensor2D, W[1] as tf.Tensor2D);
  tf.dispose(W);
  assertEquals(tf.memory().numTensors, before);
  const dot = (a: number[], b: number[]) => a.reduce((all, value, i) => all + value * b[i], 0);
  const cosine = (a: number[], b: number[]) => {
    const product = Math.sqrt(dot(a, a) * dot(b, b));
    return product === 0 ? 0 : dot(a, b) / product;
  };
  const largest = (rows: number[][], f: number) =>
    Math.max(...rows.filter((_, i) => i !== f).map((row) => cosine(row, rows[f])));
  for (let f = 0; f < n; f++) {
    assertAlmostEquals(geometry.encoderNorm[f], Math.hypot(...encoder[f]), 1e-5);
    assertAlmostEquals(geometry.decoderNorm[f], Math.hypot(...decoder[f]), 1e-5);
    assertAlmostEquals(geometry.encoderDecoderCosine[f], cosine(encoder[f], decoder[f]), 1e-5);
    assertAlmostEquals(geometry.maxEncoderCosine[f], largest(encoder, f), 1e-5);
    assertAlmostEquals(geometry.maxDecoderCosine[f], largest(decoder, f), 1e-5);
  }
});

eachBackend("A transcoder has no cosine of encoder and decoder, one feature no other", async () => {
  const geometry = await featureGeometry(tf.ones([2, 1]), tf.ones([1, 3]));
  assertEquals([...geometry.encoderDecoderCosine, ...geometry.maxEncoderCosine], [NaN, NaN]);
  await assertRejects(() => featureGeometry(tf.ones([2, 1]), tf.ones([2, 3])), RangeError, "of 1");
});
