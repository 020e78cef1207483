import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type ActivationReader,
  measureSae,
  pairReader,
  type Sae,
  type SaeTrainingConfig,
  trainResidualSae,
  trainSae,
} from "../../lib/dictionary/mod.ts";
import { weightNames } from "../../lib/dictionary/sae.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch } from "../files/scratch.ts";
import { directions, memoryStore } from "../planted.ts";

const d = 16;
const sizes = { train: 2000, validation: 400, test: 200 };
const features = directions(24, d, 7);

/** Sparse sums of 24 directions in 16 dimensions, off centre. */
const sparseWorld = () =>
  memoryStore(d, sizes, (rng) => {
    const row = new Float64Array(d).fill(0.5);
    for (const feature of features) {
      if (rng.uniform() > 0.08) continue;
      const amount = 2 + rng.uniform();
      feature.forEach((value, i) => row[i] += amount * value);
    }
    return row;
  });

/** What a layer with a nonlinearity might make of the same tokens, and a linear part. */
const layerOutputs = () => {
  const through = directions(5, d, 9);
  return memoryStore(5, sizes, (rng) => {
    const row = new Float64Array(5).fill(-1);
    for (const [i, feature] of features.entries()) {
      if (rng.uniform() > 0.08) continue;
      const amount = 2 + rng.uniform();
      row[i % 5] += amount;
      through.forEach((direction, o) =>
        row[o] += 0.3 * amount * direction.reduce((sum, value, j) => sum + value * feature[j], 0)
      );
    }
    return row;
  });
};

const common = { dSae: 32, steps: 200, batchSize: 128, learningRate: 1e-2 };
const CONFIGS: Record<string, SaeTrainingConfig> = {
  standard: { ...common, architecture: "standard", l1Coefficient: 1 },
  topk: { ...common, architecture: "topk", k: 3 },
  batchtopk: { ...common, architecture: "batchtopk", k: 2 },
  matryoshka: { ...common, architecture: "matryoshka", k: 2 },
  jumprelu: { ...common, architecture: "jumprelu", l0Coefficient: 0.3 },
  gated: { ...common, architecture: "gated", l1Coefficient: 5 },
};

async function bytes(sae: Sae): Promise<number[]> {
  const weights = await Promise.all(weightNames(sae).map((name) => sae[name]!.data()));
  return weights.flatMap((data) => [...new Uint32Array(data.buffer, data.byteOffset, data.length)]);
}

for (const [name, config] of Object.entries(CONFIGS)) {
  Deno.test(`A ${name} dictionary learns sparse features on held-out documents`, async () => {
    await openDevice();
    const before = tf.memory().numTensors;
    const { sae, metrics } = await trainSae(sparseWorld(), config, { cache: false });
    assert(metrics.fvu < 0.25, `FVU ${metrics.fvu}`);
    // About two of the 24 directions are active in a token.
    assert(metrics.l0! > 1 && metrics.l0! < 7, `L0 ${metrics.l0}`);
    sae.dispose();
    assertEquals(tf.memory().numTensors, before);
  });
}

Deno.test("The threshold of BatchTopK keeps about k features a token, without a batch", async () => {
  await openDevice();
  for (const name of ["batchtopk", "matryoshka"]) {
    const { sae, metrics } = await trainSae(sparseWorld(), CONFIGS[name], { cache: false });
    assertEquals(sae.config.architecture, "jumprelu");
    const [threshold] = await sae.threshold!.data();
    assert(threshold > 0);
    assert(Math.abs(metrics.l0! - 2) < 0.6, `L0 ${metrics.l0}`);
  }
});

Deno.test("The first features of Matryoshka reconstruct better than those of BatchTopK", async () => {
  await openDevice();
  const store = sparseWorld();
  const prefixFvu = async (config: SaeTrainingConfig) => {
    const { sae } = await trainSae(store, config, { cache: false });
    const first = tf.tensor1d(Array.from({ length: 32 }, (_, i) => i < 8 ? 1 : 0));
    const x = store.split("test").rows(0, sizes.test) as tf.Tensor2D;
    const error = tf.sub(sae.decode(tf.mul(sae.encode(x), first)), x);
    const [part] = await tf.sum(tf.square(error)).data();
    const [all] = await tf.sum(tf.square(tf.sub(x, tf.mean(x, 0)))).data();
    return part / all;
  };
  const [nested, plain] = [await prefixFvu(CONFIGS.matryoshka), await prefixFvu(CONFIGS.batchtopk)];
  assert(nested < 0.9 * plain, `${nested} and ${plain}`);
});

