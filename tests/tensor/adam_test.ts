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

/** Rows 0 and 3 of five are used in one step, 3 and 1 in another, and so on; none twice in a step. */
const USED = [[0, 3], [3, 1], [2], [0, 1, 4], [3], [0], [1, 3], [2, 0]];
const COLUMNS = 3;

function rowGradients() {
  const rng = new Rng(8);
  return USED.map((rows) => ({ rows, values: [...rng.normals(rows.length * COLUMNS, 0.1)] }));
}

function applyRows(adam: Adam, { rows, values }: { rows: number[]; values: number[] }) {
  adam.apply({
    w: {
      rows: tf.tensor1d(rows, "int32"),
      values: tf.tensor2d(values, [rows.length, COLUMNS]),
    },
  }, 0.05);
}

eachBackend("Rows in use have Adam's moments, and rows at rest keep their value", async () => {
  const start = [...new Rng(9).normals(5 * COLUMNS, 1)];
  const adam = new Adam({ w: tf.tensor2d(start, [5, COLUMNS]) });
  const dense = new Adam({ w: tf.tensor2d(start, [5, COLUMNS]) });
  const expected = [...start];
  for (const { rows, values } of rowGradients()) {
    applyRows(adam, { rows, values });
    const whole = new Float32Array(5 * COLUMNS);
    rows.forEach((row, i) => {
      whole.set(values.slice(i * COLUMNS, (i + 1) * COLUMNS), row * COLUMNS);
    });
    dense.apply({ w: tf.tensor2d(whole, [5, COLUMNS]) }, 0.05);
    const [ours, theirs] = [await adam.state(), await dense.state()];
    const { step } = adam;
    const rate = 0.05 * Math.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step);
    for (const row of rows) {
      assertEquals(ours["t/w"].data[row], step);
      for (let i = row * COLUMNS; i < (row + 1) * COLUMNS; i++) {
        for (const moment of ["m/w", "v/w"]) {
          const [a, b] = [ours[moment].data[i] as number, theirs[moment].data[i] as number];
          assertAlmostEquals(a, b, 1e-5 * Math.abs(b) + 1e-9);
        }
        const [m, v] = [theirs["m/w"].data[i] as number, theirs["v/w"].data[i] as number];
        expected[i] -= rate * m / (Math.sqrt(v) + 1e-8 * Math.sqrt(1 - 0.999 ** step));
      }
    }
    (await adam.values.w.data()).forEach((w, i) => assertAlmostEquals(w, expected[i], 1e-5));
  }
  adam.dispose();
  dense.dispose();
});

eachBackend("Where every row has a gradient at every step, rows move as by Adam", async () => {
  const make = () => new Adam({ w: tf.tensor2d(START, [2, 3]) });
  const [byRows, whole] = [make(), make()];
  for (const g of GRADIENTS) {
    const rows = tf.tensor1d([1, 0], "int32");
    const values = tf.tensor2d([...g.slice(3), ...g.slice(0, 3)], [2, 3]);
    byRows.apply({ w: { rows, values } }, 0.05);
    whole.apply({ w: tf.tensor2d(g, [2, 3]) }, 0.05);
  }
  const expected = await whole.values.w.data();
  (await byRows.values.w.data()).forEach((w, i) => assertAlmostEquals(w, expected[i], 1e-5));
  byRows.dispose();
  whole.dispose();
});

eachBackend(
  "Adam of rows goes on from its state to the same bits, and leaves no tensor",
  async () => {
    const before = tf.memory().numTensors;
    const run = new Adam({ w: tf.tensor2d(START.concat(START, START.slice(0, 3)), [5, COLUMNS]) });
    const gradients = rowGradients();
    for (const gradient of gradients.slice(0, 3)) applyRows(run, gradient);
    const restored = Adam.restore(await run.state(), run.step);
    for (const adam of [run, restored]) {
      for (const gradient of gradients.slice(3)) applyRows(adam, gradient);
    }
    assertEquals(await run.state(), await restored.state());
    run.dispose();
    restored.dispose();
    assertEquals(tf.memory().numTensors, before);
  },
);

Deno.test("Adam refuses gradients of rows that do not fit, and a whole one after them", () => {
  const adam = new Adam({ w: tf.zeros([4, 2]), b: tf.zeros([2]) });
  const rows = (n: number) => tf.range(0, n, 1, "int32");
  const apply = (name: string, n: number, shape: [number, number]) => () =>
    adam.apply({ [name]: { rows: rows(n), values: tf.zeros(shape) } }, 1);
  assertThrows(apply("w", 2, [2, 3]), RangeError, "expected [rows, 2]");
  assertThrows(apply("w", 3, [2, 2]), RangeError, "expected [rows, 2]");
  assertThrows(apply("b", 2, [2, 1]), RangeError, '"b"');
  apply("w", 2, [2, 2])();
  assertThrows(() => adam.apply({ w: tf.zeros([4, 2]) }, 1), RangeError, "gradients of rows");
});

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

eachBackend("clipByGlobalNorm() counts gradients of rows", async () => {
  const before = tf.memory().numTensors;
  const rows = { rows: tf.tensor1d([7], "int32"), values: tf.tensor2d([[0, 4]]) };
  const { grads, norm } = clipByGlobalNorm({ a: tf.tensor1d([3]), w: rows }, 1);
  assertAlmostEquals((await norm.data())[0], 5, 1e-5);
  const { w } = grads as { w: typeof rows };
  assertEquals(await w.rows.data(), Int32Array.of(7));
  assertAlmostEquals((await w.values.data())[1], 0.8, 1e-5);
  tf.dispose([grads as tf.TensorContainer, norm]);
  assertEquals(tf.memory().numTensors, before);
});
