import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { Sae } from "../../lib/dictionary/mod.ts";
import {
  Nfm,
  type NfmConfig,
  requireDictionary,
  trainLadder,
  trainNfm,
} from "../../lib/interaction/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import type { TrainOptions } from "../../lib/dictionary/mod.ts";
import { eachBackend } from "../backends.ts";
import { directions, memoryStore } from "../planted.ts";
import { inScratch } from "../files/scratch.ts";

/**
 * x = Σ a_i e_i + Σ_pairs a_i a_j u + linear part w + noise: the first n dimensions are the code
 * itself, the last m hold what an exact dictionary of the first n leaves behind.
 */
const [n, m, sigma] = [12, 8, 0.05];
const pairs = [[0, 1], [2, 3], [4, 5], [0, 6], [7, 8]];
const products = directions(pairs.length, m, 3);
const linear = directions(n, m, 4);

function plantedWorld(withProducts: boolean, sizes = { train: 4000, validation: 1000, test: 100 }) {
  return memoryStore(n + m, sizes, (rng) => {
    const row = new Float64Array(n + m);
    for (let i = 0; i < n; i++) if (rng.uniform() < 0.3) row[i] = 1 + 0.25 * rng.uniform();
    for (let i = 0; i < n; i++) {
      linear[i].forEach((value, j) => row[n + j] += 0.3 * row[i] * value);
    }
    if (withProducts) {
      pairs.forEach(([a, b], p) =>
        products[p].forEach((value, j) => row[n + j] += row[a] * row[b] * value)
      );
    }
    for (let j = 0; j < m; j++) row[n + j] += sigma * rng.normal();
    return row;
  });
}

/** A dictionary that reads the code exactly and reconstructs nothing but the code. */
function oracle(): Sae {
  const eye = Array.from(
    { length: n },
    (_, i) => Array.from({ length: n + m }, (_, j) => +(i === j)),
  );
  const W_dec = tf.tensor2d(eye);
  return new Sae({ architecture: "topk", dIn: n + m, dSae: n, k: n }, {
    W_enc: tf.transpose(W_dec) as tf.Tensor2D,
    b_enc: tf.zeros([n]),
    W_dec,
    b_dec: tf.zeros([n + m]),
  });
}

const config: NfmConfig & TrainOptions = {
  K: 2 * pairs.length + 2,
  steps: 400,
  batchSize: 256,
  learningRate: 2e-2,
  embeddingStd: 0.3,
  cache: false,
};

/** Σ‖r − r̂‖² of a trained model over that of noise alone: 1 is as good as can be. */
function overNoise(metrics: { errorPercent: number }, floor: number): number {
  return metrics.errorPercent / floor;
}

/** Error % of a model that knows everything but the noise. */
async function noiseFloor(store: ReturnType<typeof plantedWorld>): Promise<number> {
  const validation = store.split("validation");
  const squares = tf.sum(tf.square(validation.rows(0, validation.tokens)));
  const [norm] = await squares.data();
  return 100 * sigma ** 2 * m * validation.tokens / norm;
}

