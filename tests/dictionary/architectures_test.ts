import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  batchTopkLoss,
  gatedLoss,
  jumpReluLoss,
  keepBatchTopK,
  matryoshkaLoss,
  type SaeWeights,
  standardLoss,
} from "../../lib/dictionary/mod.ts";
import { Rng, tf, valueAndGrads } from "../../lib/tensor/mod.ts";
import type { Params, StepResult } from "../../lib/training/mod.ts";
import { eachBackend } from "../backends.ts";

const [tokens, dIn, dSae, dOut] = [7, 5, 11, 3];

type Tensors = Record<string, tf.Tensor2D & tf.Tensor1D>;

function draw<T extends tf.Tensor>(name: string, shape: number[], std: number): T {
  const size = shape.reduce((a, b) => a * b);
  return tf.tensor(new Rng(0, name).normals(size, std), shape) as T;
}

/** Weights of an autoencoder, or of a transcoder with a skip connection. */
function problem(width = dIn) {
  const weights = {
    W_enc: draw<tf.Tensor2D>("W_enc", [dIn, dSae], 0.6),
    b_enc: draw<tf.Tensor1D>("b_enc", [dSae], 0.3),
    W_dec: draw<tf.Tensor2D>("W_dec", [dSae, width], 0.6),
    b_dec: draw<tf.Tensor1D>("b_dec", [width], 0.5),
    ...width !== dIn && { W_skip: draw<tf.Tensor2D>("W_skip", [width, dIn], 0.5) },
  };
  const x = draw<tf.Tensor2D>("x", [tokens, dIn], 1);
  return { weights, x, target: draw<tf.Tensor2D>("y", [tokens, dOut], 1) };
}

/** `(x − b_dec) W_enc`, without the bias. */
const encoded = (x: tf.Tensor2D, p: Tensors) => tf.matMul(tf.sub(x, p.b_dec), p.W_enc);

/** Mean over tokens of ‖f W_dec + b_dec − y‖². */
const squaredError = (f: tf.Tensor, y: tf.Tensor, W_dec: tf.Tensor2D, b_dec: tf.Tensor) =>
  tf.div(tf.sum(tf.square(tf.sub(tf.add(tf.matMul(f as tf.Tensor2D, W_dec), b_dec), y))), tokens);

const norms = (W_dec: tf.Tensor) => tf.sqrt(tf.sum(tf.square(W_dec), 1));

/** What automatic differentiation makes of a definition. */
const automatic = (weights: SaeWeights, loss: (params: Tensors) => tf.Tensor) =>
  valueAndGrads({ ...weights } as unknown as Params, (params) => ({
    loss: loss(params as Tensors) as tf.Scalar,
  }));

async function assertSame(hand: StepResult, auto: { loss: tf.Scalar; grads: Params }) {
  const [loss] = await auto.loss.data();
  assertAlmostEquals((await hand.scalars.loss.data())[0], loss, 1e-5 * Math.abs(loss));
  for (const name of Object.keys(auto.grads)) {
    const ours = await hand.grads[name].data<"float32">();
    const theirs = await auto.grads[name].data<"float32">();
    const largest = theirs.reduce((all, value) => Math.max(all, Math.abs(value)), 0);
    assert(largest > 1e-4, `${name} has a gradient`);
    ours.forEach((value, i) => assertAlmostEquals(value, theirs[i], 3e-5 * largest, name));
  }
}

/** 1 where an entry is not 0, as data without a gradient. */
const support = (f: tf.Tensor) => tf.tidy(() => tf.cast(tf.notEqual(f, 0), "float32"));

