import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { Nfm, pairSurface, pairTensor } from "../../lib/interaction/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

function machine(head: "linear" | "relu", parts: "linear" | "both" = "both"): Nfm {
  const K = parts === "linear" ? 0 : 3;
  const normal = (name: string, rows: number, columns: number) =>
    tf.tensor2d(new Rng(4, name).normals(rows * columns, 1), [rows, columns]);
  return new Nfm({ parts, dSae: 5, dOut: 4, K, head, topN: 2 }, {
    b: tf.tensor1d(new Rng(4, "b").normals(4, 1)),
    W: normal("W", 5, 4),
    ...parts === "both" && { V: normal("V", 5, K) },
    ...parts === "both" && head === "linear" && { C: normal("C", K, 4) },
    ...parts === "both" && head === "relu" && {
      ...{ W1: normal("W1", K, K), b1: tf.zeros([K]) as tf.Tensor1D, W2: normal("W2", K, 4) },
    },
  }, { scales: { code: 0.5, target: 2 } });
}

eachBackend(
  "with the linear head, joint less additive is the product times the pair's length",
  async () => {
    const nfm = machine("linear");
    const before = tf.memory().numTensors;
    const { first, second, joint, additive, direction } = await pairSurface(nfm, [3, 1], {
      largest: [2, 4],
      points: 5,
    });
    assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
    const T = (await pairTensor(nfm, [[1, 3]]).array())[0];
    const length = Math.hypot(...T);
    T.forEach((value, d) => assertAlmostEquals(direction[d], value / length, 1e-4));
    second.forEach((b, row) =>
      first.forEach((a, column) =>
        assertAlmostEquals(joint[row][column] - additive[row][column], a * b * length, 1e-3)
      )
    );
    assertEquals([first.at(-1), second.at(-1), joint[0][0]], [2, 4, 0]);
    nfm.dispose();
  },
);

eachBackend("without products both are the same, along what the two do", async () => {
  const nfm = machine("linear", "linear");
  const { joint, additive } = await pairSurface(nfm, [0, 1], { points: 3 });
  joint.flat().forEach((value, i) => assertAlmostEquals(value, additive.flat()[i], 1e-5));
  assert(joint[2][2] > 0);
  nfm.dispose();
});

eachBackend("any head and any direction will do, and what cannot be drawn is refused", async () => {
  const nfm = machine("relu");
  const { joint } = await pairSurface(nfm, [0, 1], { direction: [0, 2, 0, 0], points: 2 });
  const predict = async (values: number[]) => {
    const codes = {
      indices: tf.tensor2d([[0, 1]], [1, 2], "int32"),
      values: tf.tensor2d([values]),
    };
    return (await nfm.predict(codes).array())[0][1];
  };
  assertAlmostEquals(joint[1][1], await predict([1, 1]) - await predict([0, 0]), 1e-4);
  for (
    const [pair, options, message] of [
      [[0, 0], {}, "expected two of the 5"],
      [[0, 5], {}, "expected two of the 5"],
      [[0, 1], { largest: [0, 1] }, "expected above 0"],
      [[0, 1], { points: 1 }, "at least 2"],
      [[0, 1], { direction: [0, 0, 0, 0] }, "not all 0"],
      [[0, 1], { direction: [1] }, "expected 4"],
    ] as const
  ) await assertRejects(() => pairSurface(nfm, [...pair], options), RangeError, message);
  nfm.dispose();
});