Deno.test("Where products were planted, pairs reach the noise floor and a linear model cannot", async () => {
  await openDevice();
  const [store, sae] = [plantedWorld(true), oracle()];
  const floor = await noiseFloor(store);
  const before = tf.memory().numTensors;
  const both = await trainNfm(store, sae, config);
  const onlyLinear = await trainNfm(store, sae, { ...config, parts: "linear" });
  const onlyPairs = await trainNfm(store, sae, { ...config, parts: "interaction" });
  const [b, l, p] = [both, onlyLinear, onlyPairs].map(({ metrics }) => overNoise(metrics, floor));
  assert(b < 1.1, `both: ${b} times the noise`);
  assert(l > 5, `linear: ${l} times the noise`);
  // Pairs alone lack the linear part, linear alone the products.
  assert(p > 1.5 && p > b, `pairs: ${p} times the noise`);
  for (const { nfm } of [both, onlyLinear, onlyPairs]) nfm.dispose();
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("Where nothing but a linear map was planted, pairs add nothing", async () => {
  await openDevice();
  const [store, sae] = [plantedWorld(false), oracle()];
  const floor = await noiseFloor(store);
  const onlyLinear = await trainNfm(store, sae, { ...config, parts: "linear" });
  const both = await trainNfm(store, sae, config);
  const [l, b] = [onlyLinear, both].map(({ metrics }) => overNoise(metrics, floor));
  assert(l < 1.05, `linear: ${l} times the noise`);
  assert(b > 0.98 * l, `both: ${b} against ${l}: held-out pairs must not look better`);
});

Deno.test("The study's ReLU head with dropout finds the products too, less well", async () => {
  await openDevice();
  const [store, sae] = [plantedWorld(true), oracle()];
  const floor = await noiseFloor(store);
  const onlyLinear = await trainNfm(store, sae, { ...config, parts: "linear" });
  const relu = await trainNfm(store, sae, { ...config, head: "relu", K: 24, dropout: 0.05 });
  const [l, r] = [onlyLinear, relu].map(({ metrics }) => overNoise(metrics, floor));
  assert(r < 0.5 * l, `ReLU head ${r}, linear ${l} times the noise`);
});

Deno.test("Rows in use alone are updated and the products are found as well", async () => {
  await openDevice();
  const [store, sae] = [plantedWorld(true), oracle()];
  const floor = await noiseFloor(store);
  const rows = await trainNfm(store, sae, { ...config, updates: "rows" });
  const reached = overNoise(rows.metrics, floor);
  assert(reached < 1.1, `${reached} times the noise`);
  rows.nfm.dispose();
});

async function bytes(nfm: Nfm): Promise<number[]> {
  const all = Object.values(nfm.weights) as tf.Tensor[];
  const weights = await Promise.all(all.map((t) => t.data()));
  return weights.flatMap((data) => [...new Uint32Array(data.buffer, data.byteOffset, data.length)]);
}

Deno.test("Products of activations are found by a model of the activations themselves", async () => {
  await openDevice();
  // A dictionary that knows nothing: the residual is x, and its last element is a product.
  const store = memoryStore(3, { train: 2000, validation: 500, test: 20 }, (rng) => {
    const [a, b] = [rng.normal(), rng.normal()];
    return [a, b, a * b];
  });
  const none = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 1 }, {
    W_enc: tf.zeros([3, 2]),
    b_enc: tf.zeros([2]),
    W_dec: tf.zeros([2, 3]),
    b_dec: tf.zeros([3]),
  });
  const on = { ...config, input: "activations", K: 8, steps: 600 } as const;
  const { nfm, metrics } = await trainNfm(store, none, { ...on, parts: "interaction" });
  assertEquals([nfm.shape.dSae, nfm.shape.topN], [3, 3]);
  // Of three equal shares of variance, that of ab is explained, and a third of the others: E[a · ab²] = 1
  // and E[(ab²)²] = 3.
  assertAlmostEquals(metrics.fvu, 4 / 9, 0.08);
  await assertRejects(
    () => trainNfm(store, none, { ...on, topN: 2 }),
    RangeError,
    "activations are used whole",
  );
});

for (const updates of ["rows", "all"] as const) {
  const name = `Stopping and going on gives the bytes of an uninterrupted training (${updates})`;
  // WebGPU adds the gradients of a row in the order in which its threads finish.
  const except = updates === "rows" ? ["webgpu" as const] : [];
  eachBackend(name, () => stopsAndGoesOn(updates), { except });
}

async function stopsAndGoesOn(updates: "rows" | "all") {
  const store = plantedWorld(true, { train: 400, validation: 40, test: 40 });
  const sae = oracle();
  await inScratch(async (cache) => {
    const short = { ...config, steps: 8, batchSize: 32, dropout: 0.2, updates };
    const whole = await trainNfm(store, sae, short);
    const stop = new AbortController();
    const half = await trainNfm(store, sae, {
      ...short,
      cache,
      signal: stop.signal,
      onStep: ({ step }) => step === 4 && stop.abort(),
    });
    assertEquals([half.stopped, half.history.at(-1)!.step], [true, 4]);
    const resumed = await trainNfm(store, sae, { ...short, cache });
    assertEquals(await bytes(resumed.nfm), await bytes(whole.nfm));
    assertEquals(resumed.metrics, whole.metrics);
    let steps = 0;
    await trainNfm(store, sae, { ...short, cache, onStep: () => steps++ });
    assertEquals(steps, 0);
  });
}