eachBackend(
  "The study's loss is a mean over elements and features, without a decoder bias",
  async () => {
    const { weights: { W_enc, b_enc, W_dec }, x } = problem();
    const none = tf.zeros<tf.Rank.R1>([dIn]);
    const weights = { W_enc, b_enc, W_dec, b_dec: none };
    const hand = standardLoss(weights, x, { l1Coefficient: 1, faithful: true });
    assertEquals(hand.grads.b_dec, undefined);
    const auto = valueAndGrads({ W_enc, b_enc, W_dec }, (given) => {
      const p = given as Tensors;
      const f = tf.relu(tf.add(tf.matMul(x, p.W_enc), p.b_enc)) as tf.Tensor2D;
      const mse = tf.mean(tf.square(tf.sub(tf.matMul(f, p.W_dec), x)));
      return { loss: tf.add(mse, tf.mean(tf.mul(f, norms(p.W_dec)))) as tf.Scalar };
    });
    await assertSame(hand, auto);
  },
);

eachBackend("The gradients of a skip transcoder are those of its loss", async () => {
  const { weights, x, target } = problem(dOut);
  const auto = automatic(weights, (p) => {
    const f = tf.relu(tf.add(tf.matMul(x, p.W_enc), p.b_enc));
    const rest = tf.sub(target, tf.matMul(x, p.W_skip, false, true));
    const penalty = tf.div(tf.sum(tf.mul(f, norms(p.W_dec))), tokens);
    return tf.add(squaredError(f, rest, p.W_dec, p.b_dec), tf.mul(0.3, penalty));
  });
  await assertSame(standardLoss(weights, x, { l1Coefficient: 0.3, target }), auto);
});

eachBackend("The gradients of the gated dictionary are those of its loss", async () => {
  const { weights, x } = problem();
  const gated = {
    ...weights,
    r_mag: draw<tf.Tensor1D>("r_mag", [dSae], 0.3),
    b_mag: draw<tf.Tensor1D>("b_mag", [dSae], 0.3),
  };
  const gate = (p: Tensors) => tf.relu(tf.add(encoded(x, p), p.b_enc));
  const open = support(gate(gated as unknown as Tensors));
  const [W_dec, b_dec] = [tf.clone(weights.W_dec), tf.clone(weights.b_dec)];
  const auto = automatic(gated, (p) => {
    const magnitude = tf.relu(tf.add(tf.mul(encoded(x, p), tf.exp(p.r_mag)), p.b_mag));
    const main = squaredError(tf.mul(magnitude, open), x, p.W_dec, p.b_dec);
    const penalty = tf.div(tf.sum(tf.mul(gate(p), norms(p.W_dec))), tokens);
    // The decoder of the last term is a constant.
    const frozen = squaredError(gate(p), x, W_dec, b_dec);
    return tf.addN([main, tf.mul(0.3, penalty), frozen]);
  });
  await assertSame(gatedLoss(gated, x, { l1Coefficient: 0.3 }), auto);
});

eachBackend("The gradients of BatchTopK are those of its loss on what stays", async () => {
  const { weights, x } = problem();
  const k = 2.5;
  const relu = (p: Tensors) => tf.relu(tf.add(encoded(x, p), p.b_enc)) as tf.Tensor2D;
  const { f } = keepBatchTopK(relu(weights as unknown as Tensors), Math.round(k * tokens));
  const stays = support(f);
  const auto = automatic(weights, (p) => squaredError(tf.mul(relu(p), stays), x, p.W_dec, p.b_dec));
  const hand = batchTopkLoss(weights, x, { k });
  await assertSame(hand, auto);
  assertAlmostEquals((await hand.scalars.l0.data())[0], Math.round(k * tokens) / tokens, 1e-6);
  assertEquals([...await hand.fired.data()], [...await tf.sum(stays, 0).data()]);
});

