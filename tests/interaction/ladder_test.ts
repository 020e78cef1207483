import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import {
  exactLadder,
  inferCodes,
  plantedPairs,
  type PlantedWorld,
} from "../../lib/interaction/mod.ts";
import { LeastSquares, whiten } from "../../lib/interaction/least_squares.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const SMALL = { n: 10, d: 5, pairs: 3, firing: 0.3, train: 3000, test: 2000 };

function splitsOf({ config, train, test, features }: PlantedWorld) {
  const [a, b] = [train, test].map(({ tokens, codes, x }) => ({
    codes: tf.tensor2d(codes, [tokens, config.n]),
    x: tf.tensor2d(x, [tokens, config.d]),
  }));
  const G = tf.tensor2d(Float32Array.from(features), [config.n, config.d]);
  return { train: a, test: b, R0: tf.matMul(b.codes, G) as tf.Tensor2D };
}

const random = (name: string, shape: [number, number]) =>
  tf.tensor2d(new Rng(0, name).normals(shape[0] * shape[1], 1), shape);

eachBackend("Least squares recovers coefficients, and leaves what is orthogonal", async () => {
  const [X, B] = [random("X", [50, 4]), random("B", [4, 3])];
  const scaled = tf.mul(X, tf.tensor2d([[1, 100, 0.01, 1]])) as tf.Tensor2D;
  const solved = await LeastSquares.of(scaled, 0);
  const found = await (await solved.solve(tf.matMul(scaled, B))).data();
  (await B.data()).forEach((value, i) => assertAlmostEquals(found[i], value, 2e-3));
  const left = await solved.residual(random("Y", [50, 2]));
  const products = await tf.matMul(scaled, left, true).data();
  products.forEach((value) => assertAlmostEquals(value, 0, 2e-2));
});

eachBackend("Whitened columns have the identity as their products", async () => {
  const R = tf.matMul(random("R", [60, 3]), random("mix", [3, 3])) as tf.Tensor2D;
  const W = await whiten(R);
  const products = await tf.matMul(W, W, true).data();
  products.forEach((value, at) => assertAlmostEquals(value, +(at % 4 === 0), 1e-3));
});

Deno.test("Products are gained where they were planted, curvature is not a product", async () => {
  await openDevice();
  for (const kind of ["pairs", "curved", "independent"] as const) {
    const { train, test, R0 } = splitsOf(plantedPairs({ ...SMALL, kind }));
    const before = tf.memory().numTensors;
    const ladder = await exactLadder(train, test, R0);
    assertEquals(tf.memory().numTensors, before);
    assertAlmostEquals(ladder.gain, ladder.R2 - ladder.R3, 1e-12);
    // 45 regressors on 3000 tokens: chance costs about 1.5 % on others.
    if (kind === "pairs") assert(ladder.gain > 0.95 * ladder.R2, JSON.stringify(ladder));
    else assert(ladder.gain < 0, `${kind}: ${ladder.gain}`);
    if (kind === "curved") assert(ladder.R2 < 0.1 * ladder.R1, JSON.stringify(ladder));
  }
});

Deno.test("More pairs than can be solved are refused", async () => {
  const codes = tf.ones<tf.Rank.R2>([2, 130]);
  const split = { codes, x: codes };
  await assertRejects(() => exactLadder(split, split, codes), RangeError, "8776 regressors");
});

Deno.test("Codes by optimisation are those that made the activations", async () => {
  await openDevice();
  const { config: { n, d }, features, test } = plantedPairs({
    ...{ n: 24, d: 16, pairs: 0, firing: 0.08, sigma: 0.01, train: 1, test: 300 },
  });
  const x = tf.tensor2d(test.x, [300, d]);
  const G = tf.tensor2d(Float32Array.from(features), [n, d]);
  const before = tf.memory().numTensors;
  const codes = inferCodes(x, G);
  assertEquals(tf.memory().numTensors, before + 1);
  const found = await codes.data();
  let error = 0;
  let square = 0;
  found.forEach((value, i) => {
    assert(value >= 0);
    error += (value - test.codes[i]) ** 2;
    square += test.codes[i] ** 2;
  });
  assert(error < 0.02 * square, `${error / square}`);
  const few = await inferCodes(x, G, { maxActive: 2 }).array();
  assert(few.every((row) => row.filter((value) => value > 0).length <= 2));
});
