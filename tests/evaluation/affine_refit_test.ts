import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import { affineRefit, conjugateGradients, evaluate } from "../../lib/evaluation/mod.ts";
import { codesAndResidual, trainNfm } from "../../lib/interaction/mod.ts";
import { openDevice, Rng, scatterRows, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const [dIn, dSae, k, tokens] = [6, 9, 3, 400];

function world() {
  const rng = new Rng(0, "refit");
  const draw = (count: number) => ({
    rows: rng.normals(count * dIn, 1).map((value, i) => value + (i % dIn === 0 ? 0.7 : 0)),
    document: Int32Array.from({ length: count }, (_, i) => Math.floor(i / 20)),
  });
  return memoryStore(dIn, { train: draw(tokens), validation: draw(200), test: draw(200) });
}

function dictionary(): Sae {
  const rng = new Rng(1, "dictionary");
  return new Sae({ architecture: "topk", dIn, dSae, k }, {
    W_enc: tf.tensor2d(rng.normals(dIn * dSae, 1), [dIn, dSae]),
    b_enc: tf.tensor1d(rng.normals(dSae, 0.1)),
    W_dec: tf.tensor2d(rng.normals(dSae * dIn, 0.3), [dSae, dIn]),
    b_dec: tf.tensor1d(rng.normals(dIn, 0.3)),
  });
}

eachBackend("Conjugate gradients solve several systems at once", async () => {
  const n = 20;
  const M = tf.tensor2d(new Rng(2).normals(n * n, 0.3), [n, n]);
  const A = tf.add(tf.matMul(M, M, true), tf.eye(n)) as tf.Tensor2D;
  const X = tf.concat([tf.tensor2d(new Rng(3).normals(n * 2, 1), [n, 2]), tf.zeros([n, 1])], 1);
  const before = tf.memory().numTensors;
  const solved = await conjugateGradients(A, tf.matMul(A, X));
  assertEquals(tf.memory().numTensors, before + 2); // the solution, and B made above
  const error = tf.max(tf.abs(tf.sub(solved, X)));
  assert((await error.data())[0] < 1e-3);
});

eachBackend(
  "What an affine refit leaves is orthogonal to the codes and has mean zero",
  async () => {
    const [store, sae] = [world(), dictionary()];
    const refit = await affineRefit(store, sae, { ridge: 0 });
    const x = await store.split("train").rows(0, tokens);
    const { codes, residual } = codesAndResidual(sae, x, k);
    const left = tf.sub(residual, refit.predict(codes)) as tf.Tensor2D;
    const dots = tf.matMul(scatterRows(codes, dSae), left, true);
    const norms = [await tf.norm(dots).data(), await tf.norm(residual).data()];
    assert(norms[0][0] < 1e-3 * norms[1][0], `${norms[0][0]} of ${norms[1][0]}`);
    for (const mean of await tf.mean(left, 0).data()) assertAlmostEquals(mean, 0, 1e-4);
  },
);

for (const ridge of [0, 0.5]) {
  eachBackend(
    `Codes alone give the map that the matrix gives, with a ridge of ${ridge}`,
    async () => {
      const [store, sae] = [world(), dictionary()];
      const byMatrix = await affineRefit(store, sae, { ridge, method: "matrix" });
      const before = tf.memory().numTensors;
      const byCodes = await affineRefit(store, sae, { ridge, method: "codes" });
      assertEquals(tf.memory().numTensors, before + 2); // W and b
      for (const name of ["W", "b"] as const) {
        const [a, b] = [byMatrix, byCodes].map(({ weights }) => weights[name]!);
        const [difference] = await tf.norm(tf.sub(a, b)).data();
        const [size] = await tf.norm(a).data();
        assert(difference < 1e-3 * size, `${name}: ${difference} of ${size}`);
      }
    },
  );
}

Deno.test("The linear-only model by Adam arrives at the closed form", async () => {
  await openDevice();
  const [store, sae] = [world(), dictionary()];
  const refit = await affineRefit(store, sae, { ridge: 0 });
  const { nfm } = await trainNfm(store, sae, {
    parts: "linear",
    steps: 400,
    batchSize: 200,
    learningRate: 3e-2,
    cache: false,
  });
  const measured = await evaluate(store, { split: "train", sae }, {
    sae: ({ reconstruction }) => reconstruction!,
    closed: ({ reconstruction, codes }) =>
      tf.add(reconstruction!, refit.predict(codes!)) as tf.Tensor2D,
    adam: ({ reconstruction, codes }) =>
      tf.add(reconstruction!, nfm.predict(codes!)) as tf.Tensor2D,
  });
  const { sae: base, closed, adam } = measured;
  assert(closed.fvu < 0.8 * base.fvu, `${base.fvu} to ${closed.fvu}`);
  // Least squares is the optimum on its own data: Adam comes close and never below.
  assert(
    adam.fvu >= closed.fvu - 1e-6 && adam.fvu < 1.01 * closed.fvu,
    `${adam.fvu} ${closed.fvu}`,
  );
});

Deno.test("A ridge shrinks the map, and a feature that never fires gets nothing", async () => {
  await openDevice();
  const [store, sae] = [world(), dictionary()];
  const silenced = new Sae(sae.config, {
    W_enc: sae.W_enc,
    b_enc: tf.add(sae.b_enc, tf.tensor1d([-100, ...Array(dSae - 1).fill(0)])) as tf.Tensor1D,
    W_dec: sae.W_dec,
    b_dec: sae.b_dec,
  });
  const norm = async (ridge: number) => {
    const { weights } = await affineRefit(store, silenced, { ridge });
    const rows = await tf.norm(weights.W!, 2, 1).data<"float32">();
    assertEquals(rows[0], 0);
    return rows.reduce((all, row) => all + row, 0);
  };
  assert(await norm(1) < 0.8 * await norm(0));
});

Deno.test("A dictionary of many features is refitted without a matrix of their pairs", async () => {
  await openDevice();
  const [store, wide] = [world(), 20_000];
  const rng = new Rng(4, "wide");
  const sae = new Sae({ architecture: "topk", dIn, dSae: wide, k }, {
    W_enc: tf.tensor2d(rng.normals(dIn * wide, 1), [dIn, wide]),
    b_enc: tf.zeros([wide]),
    W_dec: tf.tensor2d(rng.normals(wide * dIn, 0.3), [wide, dIn]),
    b_dec: tf.zeros([dIn]),
  });
  const refit = await affineRefit(store, sae);
  const measured = await evaluate(store, { split: "train", sae }, {
    before: ({ reconstruction }) => reconstruction!,
    after: ({ reconstruction, codes }) =>
      tf.add(reconstruction!, refit.predict(codes!)) as tf.Tensor2D,
  });
  assert(measured.after.fvu < 0.5 * measured.before.fvu, JSON.stringify(measured.after.fvu));
});

Deno.test("An affine refit refuses a ridge below 0", async () => {
  await openDevice();
  const [store, sae] = [world(), dictionary()];
  await assertRejects(() => affineRefit(store, sae, { ridge: -1 }), RangeError, "ridge of -1");
});
