import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { type SaeWeights, standardLoss, topkLoss } from "../../lib/dictionary/mod.ts";
import { Rng, tf, topK, valueAndGrads } from "../../lib/tensor/mod.ts";
import type { Params, StepResult } from "../../lib/training/mod.ts";
import { eachBackend } from "../backends.ts";

const [tokens, dIn, dSae] = [7, 5, 11];

function problem(seed = 0): { weights: SaeWeights; x: tf.Tensor2D } {
  const rng = new Rng(seed, "losses");
  const draw = <T extends tf.Tensor>(shape: number[], std: number) =>
    tf.tensor(rng.normals(shape.reduce((a, b) => a * b), std), shape) as T;
  return {
    weights: {
      W_enc: draw([dIn, dSae], 0.6),
      b_enc: draw([dSae], 0.3),
      W_dec: draw([dSae, dIn], 0.6),
      b_dec: draw([dIn], 0.5),
    },
    x: draw([tokens, dIn], 1),
  };
}

/** The definition, left to automatic differentiation. */
function reference(
  weights: SaeWeights,
  x: tf.Tensor2D,
  code: (pre: tf.Tensor2D) => tf.Tensor2D,
  penalty: (f: tf.Tensor2D, params: SaeWeights, error: tf.Tensor2D, pre: tf.Tensor2D) => tf.Tensor,
) {
  return valueAndGrads({ ...weights }, (params) => {
    const p = params as unknown as SaeWeights;
    const pre = tf.add(tf.matMul(tf.sub(x, p.b_dec), p.W_enc), p.b_enc) as tf.Tensor2D;
    const f = code(pre);
    const error = tf.sub(tf.add(tf.matMul(f, p.W_dec), p.b_dec), x) as tf.Tensor2D;
    const squared = tf.div(tf.sum(tf.square(error)), tokens);
    return { loss: tf.add(squared, penalty(f, p, error, pre)) as tf.Scalar };
  });
}

async function assertSameGradients(hand: StepResult, auto: { loss: tf.Scalar; grads: Params }) {
  const [loss] = await auto.loss.data();
  assertAlmostEquals((await hand.scalars.loss.data())[0], loss, 1e-5 * Math.abs(loss));
  for (const name of ["W_enc", "b_enc", "W_dec", "b_dec"]) {
    const [ours, theirs] = [
      await hand.grads[name].data<"float32">(),
      await auto.grads[name].data<"float32">(),
    ];
    const largest = theirs.reduce((all, value) => Math.max(all, Math.abs(value)), 0);
    assert(largest > 1e-3, `${name} has a gradient`);
    ours.forEach((value, i) => assertAlmostEquals(value, theirs[i], 2e-5 * largest, name));
  }
}

/** 1 where an entry of a row is among its k largest, as data without a gradient. */
async function largestMask(pre: tf.Tensor2D, k: number): Promise<tf.Tensor2D> {
  const indices = await topK(pre, k).indices.data();
  const mask = new Float32Array(pre.size);
  indices.forEach((feature, i) => mask[Math.floor(i / k) * pre.shape[1] + feature] = 1);
  return tf.tensor2d(mask, [pre.shape[0], pre.shape[1]]);
}

eachBackend("The gradients of the ReLU dictionary are those of its loss", async () => {
  const { weights, x } = problem();
  const l1Coefficient = 0.3;
  const auto = reference(weights, x, (pre) => tf.relu(pre), (f, p) => {
    const norms = tf.sqrt(tf.sum(tf.square(p.W_dec), 1));
    return tf.mul(l1Coefficient / tokens, tf.sum(tf.mul(f, norms)));
  });
  await assertSameGradients(standardLoss(weights, x, { l1Coefficient }), auto);
  // The default is a graph where TensorFlow runs on a CPU.
  await assertSameGradients(standardLoss(weights, x, { l1Coefficient, path: "ops" }), auto);
});

eachBackend("A step as a graph reports what the same step op by op reports", async () => {
  const { weights, x } = problem(5);
  const [graph, ops] = [undefined, "ops" as const].map((path) =>
    standardLoss(weights, x, { l1Coefficient: 0.3, path }).scalars
  );
  assertEquals(Object.keys(graph), Object.keys(ops));
  for (const name of Object.keys(ops)) {
    const [[a], [b]] = [await graph[name].data(), await ops[name].data()];
    assertAlmostEquals(a, b, 1e-5 * Math.abs(b), name);
  }
});