eachBackend(
  "The gradients of Matryoshka are those of all its prefixes, dead features included",
  async () => {
    const { weights, x } = problem();
    const [k, widths, dead] = [3, [2, 5, dSae], Int32Array.of(1, 6, 9)];
    const relu = (p: Tensors) => tf.relu(tf.add(encoded(x, p), p.b_enc)) as tf.Tensor2D;
    const { f } = keepBatchTopK(relu(weights as unknown as Tensors), k * tokens);
    const stays = support(f);
    const upTo = (width: number) =>
      tf.tensor1d(Array.from({ length: dSae }, (_, i) => i < width ? 1 : 0));
    const residual = tf.sub(x, tf.add(tf.matMul(f, weights.W_dec), weights.b_dec));
    const isDead = tf.tensor1d(Array.from({ length: dSae }, (_, i) => dead.includes(i) ? 1 : 0));
    const auto = automatic(weights, (p) => {
      const code = tf.mul(relu(p), stays);
      const nested = widths.map((width) =>
        squaredError(tf.mul(code, upTo(width)), x, p.W_dec, p.b_dec)
      );
      const zeros = tf.zeros([dIn]);
      const aux = squaredError(tf.mul(relu(p), isDead), residual, p.W_dec, zeros);
      return tf.add(tf.addN(nested), tf.mul(0.7, aux));
    });
    const options = { k, widths, dead, auxK: 3, auxCoefficient: 0.7 };
    await assertSame(matryoshkaLoss(weights, x, options), auto);
  },
);

eachBackend(
  "Finite differences agree with the gradients of the encoder and the decoder",
  async () => {
    const { weights, x } = problem();
    const jumping = { ...weights, threshold: tf.abs(draw<tf.Tensor1D>("θ", [dSae], 0.5)) };
    const dead = Int32Array.of(2, 3);
    const options = { l0Coefficient: 0.3, bandwidth: 0.1, dead, preActCoefficient: 0.5 };
    const { grads } = jumpReluLoss(jumping, x, options);
    for (const name of ["W_enc", "b_enc", "W_dec", "b_dec"] as const) {
      const tensor = weights[name];
      const direction = new Rng(4, name).normals(tensor.size, 1);
      const lossAt = async (h: number) => {
        const moved = tf.add(tensor, tf.mul(tf.tensor(direction, tensor.shape), h));
        const { scalars } = jumpReluLoss({ ...jumping, [name]: moved }, x, options);
        return (await scalars.loss.data())[0];
      };
      // Small enough that no pre-activation crosses its threshold.
      const h = 1e-3;
      const numeric = (await lossAt(h) - await lossAt(-h)) / (2 * h);
      const gradient = await grads[name].data<"float32">();
      const exact = gradient.reduce((all, g, i) => all + g * direction[i], 0);
      // Float32 losses of order 10 leave an error of 10 · 6e-8 / 1e-3; curvature leaves h².
      assertAlmostEquals(numeric, exact, 5e-3 * Math.max(1, Math.abs(exact)), name);
    }
  },
);

eachBackend("BatchTopK gives features to the tokens that need them", async () => {
  const x = tf.tensor2d([[9, 8, 7, 0], [1, 2, 0, 0]]);
  const { f, least } = keepBatchTopK(x, 4);
  assertEquals([...await f.data()], [9, 8, 7, 0, 0, 2, 0, 0]);
  assertEquals([...await least.data()], [2]);
  // Fewer are above 0 than there is room for.
  const all = keepBatchTopK(x, 7);
  assertEquals([...await all.f.data()], [...await x.data()]);
  assertEquals([...await all.least.data()], [1]);
  assertEquals([...await keepBatchTopK(tf.zeros([2, 2]), 2).least.data()], [Infinity]);
});

eachBackend("A step of any loss leaves only what it returns", () => {
  const { weights, x } = problem();
  const zeros = () => tf.zeros<tf.Rank.R1>([dSae]);
  const more = { ...weights, threshold: zeros(), r_mag: zeros(), b_mag: zeros() };
  const dead = Int32Array.of(0, 3);
  const before = tf.memory().numTensors;
  for (
    const { grads, scalars, fired } of [
      standardLoss(weights, x, { l1Coefficient: 1 }) as StepResult & { fired?: tf.Tensor1D },
      gatedLoss(more, x, { l1Coefficient: 1 }) as StepResult & { fired?: tf.Tensor1D },
      jumpReluLoss(more, x, { l0Coefficient: 1, bandwidth: 1, dead, preActCoefficient: 1 }),
      matryoshkaLoss(weights, x, { k: 2, widths: [3, dSae], dead, auxK: 1 }),
    ]
  ) tf.dispose([grads, scalars, fired ?? []] as tf.TensorContainer);
  assertEquals(tf.memory().numTensors, before);
});
