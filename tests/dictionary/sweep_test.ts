import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type ActivationReader,
  pairReader,
  type Sae,
  type SaeTrainingConfig,
  trainSae,
  trainSweep,
} from "../../lib/dictionary/mod.ts";
import { trainNfm } from "../../lib/interaction/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { memoryStore } from "../planted.ts";

await openDevice();

const world = memoryStore(
  6,
  { train: 400, validation: 60, test: 60 },
  (rng) => Float64Array.from({ length: 6 }, () => Math.max(0, rng.normal())),
);
const topk: SaeTrainingConfig = {
  architecture: "topk",
  dSae: 12,
  k: 2,
  steps: 25,
  batchSize: 32,
  learningRate: 1e-2,
};
const configs: SaeTrainingConfig[] = [
  topk,
  { ...topk, k: 3, learningRate: 3e-3 },
  { ...topk, architecture: "standard", k: undefined, steps: 40 },
  { ...topk, steps: 10 },
];

/** A store that counts how often batches of training are read. */
function counted(store: ActivationReader, reads: string[]): ActivationReader {
  return {
    dModel: store.dModel,
    manifest: store.manifest,
    split: (name) => {
      const split = store.split(name);
      return {
        tokens: split.tokens,
        document: split.document,
        rows: (start, count) => split.rows(start, count),
        shuffledBatch: (step, batchSize, seed) => {
          reads.push(`${step}/${batchSize}/${seed}`);
          return split.shuffledBatch(step, batchSize, seed);
        },
      };
    },
  };
}

async function weights(sae: Sae): Promise<Float32Array[]> {
  const read = [sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec];
  return await Promise.all(read.map((tensor) => tensor.data<"float32">()));
}

Deno.test("A sweep gives each training the bytes that it gives alone, and reads each batch once", async () => {
  const alone = [];
  for (const config of configs) {
    const { sae, history, metrics } = await trainSae(world, config, { cache: false });
    alone.push({ weights: await weights(sae), history, metrics });
    sae.dispose();
  }
  const before = tf.memory().numTensors;
  const reads: string[] = [];
  const results = await trainSweep(
    counted(world, reads),
    configs.map((config) => (store) => trainSae(store, config, { cache: false })),
  );
  for (const [i, { sae, history, metrics }] of results.entries()) {
    assertEquals({ weights: await weights(sae), history, metrics }, alone[i]);
    sae.dispose();
  }
  assertEquals(new Set(reads).size, reads.length, `${reads}`);
  assertEquals(reads.filter((read) => read.endsWith("/32/0")).length, 40);
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("Trainings of other batches, seeds and kinds run beside each other", async () => {
  const { sae: first } = await trainSae(world, topk, { cache: false });
  const nfm = { K: 2, steps: 12, batchSize: 32, cache: false } as const;
  const alone = await trainNfm(world, first, nfm);
  const reads: string[] = [];
  const [a, b, c] = await trainSweep<{ history: unknown[] }>(counted(world, reads), [
    (store) => trainSae(store, { ...topk, seed: 1 }, { cache: false }),
    (store) => trainSae(store, { ...topk, batchSize: 20 }, { cache: false }),
    (store) => trainNfm(store, first, nfm),
  ]);
  assertEquals([a.history.length, b.history.length], [25, 25]);
  assertEquals(c.history, alone.history);
  assertEquals(new Set(reads).size, reads.length);
});

Deno.test("A sweep that was stopped goes on, each training from its own step", () =>
  inScratch(async (cache) => {
    const alone = [];
    for (const config of configs.slice(0, 2)) {
      const { sae } = await trainSae(world, config, { cache: false });
      alone.push(await weights(sae));
      sae.dispose();
    }
    const run = (stopAt: number[]) =>
      trainSweep(
        world,
        configs.slice(0, 2).map((config, i) => (store) => {
          const stop = new AbortController();
          return trainSae(store, config, {
            cache,
            signal: stop.signal,
            onStep: ({ step }) => step === stopAt[i] && stop.abort(),
          });
        }),
      );
    const stopped = await run([4, 9]);
    assert(stopped.every(({ stopped }) => stopped));
    for (const [i, { sae, stopped }] of (await run([])).entries()) {
      assert(!stopped);
      assertEquals(await weights(sae), alone[i]);
    }
  }));

Deno.test("Targets of pairs are shared as well", async () => {
  const reads: string[] = [];
  const targetReads: string[] = [];
  const results = await trainSweep(
    pairReader(counted(world, reads), counted(world, targetReads)),
    [2, 3].map((k) => (store) =>
      trainSae(store, { ...topk, architecture: "batchtopk", k }, { cache: false })
    ),
  );
  assertEquals(new Set(reads).size, reads.length);
  assertEquals(new Set(targetReads).size, targetReads.length);
  assert(targetReads.length >= 25);
  assertEquals(results.length, 2);
});

Deno.test("A training that fails leaves the others to their end, and its error is thrown", async () => {
  let ended = 0;
  await assertRejects(
    () =>
      trainSweep(world, [
        async (store) => {
          const { sae } = await trainSae(store, topk, { cache: false });
          ended++;
          sae.dispose();
        },
        () => Promise.reject(new Error("no such training")),
      ]),
    Error,
    "no such training",
  );
  assertEquals(ended, 1);
  assertEquals(await trainSweep(world, []), []);
});
