import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { Adam, clipByGlobalNorm, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

/** Algorithm 1 of Kingma & Ba in float64. */
function reference(
  start: number[],
  gradients: number[][],
  learningRate: number,
  epsilon: number,
) {
  const theta = [...start], m = theta.map(() => 0), v = theta.map(() => 0);
  gradients.forEach((gradient, t) =>
    gradient.forEach((g, i) => {
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      const mHat = m[i] / (1 - 0.9 ** (t + 1)),
        vHat = v[i] / (1 - 0.999 ** (t + 1));
      theta[i] -= learningRate * mHat / (Math.sqrt(vHat) + epsilon);
    })
  );
  return theta;
}

const rng = new Rng(3);
const START = [...rng.normals(6, 1)];
const GRADIENTS = Array.from({ length: 20 }, () => [...rng.normals(6, 0.01)]);

eachBackend(
  "Adam follows the published algorithm, ε behind the bias correction",
  async () => {
    // A large ε makes its place visible.
    for (const epsilon of [1e-8, 1e-2]) {
      const adam = new Adam({ w: tf.tensor2d(START, [2, 3]) }, { epsilon });
      for (const g of GRADIENTS) {
        adam.apply({ w: tf.tensor2d(g, [2, 3]) }, 0.05);
      }
      const expected = reference(START, GRADIENTS, 0.05, epsilon);
      (await adam.values.w.data()).forEach((w, i) => assertAlmostEquals(w, expected[i], 2e-5));
      assertEquals(adam.step, 20);
      adam.dispose();
    }
  },
);

eachBackend(
  "Adam restored from its state continues to the same bits",
  async () => {
    const run = new Adam({ w: tf.tensor1d(START) });
    for (const g of GRADIENTS.slice(0, 7)) {
      run.apply(
        { w: tf.tensor1d(g) },
        0.05,
      );
    }
    const restored = Adam.restore(await run.state(), run.step);
    for (const adam of [run, restored]) {
      for (const g of GRADIENTS.slice(7)) {
        adam.apply(
          { w: tf.tensor1d(g) },
          0.05,
        );
      }
    }
    assertEquals(await run.values.w.data(), await restored.values.w.data());
    run.dispose();
    restored.dispose();
  },
);

eachBackend(
  "Adam keeps the number of tensors constant and frees them all",
  () => {
    const before = tf.memory().numTensors;
    const adam = new Adam({ w: tf.tensor1d(START), b: tf.zeros([2]) });
    const step = () => {
      tf.dispose(tf.tidy(() => tf.add(adam.values.w, 1)));
      adam.apply({ w: tf.ones([6]), b: tf.ones([2]) }, 0.1);
    };
    step();
    tf.tidy(() => [adam.values.w, adam.values.b]);
    const during = tf.memory().numTensors;
    for (let i = 0; i < 3; i++) step();
    tf.tidy(() => [adam.values.w, adam.values.b]);
    assertEquals(tf.memory().numTensors, during);
    adam.dispose();
    assertEquals(tf.memory().numTensors, before);
  },
);

eachBackend(
  "Adam leaves a parameter without a gradient alone, and assign() replaces it",
  async () => {
    const adam = new Adam({ a: tf.tensor1d([1]), b: tf.tensor1d([2]) });
    adam.apply({ a: tf.tensor1d([1]) }, 0.5);
    assertEquals([...await adam.values.b.data()], [2]);
    adam.assign("b", tf.tensor1d([7]));
    assertEquals([...await adam.values.b.data()], [7]);
    adam.dispose();
  },
);

Deno.test("Adam refuses what it cannot update", () => {
  const adam = new Adam({ w: tf.zeros([2]) });
  assertThrows(
    () => adam.apply({ w: tf.zeros([3]) }, 1),
    RangeError,
    "expected [2]",
  );
  assertThrows(() => adam.apply({ x: tf.zeros([2]) }, 1), RangeError, '"x"');
  assertThrows(
    () => new Adam({ w: tf.zeros([1], "int32") }),
    TypeError,
    "expected float32",
  );
});

eachBackend(
  "clipByGlobalNorm() bounds the joint norm and keeps small gradients",
  async () => {
    const gradients = () => ({ a: tf.tensor1d([3]), b: tf.tensor1d([0, 4]) });
    const clipped = clipByGlobalNorm(gradients(), 1);
    assertAlmostEquals((await clipped.norm.data())[0], 5, 1e-5);
    assertAlmostEquals((await clipped.grads.b.data())[1], 0.8, 1e-5);
    const kept = clipByGlobalNorm(gradients(), 10);
    assertAlmostEquals((await kept.grads.a.data())[0], 3, 1e-6);
  },
);
