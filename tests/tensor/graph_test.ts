import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { tf } from "../../lib/tensor/mod.ts";
import { canRunGraphs, Graph } from "../../lib/tensor/graph.ts";
import { eachBackend } from "../backends.ts";

/** Registers a test that leaves no tensor behind; it does nothing where graphs cannot run. */
function graphTest(name: string, fn: () => Promise<void>): void {
  eachBackend(name, async ({ backend, gpu }) => {
    assertEquals(canRunGraphs(), backend === "tensorflow" && !gpu);
    if (!canRunGraphs()) return;
    const before = tf.memory().numTensors;
    await fn();
    assertEquals(tf.memory().numTensors, before);
  });
}

graphTest("a graph computes what its ops compute one by one", async () => {
  const g = new Graph();
  const x = g.input("x");
  const product = g.matMul(x, g.input("w"));
  const [left, right] = g.split(product, [1, 2], 1);
  const joined = g.concat([right, g.op("Mul", [left, g.scalar(-2)])], 1);
  const twice = g.batchMatMul(joined, joined, true);
  const sums = g.sumLast(g.transpose(twice, [1, 0]));
  const flat = g.reshape(sums, g.slice(g.shape(x), 0, 1));
  const graph = g.compile();

  const inputs = {
    x: tf.tensor2d([[1, 2], [3, -4], [0.5, 0]]),
    w: tf.tensor2d([[1, 0, 2], [-1, 3, 1]]),
  };
  const [ours, ourFlat] = graph.run(inputs, [twice, flat]);
  const [theirs, theirFlat] = tf.tidy(() => {
    const [left, right] = tf.split(tf.matMul(inputs.x, inputs.w), [1, 2], 1);
    const joined = tf.concat([right, tf.mul(left, -2)], 1);
    const twice = tf.matMul(joined, joined, false, true);
    return [twice, tf.sum(tf.transpose(twice), -1)];
  });
  assertEquals([ours.shape, ourFlat.shape], [[3, 3], [3]]);
  assertEquals(await ours.data(), await theirs.data());
  assertEquals(await ourFlat.data(), await theirFlat.data());
  tf.dispose([inputs, ours, ourFlat, theirs, theirFlat]);
});

graphTest("the inputs of a graph keep their values", async () => {
  const g = new Graph();
  const x = g.input("x");
  const y = g.op("Square", [g.op("AddV2", [x, g.scalar(1)])]);
  const graph = g.compile();
  const input = tf.tensor1d([1, 2]);
  for (let i = 0; i < 2; i++) {
    const [output] = graph.run({ x: input }, [y]);
    assertEquals([...await output.data()], [4, 9]);
    output.dispose();
  }
  assertEquals([...await input.data()], [1, 2]);
  input.dispose();
});

graphTest("a graph refuses inputs that are missing, unknown or of the wrong shape", () => {
  const g = new Graph();
  const sum = g.op("AddV2", [g.input("a"), g.input("b")]);
  const graph = g.compile();
  const [a, b, c] = [[1, 2], [3, 4], [5, 6, 7]].map((values) => tf.tensor1d(values));
  assertThrows(() => graph.run({ a }, [sum]), Error, `without its input "b"`);
  assertThrows(() => graph.run({ a, b, c }, [sum]), Error, `with "c"`);
  assertThrows(() => graph.run({ a, b: c }, [sum]), Error, "shape");
  tf.dispose([a, b, c]);
  return Promise.resolve();
});

graphTest("no graph runs while a gradient is recorded, since it has none", async () => {
  let inside: boolean | undefined;
  const gradient = tf.grad((x) => {
    inside = canRunGraphs();
    return tf.square(x);
  });
  const [x, dx] = tf.tidy(() => {
    const x = tf.scalar(3);
    return [x, gradient(x)];
  });
  assert(inside === false);
  assertAlmostEquals((await dx.data())[0], 6);
  tf.dispose([x, dx]);
});
