import { assert, assertEquals, assertRejects } from "@std/assert";
import { memoryStore, trainSae } from "../../lib/dictionary/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

function store() {
  const rng = new Rng(3);
  const split = (tokens: number) => ({
    rows: rng.normals(tokens * 4, 1),
    document: Int32Array.from({ length: tokens }, (_, i) => i % 20),
  });
  return memoryStore(4, { train: split(200), validation: split(60), test: split(60) });
}

const BASE = { architecture: "topk", dSae: 16, k: 2, steps: 40, batchSize: 32 } as const;

Deno.test("a dictionary is measured on validation documents while it is trained", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const config = { ...BASE, learningRate: 1e-2, evaluateEvery: 10 };
  const { sae, history, metrics } = await trainSae(store(), config, { cache: false });
  const measured = history.filter(({ validation_fvu }) => validation_fvu !== undefined);
  assertEquals(measured.map(({ step }) => step), [10, 20, 30, 40]);
  assertEquals(measured.at(-1)!.validation_fvu, metrics.fvu);
  sae.dispose();
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("a training ends when the validation documents gain nothing more, and is its best", async () => {
  await openDevice();
  // At this rate the loss soon only jumps about.
  const config = { ...BASE, steps: 400, learningRate: 0.5, evaluateEvery: 5, patience: 2 };
  const { sae, history, metrics } = await trainSae(store(), config, { cache: false });
  assert(history.at(-1)!.step < 400, `it went on to step ${history.at(-1)!.step}`);
  const measured = history.flatMap(({ validation_fvu }) => validation_fvu ?? []);
  assert(measured.at(-1)! > Math.min(...measured), "its last step is its best: nothing was tested");
  assertEquals(metrics.fvu, Math.min(...measured));
  sae.dispose();
});

Deno.test("clipped gradients train another dictionary, and their norm is reported", async () => {
  await openDevice();
  const config = { ...BASE, learningRate: 1e-2 };
  const plain = await trainSae(store(), config, { cache: false });
  const clipped = await trainSae(store(), { ...config, clipNorm: 0.1 }, { cache: false });
  assert(clipped.history.every(({ gradNorm }) => gradNorm > 0));
  assert(plain.metrics.fvu !== clipped.metrics.fvu);
  plain.sae.dispose();
  clipped.sae.dispose();
  await assertRejects(
    () => trainSae(store(), { ...config, patience: 3 }, { cache: false }),
    RangeError,
    "evaluateEvery",
  );
});
