import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { inferCodes, plantedPairs, SparseInference } from "../../lib/interaction/mod.ts";
import { openDevice, scatterRows, tf } from "../../lib/tensor/mod.ts";

/** Twice as many features as dimensions, and activations of them. */
function crowded() {
  const { features, test, config: { n, d } } = plantedPairs({
    ...{ n: 24, d: 12, pairs: 4, firing: 0.1, train: 10, test: 200, seed: 3 },
  });
  return { W: tf.tensor2d([...features], [n, d]), x: tf.tensor2d(test.x, [200, d]), n };
}

async function dense(codes: Awaited<ReturnType<SparseInference["infer"]>>, features: number) {
  return Float32Array.from(await scatterRows(codes, features).data());
}

Deno.test("Codes by coordinate descent are those of FISTA", async () => {
  await openDevice();
  const { W, x, n } = crowded();
  for (const l1 of [0.1, 0.3]) {
    const found = await dense(await (await SparseInference.of(W)).infer(x, l1), n);
    const expected = await inferCodes(x, W, { l1, iterations: 2000 }).data();
    assert(expected.filter((value) => value > 0).length > 300);
    const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value ** 2, 0);
    const error = squares(Float32Array.from(found, (value, i) => value - expected[i]));
    assert(error < 1e-3 * squares(Float32Array.from(expected)), `${error}`);
  }
});

Deno.test("Features that were no candidates at first join later", async () => {
  await openDevice();
  const { W, x, n } = crowded();
  const l1 = 0.3;
  const whole = await dense(await (await SparseInference.of(W)).infer(x, l1), n);
  const errors: number[] = [];
  for (const rounds of [1, 2, 4]) {
    const few = await SparseInference.of(W, { candidates: 8, rounds });
    const found = await dense(await few.infer(x, l1), n);
    errors.push(found.reduce((sum, value, i) => sum + (value - whole[i]) ** 2, 0));
  }
  assert(errors[1] < 0.5 * errors[0] && errors[2] <= errors[1], `${errors}`);
});

Deno.test("A decoder too wide for all its products gives the same codes", async () => {
  await openDevice();
  const { W, x, n } = crowded();
  // Features that no activation has: on an axis of their own, where all activations are negative.
  const wide = 8200;
  const more = tf.tensor2d(new Float32Array((wide - n) * 13).map((_, i) => +(i % 13 === 12)), [
    wide - n,
    13,
  ]);
  const padded = tf.concat([tf.pad(W, [[0, 0], [0, 1]]), more], 0) as tf.Tensor2D;
  const rows = tf.pad(x, [[0, 0], [0, 1]], 0) as tf.Tensor2D;
  const narrow = await dense(await (await SparseInference.of(W)).infer(x, 0.2), n);
  const codes = await (await SparseInference.of(padded, { candidates: n })).infer(rows, 0.2);
  const found = await dense(codes, wide);
  for (let t = 0; t < x.shape[0]; t++) {
    for (let i = 0; i < n; i++) {
      assertAlmostEquals(found[t * wide + i], narrow[t * n + i], 1e-3);
    }
  }
});

Deno.test("No tensor is left behind, and an activation of nothing has no code", async () => {
  await openDevice();
  const { W } = crowded();
  const inference = await SparseInference.of(W);
  const before = tf.memory().numTensors;
  const nothing = tf.zeros<tf.Rank.R2>([3, 12]);
  const codes = await inference.infer(nothing, 0.1);
  assertEquals([...await codes.values.data()], [0, 0, 0]);
  tf.dispose([nothing, codes.indices, codes.values]);
  assertEquals(tf.memory().numTensors, before);
  await assertRejects(
    () => SparseInference.of(W, { candidates: 0 }),
    RangeError,
    "0 candidates: expected an integer, at least 1",
  );
});
