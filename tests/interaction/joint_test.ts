import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { Sae, trainSae } from "../../lib/dictionary/mod.ts";
import { jointLoss, trainJoint, trainNfm } from "../../lib/interaction/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import type { Params } from "../../lib/training/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch } from "../files/scratch.ts";
import { directions, memoryStore } from "../planted.ts";

const [tokens, dIn, dSae, K, k, topN] = [5, 4, 7, 3, 3, 2];
const options = { k, topN, scales: { code: 1.3, target: 0.6 } };

function paramsOf(head: "linear" | "relu"): Params {
  const shapes: Record<string, number[]> = {
    ...{ W_enc: [dIn, dSae], b_enc: [dSae], W_dec: [dSae, dIn], b_dec: [dIn] },
    ...{ b: [dIn], W: [dSae, dIn], V: [dSae, K] },
    ...head === "linear" ? { C: [K, dIn] } : { W1: [K, K], b1: [K], W2: [K, dIn] },
  };
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const count = shape.reduce((a, b) => a * b);
      return [name, tf.tensor(new Rng(1, name).normals(count, 0.6), shape)];
    }),
  );
}

const x = () => tf.tensor2d(new Rng(2, "x").normals(tokens * dIn, 1), [tokens, dIn]);

eachBackend("The gradient of the joint loss passes through the codes", async () => {
  for (const head of ["linear", "relu"] as const) {
    const params = paramsOf(head);
    const before = tf.memory().numTensors;
    const input = x();
    const { grads, scalars } = jointLoss(params, input, options);
    assertEquals(tf.memory().numTensors, before + 2 + Object.keys(grads).length);
    for (const [name, tensor] of Object.entries(params)) {
      const direction = new Rng(3, name).normals(tensor.size, 1);
      const lossAt = async (h: number) => {
        const moved = tf.add(tensor, tf.mul(tf.tensor(direction, tensor.shape), h));
        const step = jointLoss({ ...params, [name]: moved }, input, options);
        return (await step.scalars.loss.data())[0];
      };
      const h = 1e-3;
      const numeric = (await lossAt(h) - await lossAt(-h)) / (2 * h);
      const gradient = await grads[name].data<"float32">();
      const exact = gradient.reduce((all, g, i) => all + g * direction[i], 0);
      assertAlmostEquals(numeric, exact, 1e-2 * Math.max(1, Math.abs(exact)), name);
    }
    tf.dispose(scalars);
  }
});

/** Eight features in six dimensions, and two products. */
function world() {
  const [features, products] = [directions(8, 6, 1), directions(2, 6, 2)];
  return memoryStore(6, { train: 4000, validation: 1000, test: 20 }, (rng) => {
    const a = features.map(() => rng.uniform() < 0.25 ? 1 + 0.25 * rng.uniform() : 0);
    const row = new Float64Array(6);
    features.forEach((g, i) => g.forEach((value, j) => row[j] += a[i] * value));
    products.forEach((u, m) => u.forEach((value, j) => row[j] += a[2 * m] * a[2 * m + 1] * value));
    return row;
  });
}

Deno.test("Trained together, both explain more than one after the other", async () => {
  await openDevice();
  const store = world();
  const shape = { architecture: "topk", dSae: 8, k: 3 } as const;
  const { sae } = await trainSae(store, { ...shape, steps: 600, batchSize: 256 }, { cache: false });
  const config = { K: 8, steps: 600, batchSize: 256, learningRate: 3e-3, cache: false };
  const before = tf.memory().numTensors;
  const apart = await trainNfm(store, sae, config);
  const together = await trainJoint(store, sae, config);
  assert(
    together.metrics.fvu < 0.9 * apart.metrics.fvu,
    `together ${together.metrics.fvu}, apart ${apart.metrics.fvu}`,
  );
  apart.nfm.dispose();
  together.nfm.dispose();
  together.sae.dispose();
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("A joint training is kept and loaded, both parts with the same numbers", async () => {
  await openDevice();
  const store = world();
  const shape = { architecture: "topk", dSae: 8, k: 3 } as const;
  const { sae } = await trainSae(store, { ...shape, steps: 20, batchSize: 64 }, { cache: false });
  await inScratch(async (cache) => {
    const config = { K: 4, steps: 10, batchSize: 64, cache };
    const first = await trainJoint(store, sae, config);
    let steps = 0;
    const again = await trainJoint(store, sae, { ...config, onStep: () => steps++ });
    assertEquals([steps, again.metrics], [0, first.metrics]);
    const input = await store.split("test").rows(0, 20);
    const [a, b] = await Promise.all(
      [first, again].map(({ sae, nfm }) =>
        tf.add(sae.reconstruct(input), nfm.predict(sae.encodeSparse(input))).data()
      ),
    );
    a.forEach((value, i) => assertAlmostEquals(value, b[i], 1e-5));
  });
});

Deno.test("A dictionary whose codes have no k is refused", async () => {
  await openDevice();
  const store = world();
  const sae = new Sae({ architecture: "standard", dIn: 6, dSae: 8 }, {
    W_enc: tf.zeros([6, 8]),
    b_enc: tf.zeros([8]),
    W_dec: tf.zeros([8, 6]),
    b_dec: tf.zeros([6]),
  });
  await assertRejects(() => trainJoint(store, sae, { steps: 1 }), RangeError, 'expected "topk"');
});
