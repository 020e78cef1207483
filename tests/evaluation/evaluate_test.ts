import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import { evaluate } from "../../lib/evaluation/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

await openDevice({ backend: "cpu" });

const d = 4, tokens = 50;
const rows = new Rng(0).normals(tokens * d, 1);
const document = Int32Array.from({ length: tokens }, (_, i) => Math.floor(i / 10));
const split = { rows, document };
const store = memoryStore(d, { train: split, validation: split, test: split });
const mean = Array.from(
  { length: d },
  (_, j) => rows.reduce((sum, value, i) => sum + (i % d === j ? value : 0), 0) / tokens,
);
const predictMean = ({ x }: { x: tf.Tensor2D }) =>
  tf.add(tf.zerosLike(x), tf.tensor1d(mean)) as tf.Tensor2D;

Deno.test("evaluate() gives identity 0, the mean 1, and an offset its square", async () => {
  const measured = await evaluate(store, { split: "test", batchSize: 16 }, {
    identity: ({ x }) => x,
    mean: predictMean,
    offset: ({ x }) => tf.add(x, 0.5) as tf.Tensor2D,
  });
  assertEquals(measured.identity.fvu, 0);
  assertAlmostEquals(measured.mean.fvu, 1, 1e-5);
  const variation = measured.mean.perDocument.variation.reduce((a, b) => a + b, 0);
  assertAlmostEquals(measured.offset.fvu, tokens * d * 0.25 / variation, 1e-5);
  assertEquals(measured.mean.perDocument.tokens, [10, 10, 10, 10, 10]);
});

Deno.test("evaluate() hands every reconstruction the dictionary's codes", async () => {
  const sae = new Sae({ architecture: "topk", dIn: d, dSae: 6, k: 2 }, {
    W_enc: tf.tensor2d(new Rng(1).normals(d * 6, 1), [d, 6]),
    b_enc: tf.zeros([6]),
    W_dec: tf.tensor2d(new Rng(2).normals(d * 6, 1), [6, d]),
    b_dec: tf.zeros([d]),
  });
  const before = tf.memory().numTensors;
  const measured = await evaluate(store, { split: "test", sae }, {
    given: ({ reconstruction }) => reconstruction!,
    fromCodes: ({ codes }) => sae.decodeSparse(codes!),
  });
  assertAlmostEquals(measured.given.fvu, measured.fromCodes.fvu, 1e-6);
  assertEquals(tf.memory().numTensors, before);
  sae.dispose();
});

Deno.test("evaluate() names the shapes of a reconstruction that does not fit", async () => {
  await assertRejects(
    () => evaluate(store, "test", { wrong: ({ x }) => tf.slice(x, [0, 0], [-1, 2]) }),
    RangeError,
    "must be [tokens, 4]",
  );
});

Deno.test("B13 measures the first ten batches and nothing after them", async () => {
  const identity = { identity: ({ x }: { x: tf.Tensor2D }) => x };
  const few = await evaluate(
    store,
    { split: "test", batchSize: 2, faithful: ["B13"] },
    identity,
  );
  const all = await evaluate(
    store,
    { split: "test", batchSize: 16, faithful: ["B13"] },
    identity,
  );
  assertEquals([few.identity.tokens, all.identity.tokens], [20, 50]);
});
