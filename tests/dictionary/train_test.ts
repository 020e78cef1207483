import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  Sae,
  type SaeTrainingConfig,
  type SaeWeights,
  topkLoss,
  trainResidualSae,
  trainSae,
} from "../../lib/dictionary/mod.ts";
import { DensityMeter, FvuMeter } from "../../lib/metrics/mod.ts";
import { openDevice, type Rng, tf } from "../../lib/tensor/mod.ts";
import { fit } from "../../lib/training/mod.ts";
import { eachBackend } from "../backends.ts";
import { directions, memoryStore } from "../planted.ts";
import { inScratch } from "../files/scratch.ts";

const d = 16;
const sizes = { train: 2000, validation: 400, test: 200 };
const features = directions(24, d, 7);

/** Sparse sums of 24 directions in 16 dimensions, off centre. */
function sparseWorld(extra: (rng: Rng, row: Float64Array) => void = () => {}) {
  return memoryStore(d, sizes, (rng) => {
    const row = new Float64Array(d).fill(0.5);
    for (const feature of features) {
      if (rng.uniform() > 0.08) continue;
      const amount = 2 + rng.uniform();
      feature.forEach((value, i) => row[i] += amount * value);
    }
    extra(rng, row);
    return row;
  });
}

const topk: SaeTrainingConfig = {
  architecture: "topk",
  dSae: 32,
  k: 3,
  steps: 200,
  batchSize: 128,
  learningRate: 1e-2,
};
const relu: SaeTrainingConfig = { ...topk, architecture: "standard", k: undefined };
const short = (config: SaeTrainingConfig) => ({ ...config, steps: 8, batchSize: 64 });

