import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { cellsOf, contrasts, Nfm, nfmRows, type NfmRowsOptions, Rng, tf } from "interlens";
import { eachBackend } from "../backends.ts";
import { tinyDesign } from "./tiny_design.ts";

const [F, D, K] = [5, 3, 4];
const k = { top: 1, random: 3 };

function machine(head: "linear" | "relu" = "linear", scales = { code: 2, target: 3 }) {
  const normals = (name: string, rows: number, columns: number) =>
    tf.tensor2d(new Rng(1, name).normals(rows * columns, 1), [rows, columns]);
  const shape = { parts: "both", dSae: F, dOut: D, K, head, topN: F } as const;
  return new Nfm(shape, {
    b: tf.tensor1d([0.5, -1, 2]),
    W: normals("W", F, D),
    V: normals("V", F, K),
    ...head === "linear" ? { C: normals("C", K, D) } : {
      W1: normals("W1", K, K),
      b1: tf.tensor1d([0.3, -0.2, 0.1, 0.4]),
      W2: normals("W2", K, D),
    },
  }, { scales });
}

const codes = Float32Array.from(new Rng(2, "codes").normals(3 * F, 1), Math.abs);
const matrix = async (t: tf.Tensor) => await (t as tf.Tensor2D).array();

eachBackend("rows are the terms of the machine without its biases, signed", async () => {
  for (const head of ["linear", "relu"] as const) {
    const nfm = machine(head);
    const pieces = nfm.pieces(tf.tensor2d(codes, [3, F]));
    const none = nfm.pieces(tf.zeros([1, F]) as tf.Tensor2D);
    const [linear, interaction, pooled, l0, i0] = await Promise.all(
      [pieces.linear, pieces.interaction, pieces.bilinear, none.linear, none.interaction].map(
        matrix,
      ),
    );
    const rows = await nfmRows(nfm, codes, { k });
    let negative = 0;
    for (let i = 0; i < 3; i++) {
      for (let o = 0; o < D; o++) {
        assertAlmostEquals(rows.linear[i * D + o], linear[i][o] - l0[0][o], 1e-4);
        assertAlmostEquals(rows.interaction[i * D + o], interaction[i][o] - i0[0][o], 1e-4);
      }
      assertAlmostEquals(rows.summaries.topK[i], pooled[i][k.top], 1e-4);
      assertAlmostEquals(rows.summaries.randomK[i], pooled[i][k.random], 1e-4);
      assertAlmostEquals(rows.summaries.allK[i], pooled[i].reduce((a, b) => a + b) / K, 1e-4);
      negative += pooled[i].filter((p) => p < 0).length;
    }
    assert(negative > 0, "signs are kept");
    nfm.dispose();
  }
});

eachBackend("a term along a direction is its projection, whatever the length", async () => {
  const nfm = machine();
  const direction = [3, 0, 4];
  const { linear, summaries } = await nfmRows(nfm, codes, { k, along: { linear: direction } });
  assertAlmostEquals(summaries.linear[1], 0.6 * linear[D] + 0.8 * linear[D + 2], 1e-5);
  assertAlmostEquals(
    (await nfmRows(nfm, codes, { k })).summaries.linear[1],
    (linear[D] + linear[D + 1] + linear[D + 2]) / 3,
    1e-5,
  );
  nfm.dispose();
});

eachBackend("B1 has no product and no sign", async () => {
  for (const head of ["linear", "relu"] as const) {
    const nfm = machine(head);
    const { V, C, W1, b1, W2 } = nfm.weights;
    const { summaries, pooled, linear } = await nfmRows(nfm, codes, { k, faithful: ["B1"] });
    const corrected = await nfmRows(nfm, codes, { k });
    const sums = await matrix(tf.mul(tf.matMul(tf.tensor2d(codes, [3, F]), V!), 2)); // code scale
    const out = C ? tf.matMul(tf.tensor2d(sums), C) : tf.sub(
      tf.matMul(tf.relu(tf.add(tf.tensor2d(sums), b1!)), W2!),
      tf.matMul(tf.relu(tf.expandDims(b1!, 0)) as tf.Tensor2D, W2!),
    );
    assertEquals(W1 === undefined, C !== undefined);
    for (let i = 0; i < 3; i++) {
      assertAlmostEquals(pooled[i * K], sums[i][0], 1e-4);
      assertAlmostEquals(summaries.topK[i], Math.abs(sums[i][k.top]), 1e-4);
      const all = sums[i].reduce((sum, s) => sum + Math.abs(s), 0) / K;
      assertAlmostEquals(summaries.allK[i], all, 1e-4);
      const absolute = Array.from({ length: D }, (_, o) => Math.abs(linear[i * D + o]));
      assertAlmostEquals(summaries.linear[i], absolute.reduce((a, b) => a + b) / D, 1e-4);
      if (C) {
        const row = (await matrix(out))[i].reduce((sum, x) => sum + Math.abs(3 * x), 0) / D;
        assertAlmostEquals(summaries.interaction[i], row, 1e-3);
      }
      assert(summaries.interaction[i] >= 0);
    }
    assert(summaries.topK.some((value, i) => Math.abs(value - corrected.summaries.topK[i]) > 0.1));
    nfm.dispose();
  }
});