Deno.test("A larger L0 penalty makes JumpReLU sparser", async () => {
  await openDevice();
  const l0 = async (l0Coefficient: number) =>
    (await trainSae(sparseWorld(), { ...CONFIGS.jumprelu, l0Coefficient }, { cache: false }))
      .metrics.l0!;
  const [dense, sparse] = [await l0(0.03), await l0(1)];
  assert(sparse < 0.8 * dense, `${sparse} and ${dense}`);
});

Deno.test("Transcoders predict another activation better than its mean, and a skip connection helps", async () => {
  await openDevice();
  const pairs = pairReader(sparseWorld(), layerOutputs());
  for (const name of ["standard", "jumprelu", "batchtopk", "matryoshka"]) {
    const config = { ...CONFIGS[name], l1Coefficient: undefined, l0Coefficient: undefined };
    const { sae, metrics } = await trainSae(pairs, {
      ...config,
      ...name === "standard" && { l1Coefficient: 0.1 },
      ...name === "jumprelu" && { l0Coefficient: 0.05 },
    }, { cache: false });
    assertEquals([sae.config.dIn, sae.config.dOut], [d, 5]);
    assert(metrics.fvu < 0.4, `${name}: FVU ${metrics.fvu}`);
    const skipping = await trainSae(pairs, {
      ...config,
      ...{ l1Coefficient: 0.1, l0Coefficient: 0.05 },
      skip: true,
    }, { cache: false });
    assert(skipping.metrics.fvu < metrics.fvu + 0.02, `${name}: ${skipping.metrics.fvu} with skip`);
  }
});

Deno.test("A trained transcoder is loaded with its normalisers", async () => {
  await openDevice();
  await inScratch(async (cache) => {
    const scaled = (store: ReturnType<typeof sparseWorld>, scale: number): ActivationReader => ({
      dModel: store.dModel,
      manifest: store.manifest,
      split: (name) => store.split(name),
      normalizer: { scale, mean: Array.from({ length: store.dModel }, (_, i) => i / 7) },
    });
    const pairs = pairReader(scaled(sparseWorld(), 3), scaled(layerOutputs(), 0.5));
    const config = { ...CONFIGS.batchtopk, skip: true, steps: 20 };
    const first = await trainSae(pairs, config, { cache });
    const again = await trainSae(pairs, config, { cache });
    assertEquals(again.sae.config, first.sae.config);
    assertEquals(again.sae.outputNormalizer!.scale, 0.5);
    const measured = await measureSae(pairs, again.sae, { split: "validation" });
    assert(Math.abs(measured.fvu - first.metrics.fvu) < 1e-4 * first.metrics.fvu);
  });
});

Deno.test("A secondary dictionary of another architecture is in the units of the activations", async () => {
  await openDevice();
  const store = sparseWorld();
  const first = await trainSae(store, { ...CONFIGS.topk, k: 1 }, { cache: false });
  const test = store.split("test").rows(0, sizes.test) as tf.Tensor2D;
  const residual = tf.sub(test, first.sae.reconstruct(test)) as tf.Tensor2D;
  for (const name of ["batchtopk", "gated"]) {
    const second = await trainResidualSae(store, first.sae, { ...CONFIGS[name], cache: false });
    const left = tf.sub(residual, second.sae.reconstruct(residual));
    const [after] = await tf.sum(tf.square(left)).data();
    const [before] = await tf.sum(tf.square(residual)).data();
    assert(after < 0.7 * before, `${name}: ${after} of ${before}`);
  }
});

eachBackend(
  "Stopping and going on gives the same bytes with every architecture",
  async ({ backend }) => {
    const store = sparseWorld();
    for (const [name, config] of Object.entries(CONFIGS)) {
      // WebGPU without a GPU compiles for seconds, and shares all code with the others.
      if (backend === "webgpu" && name !== "batchtopk") continue;
      await inScratch(async (cache) => {
        const short = { ...config, steps: 8, batchSize: 64, deadAfterTokens: 128 };
        const whole = await trainSae(store, short, { cache: false });
        const stop = new AbortController();
        const half = await trainSae(store, short, {
          cache,
          signal: stop.signal,
          onStep: ({ step }) => step === 4 && stop.abort(),
        });
        assertEquals([half.stopped, half.history.at(-1)!.step], [true, 4]);
        const resumed = await trainSae(store, short, { cache });
        assertEquals(await bytes(resumed.sae), await bytes(whole.sae), name);
      });
    }
  },
);