Deno.test("An impossible configuration is one RangeError before any work", async () => {
  await openDevice();
  const store = plantedWorld(true, { train: 400, validation: 40, test: 40 });
  const sae = oracle();
  const cases: [Partial<NfmConfig>, string][] = [
    [{ K: 0 }, "K = 0"],
    [{ topN: n + 1 }, `topN = ${n + 1} active features of ${n}`],
    [{ topN: 0 }, "topN = 0"],
    [{ steps: -1 }, "-1 steps"],
    [{ batchSize: 401 }, "batches of 401 tokens: the training split has 400"],
    [{ dropout: 1 }, "share of 1"],
    [{ embeddingStd: -1 }, "embeddingStd = -1"],
    [{ input: "tokens" as "codes" }, 'on "tokens"'],
    [{ epsilon: -1 }, "epsilon = -1"],
    [{ updates: "some" as "rows" }, 'updates "some"'],
  ];
  const before = tf.memory().numTensors;
  for (const [change, message] of cases) {
    await assertRejects(() => trainNfm(store, sae, { ...config, ...change }), RangeError, message);
  }
  const few = new Sae({ ...sae.config, k: 2 }, sae);
  await assertRejects(
    () => trainNfm(store, few, { ...config, topN: 3 }),
    RangeError,
    "the dictionary has k = 2 a token",
  );
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("The trained ladder gains by pairs what was planted, and nothing where features bend", async () => {
  await openDevice();
  const climb = async (store: ReturnType<typeof plantedWorld>) => {
    const ladder = await trainLadder(store, oracle(), config);
    ladder.pairs.dispose();
    return ladder;
  };
  const { rungs, gain } = await climb(plantedWorld(true));
  assert(gain.low > 0.5 * rungs.R2.fvu, JSON.stringify(gain));
  assertAlmostEquals(gain.estimate, rungs.R2.fvu - rungs.R3.fvu, 1e-6);
  assert(rungs.R1.fvu < rungs.R0.fvu);

  const bent = memoryStore(n + m, { train: 4000, validation: 1000, test: 20 }, (rng) => {
    const row = new Float64Array(n + m);
    for (let i = 0; i < n; i++) if (rng.uniform() < 0.3) row[i] = 0.5 + 1.5 * rng.uniform();
    for (let i = 0; i < n; i++) {
      linear[i].forEach((value, j) => row[n + j] += row[i] ** 2 * value);
    }
    for (let j = 0; j < m; j++) row[n + j] += sigma * rng.normal();
    return row;
  });
  const curved = await climb(bent);
  assert(curved.rungs.R2.fvu < 0.2 * curved.rungs.R1.fvu, JSON.stringify(curved.rungs));
  assert(curved.gain.estimate < 0.05 * curved.rungs.R1.fvu, JSON.stringify(curved.gain));
});

Deno.test("A trained model knows the dictionary whose codes it was trained on", async () => {
  await openDevice();
  const store = plantedWorld(true, { train: 400, validation: 40, test: 40 });
  const sae = oracle();
  const { nfm } = await trainNfm(store, sae, { ...config, steps: 2, batchSize: 32 });
  await requireDictionary(nfm, sae);
  await inScratch(async (dir) => {
    await nfm.save(dir);
    await requireDictionary(await Nfm.load(dir), sae);
  });
  const moved = new Sae(sae.config, { ...sae, b_enc: tf.fill([n], 1e-3) as tf.Tensor1D });
  await assertRejects(() => requireDictionary(nfm, moved), RangeError, "another dictionary");
});

Deno.test("Activations that are not finite stop a training", async () => {
  await openDevice();
  const store = plantedWorld(true, { train: 400, validation: 40, test: 40 });
  store.splits.train.rows[(n + m) * new Rng(0).integer(400)] = NaN;
  await assertRejects(() => trainNfm(store, oracle(), config), Error, "not finite");
});

Deno.test("A model is measured on validation documents while it trains, ends early, and clips", async () => {
  await openDevice();
  const store = plantedWorld(true, { train: 400, validation: 40, test: 40 });
  const sae = oracle();
  const short = { ...config, steps: 20, batchSize: 32, evaluateEvery: 5, clipNorm: 1 };
  const { history, metrics } = await trainNfm(store, sae, { ...short, updates: "rows" });
  const measured = history.filter(({ validation_fvu }) => validation_fvu !== undefined);
  assertEquals(measured.map(({ step }) => step), [5, 10, 15, 20]);
  assertEquals(measured.at(-1)!.validation_fvu, metrics.fvu);
  // So small a rate gains nothing that float32 could show.
  const still = { ...short, steps: 100, learningRate: 1e-12, patience: 2 };
  const ended = await trainNfm(store, sae, still);
  assert(ended.history.at(-1)!.step <= 20, `it went on to ${ended.history.at(-1)!.step}`);
});

Deno.test("Defects of the study's training are switched on one by one", async () => {
  await openDevice();
  const [store, sae] = [plantedWorld(true), oracle()];
  const run = async (faithful: NfmConfig["faithful"]) =>
    await trainNfm(store, sae, { ...config, steps: 50, faithful, cache: false });
  const corrected = await run([]);
  const short = await run(["B15"]);
  const half = await run(["B17"]);
  assertEquals([corrected, short, half].map(({ history }) => history.at(-1)!.step), [50, 10, 50]);
  const onGrid = async ({ nfm }: typeof half) =>
    (await nfm.weights.V!.data()).every((v) => Math.f16round(v) === v);
  assertEquals([await onGrid(half), await onGrid(corrected)], [true, false]);
  await assertRejects(() => run(["B1" as "B15"]), RangeError, 'the defect "B1"');
  // The batch has whole numbers too, which cannot be looked at for their being finite.
  const wild = { ...config, steps: 50, learningRate: 1e30, cache: false };
  await assertRejects(() => trainNfm(store, sae, wild), Error, "lower the learningRate");
});