Deno.test("A TopK dictionary learns sparse features on held-out documents", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const { sae, metrics, history, stopped } = await trainSae(sparseWorld(), topk, { cache: false });
  assert(metrics.fvu < 0.15, `FVU ${metrics.fvu}`);
  assert(metrics.l0! > 1 && metrics.l0! <= 3, `L0 ${metrics.l0}`);
  assertEquals([metrics.tokens, stopped, history.at(-1)!.step], [sizes.validation, false, 200]);
  const squares = tf.tidy(() => tf.sum(tf.square(sae.W_dec), 1));
  const norms = await squares.data<"float32">();
  assert(norms.every((norm) => Math.abs(norm - 1) < 1e-5), "decoder rows have norm 1");
  tf.dispose(squares);
  sae.dispose();
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("A ReLU dictionary learns, and a larger penalty makes it sparser", async () => {
  await openDevice();
  const dense = await trainSae(sparseWorld(), { ...relu, l1Coefficient: 0.1 }, { cache: false });
  const sparse = await trainSae(sparseWorld(), { ...relu, l1Coefficient: 2 }, { cache: false });
  assert(dense.metrics.fvu < 0.1, `FVU ${dense.metrics.fvu}`);
  assert(sparse.metrics.l0! < 0.7 * dense.metrics.l0!, `${sparse.metrics.l0} ${dense.metrics.l0}`);
  assert(sparse.metrics.fvu > dense.metrics.fvu);
});

Deno.test("The auxiliary loss revives features that have no gradient without it", async () => {
  await openDevice();
  // 12 features are known. 12 more are in the data, and their slots see it so faintly that they are
  // never among the k largest: without the auxiliary loss nothing can move them.
  const store = sparseWorld().split("train");
  const dead = Int32Array.from({ length: 12 }, (_, i) => 12 + i);
  const fired = async (auxCoefficient: number) => {
    const { adam } = await fit<tf.Tensor2D>({
      label: "Revival",
      schedule: { learningRate: 1e-2, steps: 100 },
      parameters: () => {
        const W_dec = tf.tensor2d(features.map((feature) => [...feature]));
        const sight = tf.tensor2d(features.map((_, i) => i < 12 ? 1 : 1e-3), [1, 24]);
        return {
          W_enc: tf.mul(tf.transpose(W_dec), sight),
          b_enc: tf.tensor1d(features.map((_, i) => i < 12 ? 0.5 : 1e-3)),
          W_dec,
          b_dec: tf.fill([d], 0.5),
        };
      },
      batch: (step) => store.shuffledBatch(step, 128, 0),
      loss: (_, params, x) => {
        const weights = params as unknown as SaeWeights;
        const { grads, scalars, codes } = topkLoss(weights, x, { k: 3, dead, auxCoefficient });
        tf.dispose([codes.indices, codes.values]);
        return { grads, scalars };
      },
    });
    const weights = adam.values as unknown as SaeWeights;
    const sae = new Sae({ architecture: "topk", dIn: d, dSae: 24, k: 3 }, weights);
    const meter = new DensityMeter(24);
    await meter.update(sae.encodeSparse(store.rows(0, 1000)));
    return meter.counts.slice(12).filter((count) => count > 10).length;
  };
  const [without, withAux] = [await fired(0), await fired(1 / 32)];
  assert(without < 3 && withAux > 6, `${without} of 12 without, ${withAux} with`);
});

Deno.test("A secondary dictionary reduces the residual where two dictionaries made the data", async () => {
  await openDevice();
  const weak = directions(12, d, 11);
  const store = sparseWorld((rng, row) => {
    const feature = weak[rng.integer(weak.length)];
    feature.forEach((value, i) => row[i] += 0.5 * value);
  });
  const first = await trainSae(store, topk, { cache: false });
  const second = await trainResidualSae(store, first.sae, { ...topk, cache: false });
  const test = store.split("test");
  const x = test.rows(0, test.tokens);
  const one = first.sae.reconstruct(x);
  const two = tf.add(one, second.sae.reconstruct(tf.sub(x, one))) as tf.Tensor2D;
  const fvu = async (reconstruction: tf.Tensor2D) => {
    const meter = new FvuMeter(d);
    await meter.update(x, reconstruction);
    return meter.fvu();
  };
  const [before, after] = [await fvu(one), await fvu(two)];
  assert(after < 0.6 * before, `${before} to ${after}`);
  const scale = second.sae.metadata.residualScale as number;
  assert(scale > 1, `the residual is smaller than the activations: ${scale}`);
});

async function bytes({ W_enc, b_enc, W_dec, b_dec }: Sae): Promise<number[]> {
  const weights = await Promise.all([W_enc, b_enc, W_dec, b_dec].map((t) => t.data()));
  return weights.flatMap((data) => [...new Uint32Array(data.buffer, data.byteOffset, data.length)]);
}

eachBackend("Stopping and going on gives the bytes of an uninterrupted training", async () => {
  const store = sparseWorld();
  for (const config of [short({ ...topk, deadAfterTokens: 128 }), short(relu)]) {
    await inScratch(async (cache) => {
      const whole = await trainSae(store, config, { cache: false });
      const stop = new AbortController();
      const half = await trainSae(store, config, {
        cache,
        signal: stop.signal,
        onStep: ({ step }) => step === 4 && stop.abort(),
      });
      assertEquals([half.stopped, half.history.at(-1)!.step], [true, 4]);
      const resumed = await trainSae(store, config, { cache });
      assertEquals([resumed.stopped, resumed.history.length], [false, 8]);
      assertEquals(await bytes(resumed.sae), await bytes(whole.sae));
      assertEquals(resumed.metrics, whole.metrics);
    });
  }
});

Deno.test("A complete training is loaded, an edited configuration trains anew", async () => {
  await openDevice();
  await inScratch(async (cache) => {
    const store = sparseWorld();
    let steps = 0;
    const options = { cache, onStep: () => steps++ };
    const first = await trainSae(store, short(topk), options);
    const again = await trainSae(store, short(topk), options);
    assertEquals(steps, 8);
    assertEquals(await bytes(again.sae), await bytes(first.sae));
    assertEquals([again.metrics, again.history], [first.metrics, first.history]);
    await trainSae(store, { ...short(topk), seed: 1 }, options);
    assertEquals(steps, 16);
    await trainResidualSae(store, first.sae, { ...short(topk), ...options });
    await trainResidualSae(store, again.sae, { ...short(topk), ...options });
    assertEquals(steps, 24);
  });
});

Deno.test("An impossible configuration is one RangeError before any work", async () => {
  await openDevice();
  const store = sparseWorld();
  const cases: [Partial<SaeTrainingConfig>, string][] = [
    [{ k: 0 }, "k = 0"],
    [{ k: 33 }, "k = 33 active features of 32"],
    [{ dSae: 0, k: 1 }, "dSae = 0"],
    [{ steps: -5 }, "-5 steps"],
    [{ batchSize: 2001 }, "batches of 2001 tokens: the training split has 2000"],
    [{ learningRate: -1 }, "learningRate of -1"],
    [{ auxCoefficient: -1 }, "auxCoefficient = -1"],
    [{ deadAfterTokens: 0 }, "deadAfterTokens = 0"],
    [{ architecture: "relu" as "topk" }, 'architecture "relu"'],
    [{ architecture: "standard", l1Coefficient: -2 }, "l1Coefficient = -2"],
  ];
  const before = tf.memory().numTensors;
  for (const [change, message] of cases) {
    await assertRejects(() => trainSae(store, { ...topk, ...change }), RangeError, message);
  }
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("Activations that are not finite stop a training before its first step", async () => {
  await openDevice();
  const store = sparseWorld();
  store.splits.train.rows[d * 1234] = NaN;
  await assertRejects(
    () => trainSae(store, topk, { cache: false }),
    Error,
    "step 1: the first 2000 activations of the training order have values that are not finite",
  );
});