for (const path of ["dense", "sparse"] as const) {
  eachBackend(`The ${path} gradients of the TopK dictionary are those of its loss`, async () => {
    const { weights, x } = problem(1);
    const k = 3;
    const pre = tf.add(tf.matMul(tf.sub(x, weights.b_dec), weights.W_enc), weights.b_enc);
    const mask = await largestMask(pre as tf.Tensor2D, k);
    const auto = reference(
      weights,
      x,
      (pre) => tf.mul(tf.relu(pre), mask),
      () => tf.scalar(0),
    );
    await assertSameGradients(topkLoss(weights, x, { k, path }), auto);
  });

  eachBackend(
    `The ${path} gradients of the auxiliary loss are those of its definition`,
    async () => {
      const { weights, x } = problem(2);
      const [k, auxK, auxCoefficient] = [2, 2, 0.7];
      const dead = Int32Array.of(1, 4, 6, 9);
      const pre = tf.add(
        tf.matMul(tf.sub(x, weights.b_dec), weights.W_enc),
        weights.b_enc,
      ) as tf.Tensor2D;
      const mask = await largestMask(pre, k);
      const among = tf.gather(tf.relu(pre), tf.tensor1d(dead, "int32"), 1) as tf.Tensor2D;
      const auxMask = await largestMask(among, auxK);
      // The residual is a constant of the auxiliary loss: computed before, outside of the gradient.
      const live = tf.mul(tf.relu(pre), mask) as tf.Tensor2D;
      const residual = tf.sub(x, tf.add(tf.matMul(live, weights.W_dec), weights.b_dec));
      const auto = reference(weights, x, (pre) => tf.mul(tf.relu(pre), mask), (_f, p, _e, pre) => {
        // A product with one-hot rows: the gradient of gather is missing on wasm.
        const chosen = tf.cast(tf.oneHot(tf.tensor1d(dead, "int32"), dSae), "float32");
        const f = tf.mul(tf.matMul(tf.relu(pre), chosen, false, true), auxMask) as tf.Tensor2D;
        const estimate = tf.matMul(f, tf.matMul(chosen, p.W_dec));
        return tf.mul(auxCoefficient / tokens, tf.sum(tf.squaredDifference(estimate, residual)));
      });
      const hand = topkLoss(weights, x, { k, dead, auxK, auxCoefficient, path });
      await assertSameGradients(hand, auto);
    },
  );
}

eachBackend("Finite differences agree with the gradients of both losses", async () => {
  for (
    const step of [
      (w: SaeWeights, x: tf.Tensor2D) => standardLoss(w, x, { l1Coefficient: 0.3 }),
      (w: SaeWeights, x: tf.Tensor2D) => topkLoss(w, x, { k: 3 }),
    ]
  ) {
    const { weights, x } = problem(3);
    const { grads } = step(weights, x);
    for (const name of ["W_enc", "b_enc", "W_dec", "b_dec"] as const) {
      const tensor = weights[name];
      const direction = new Rng(4, name).normals(tensor.size, 1);
      const lossAt = async (h: number) => {
        const moved = tf.add(tensor, tf.mul(tf.tensor(direction, tensor.shape), h));
        return (await step({ ...weights, [name]: moved }, x).scalars.loss.data())[0];
      };
      const h = 1e-3;
      const numeric = (await lossAt(h) - await lossAt(-h)) / (2 * h);
      const gradient = await grads[name].data<"float32">();
      const exact = gradient.reduce((all, g, i) => all + g * direction[i], 0);
      // Float32 losses of order 10 leave an error of 10 · 6e-8 / 1e-3; curvature leaves h².
      assertAlmostEquals(numeric, exact, 5e-3 * Math.max(1, Math.abs(exact)), name);
    }
  }
});

eachBackend("A step of either loss leaves only what it returns", () => {
  const { weights, x } = problem();
  const before = tf.memory().numTensors;
  const standard = standardLoss(weights, x, { l1Coefficient: 1 });
  tf.dispose([standard.grads, standard.scalars]);
  assertEquals(tf.memory().numTensors, before);
  const dead = Int32Array.of(0, 3);
  const { grads, scalars, codes } = topkLoss(weights, x, { k: 2, dead, auxK: 1 });
  tf.dispose([grads, scalars]);
  tf.dispose([codes.indices, codes.values]);
  assertEquals(tf.memory().numTensors, before);
});