eachBackend("the machine of B1 with a ReLU head feeds the sum to its first layer", async () => {
  const nfm = machine("relu", { code: 1, target: 1 });
  const { V, W1, b1, W2 } = nfm.weights;
  const { interaction } = await nfmRows(nfm, codes, { k, faithful: ["B1", "B27"] });
  const expected = tf.tidy(() => {
    const sums = tf.matMul(tf.tensor2d(codes, [3, F]), V!);
    return tf.matMul(tf.relu(tf.add(tf.matMul(sums, W1!), b1!)), W2!);
  });
  (await expected.data()).forEach((value, i) => assertAlmostEquals(interaction[i], value, 1e-4));
  nfm.dispose();
});

eachBackend("B21 leaves two features", async () => {
  const nfm = machine();
  const two = Float32Array.from(codes, (value, i) => [1, 4].includes(i % F) ? value : 0);
  const plain = await nfmRows(nfm, two, { k });
  const faithful = await nfmRows(nfm, codes, { k, pair: [1, 4], faithful: ["B21"] });
  assertEquals(faithful, plain);
  const corrected = await nfmRows(nfm, codes, { k });
  assert(Math.abs(corrected.summaries.topK[0] - plain.summaries.topK[0]) > 0.1);
  nfm.dispose();
});

eachBackend("B27 counts biases, which are the same for every text", async () => {
  for (const head of ["linear", "relu"] as const) {
    const nfm = machine(head);
    const corrected = await nfmRows(nfm, codes, { k });
    const faithful = await nfmRows(nfm, codes, { k, faithful: ["B27"] });
    for (let i = 0; i < 3 * D; i++) {
      const bias = 3 * [0.5, -1, 2][i % D]; // target scale
      assertAlmostEquals(faithful.linear[i] - corrected.linear[i], bias, 1e-4);
      const first = faithful.interaction[i % D] - corrected.interaction[i % D];
      assertAlmostEquals(faithful.interaction[i] - corrected.interaction[i], first, 1e-4);
      if (head === "linear") assertAlmostEquals(first, 0, 1e-4);
    }
    if (head === "relu") {
      assert(Math.abs(faithful.interaction[0] - corrected.interaction[0]) > 0.01);
    }
    nfm.dispose();
  }
});

eachBackend(
  "the published cells of K140 are |v·x| of two features, one of them constant",
  async () => {
    // Weights and cell means as published: 32806 and 23360 on K140, the second one .61948 everywhere.
    const shape = { parts: "both", dSae: 2, dOut: 1, K: 1, head: "linear", topN: 2 } as const;
    const nfm = new Nfm(shape, {
      b: tf.zeros([1]),
      W: tf.zeros([2, 1]),
      V: tf.tensor2d([[0.177124], [-0.197998]]),
      C: tf.ones([1, 1]),
    });
    const paris = [0.2753, 0.2757, 0.2181, 0.1983];
    const published = Float32Array.from(paris.flatMap((x) => [x, 0.61948]));
    const rows: NfmRowsOptions = { k: { top: 0, random: 0 }, pair: [0, 1] };
    const study = await nfmRows(nfm, published, { ...rows, faithful: ["B1", "B21", "B27"] });
    assertEquals(
      [...study.summaries.topK].map((value) => value.toFixed(4)),
      ["0.0739", "0.0738", "0.0840", "0.0875"],
    );
    // Where Paris is stronger the number is smaller: a sum that is folded, not an inhibition. With its
    // sign it rises with Paris; and the product of the two is another number altogether.
    const design = tinyDesign(1);
    const effect = async (faithful: NfmRowsOptions["faithful"]) =>
      contrasts(
        cellsOf(design, (await nfmRows(nfm, published, { ...rows, faithful })).summaries.topK),
      );
    const folded = await effect(["B1"]);
    assert(folded.factorA[0] < 0);
    const product = (await nfmRows(nfm, published, rows)).summaries.topK;
    paris.forEach((x, i) =>
      assertAlmostEquals(product[i], x * 0.61948 * 0.177124 * -0.197998, 1e-7)
    );
    nfm.dispose();
  },
);

eachBackend("rows that cannot be made are refused", async () => {
  const nfm = machine();
  const refused: [Float32Array, NfmRowsOptions, string][] = [
    [codes.slice(1), { k }, "14 numbers"],
    [codes, { k: { top: 4, random: 0 } }, "top K = 4"],
    [codes, { k, along: { interaction: [1] } }, "interaction term"],
    [codes, { k, faithful: ["B21"] }, "give pair"],
    [codes, { k, faithful: ["B21"], pair: [0, 5] }, "0,5"],
  ];
  for (const [given, options, message] of refused) {
    await assertRejects(() => nfmRows(nfm, given, options), RangeError, message);
  }
  const before = tf.memory().numTensors;
  await nfmRows(nfm, codes, { k, faithful: ["B1"] });
  assertEquals(tf.memory().numTensors, before);
  nfm.dispose();
});