Deno.test("The study's recipe moves no decoder bias, and takes a fifth of the steps", async () => {
  await openDevice();
  const store = sparseWorld();
  const config = {
    architecture: "standard",
    dSae: 32,
    steps: 50,
    batchSize: 64,
    faithful: true,
  } as const;
  const { sae, history } = await trainSae(store, config, { cache: false });
  assertEquals(history.at(-1)!.step, 10);
  assertEquals([...await sae.b_dec.data()], new Array(d).fill(0));
  const { learningRate, batchSize, decoderStd, l1Coefficient, decaySteps } = sae.metadata
    .training as Record<string, number>;
  assertEquals([learningRate, batchSize, decoderStd], [1e-5, 64, 1e-4]);
  assertEquals([l1Coefficient, decaySteps], [1, 10]);
});

Deno.test("B9 is the study's recipe with every weight a number of float16", async () => {
  await openDevice();
  const store = sparseWorld();
  const config = { architecture: "standard", dSae: 32, steps: 50, batchSize: 64 } as const;
  const trained = async (faithful: true | readonly ["B9"]) =>
    (await trainSae(store, { ...config, faithful }, { cache: false })).sae;
  const [wide, half] = [await trained(true), await trained(["B9"])];
  const { faithful: _, ...recipe } = wide.metadata.training as Record<string, unknown>;
  const { faithful, ...same } = half.metadata.training as Record<string, unknown>;
  assertEquals([same, faithful], [recipe, ["B9"]]);
  for (const name of ["W_enc", "b_enc", "W_dec"] as const) {
    const values = await half[name].data();
    assert(values.every((w) => Math.f16round(w) === w), name);
  }
  assert((await wide.W_dec.data()).some((w) => Math.f16round(w) !== w));
});

Deno.test("B15 ends any training after a fifth of its steps, with a rate that falls to 0", async () => {
  await openDevice();
  const store = sparseWorld();
  const config = { ...CONFIGS.topk, steps: 50, faithful: ["B15"] } as const;
  const { sae, history } = await trainSae(store, config, { cache: false });
  const { steps, decaySteps, warmupSteps } = sae.metadata.training as Record<string, number>;
  assertEquals([steps, decaySteps, warmupSteps, history.at(-1)!.step], [10, 10, 0, 10]);
});

Deno.test("What no architecture can train is one RangeError before any work", async () => {
  await openDevice();
  const store = sparseWorld();
  const pairs = pairReader(store, layerOutputs());
  const cases: [SaeTrainingConfig, string][] = [
    [{ ...CONFIGS.batchtopk, k: 0 }, "k = 0"],
    [{ ...CONFIGS.batchtopk, k: undefined }, "k = undefined"],
    [{ ...CONFIGS.matryoshka, widths: [8, 4, 32] }, "8, 4, 32 features"],
    [{ ...CONFIGS.matryoshka, widths: [8, 16] }, "up to dSae = 32"],
    [{ ...CONFIGS.jumprelu, bandwidth: 0 }, "bandwidth = 0"],
    [{ ...CONFIGS.gated, l1Coefficient: NaN }, "l1Coefficient = NaN"],
    [{ ...CONFIGS.standard, skip: true }, "give a pairReader"],
    [{ ...CONFIGS.topk, faithful: true }, 'the study has "standard" only'],
    [{ ...CONFIGS.topk, faithful: ["B9"] }, 'the study has "standard" only'],
    [{ ...CONFIGS.topk, faithful: ["B99" as "B9"] }, 'the defect "B99"'],
  ];
  for (const [config, message] of cases) {
    await assertRejects(() => trainSae(store, config), RangeError, message);
  }
  for (const name of ["topk", "gated"]) {
    await assertRejects(() => trainSae(pairs, CONFIGS[name]), RangeError, `a ${name} transcoder`);
  }
  const shorter = memoryStore(5, { ...sizes, test: 100 }, () => new Float64Array(5));
  assertThrows(() => pairReader(store, shorter), RangeError, "200 tokens and 100");
});
