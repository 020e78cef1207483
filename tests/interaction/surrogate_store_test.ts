import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { type ActivationReader, memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import { plantedPairs, surrogateStore } from "../../lib/interaction/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";

/** A world of few features, documents of ten tokens, and a dictionary with the true decoder. */
function world(config: { n?: number; d?: number; sigma?: number } = {}) {
  const { n = 8, d = 4, sigma = 0.05 } = config;
  const { features, train, test } = plantedPairs({
    ...{ n, d, pairs: 2, firing: 0.2, kind: "independent", sigma, train: 2500, test: 300 },
  });
  const split = ({ x, tokens }: { x: Float32Array; tokens: number }) => ({
    rows: x,
    document: Int32Array.from({ length: tokens }, (_, i) => Math.floor(i / 10)),
  });
  const held = split(test);
  const splits = { train: split(train), validation: held, test: held };
  const store = memoryStore(d, splits, { world: config });
  const W_dec = tf.tensor2d([...features], [n, d]);
  const sae = new Sae({ architecture: "topk", dIn: d, dSae: n, k: 3 }, {
    ...{ W_enc: tf.transpose(W_dec), W_dec },
    ...{ b_enc: tf.zeros<tf.Rank.R1>([n]), b_dec: tf.fill<tf.Rank.R1>([d], 0.1) },
  });
  return { store, sae, test };
}

const rowsOf = async (store: ActivationReader, count: number) =>
  await (await store.split("test").rows(0, count)).data();

Deno.test("A surrogate has the tokens and documents of its store", async () => {
  await openDevice();
  const { store, sae } = world();
  const before = tf.memory().numTensors;
  const surrogate = await surrogateStore(store, sae, { cache: false });
  assertEquals(tf.memory().numTensors, before);
  for (const name of ["train", "validation", "test"] as const) {
    assertEquals(surrogate.split(name).document, store.split(name).document);
    assertEquals(surrogate.split(name).tokens, store.split(name).tokens);
  }
});

Deno.test("Its codes have as many active features as the dictionary's, or as many as are asked for", async () => {
  await openDevice();
  const { store, sae } = world();
  const { report } = await surrogateStore(store, sae, { cache: false });
  assertAlmostEquals(report.l0, report.dictionary.l0, 0.3);
  const fewer = await surrogateStore(store, sae, { cache: false, infer: { l0: 1.2 } });
  assertAlmostEquals(fewer.report.l0, 1.2, 0.1);
  assert(fewer.report.fvu > report.fvu && fewer.report.l1 > report.l1);
});

Deno.test("Activations that codes explain are their own surrogate", async () => {
  await openDevice();
  // As many features as dimensions, nothing else: the codes are found, and no noise is left.
  const { store, sae } = world({ n: 4, d: 4, sigma: 0 });
  const exact = new Sae(sae.config, {
    ...{ W_enc: sae.W_enc, b_enc: sae.b_enc, W_dec: sae.W_dec },
    b_dec: tf.zeros<tf.Rank.R1>([4]),
  });
  const surrogate = await surrogateStore(store, exact, { cache: false, infer: { l1: 1e-3 } });
  const [x, made] = [await rowsOf(store, 50), await rowsOf(surrogate, 50)];
  x.forEach((value, i) => assertAlmostEquals(made[i], value, 0.02));
});

Deno.test("Its noise has the mean and the covariance of what codes leave", async () => {
  await openDevice();
  const { store, sae } = world({ n: 8, d: 4, sigma: 0.3 });
  // A penalty that no activation exceeds: all is noise, with the moments of the activations.
  const surrogate = await surrogateStore(store, sae, { cache: false, infer: { l1: 1e3 } });
  assertEquals(surrogate.report.l0, 0);
  const moments = async (reader: typeof store) => {
    const x = await reader.split("train").rows(0, 2500);
    const centred = tf.sub(x, tf.mean(x, 0)) as tf.Tensor2D;
    const covariance = tf.div(tf.matMul(centred, centred, true), 2500);
    return [...await tf.mean(x, 0).data(), ...await covariance.data()];
  };
  const [observed, made] = [await moments(store), await moments(surrogate)];
  observed.forEach((value, i) => assertAlmostEquals(made[i], value, 0.06));
});

Deno.test("The same seed makes the same rows, in memory and from files; another seed others", async () => {
  await openDevice();
  await inScratch(async (cache) => {
    const { store, sae } = world();
    const [kept, again, memory, other] = [
      await surrogateStore(store, sae, { cache }),
      await surrogateStore(store, sae, { cache }),
      await surrogateStore(store, sae, { cache: false }),
      await surrogateStore(store, sae, { cache, seed: 1 }),
    ];
    const rows = await rowsOf(memory, 300);
    assertEquals([await rowsOf(kept, 300), await rowsOf(again, 300)], [rows, rows]);
    assertEquals(again.report, memory.report);
    assertEquals(Array.from(kept.split("test").document), Array.from(store.split("test").document));
    assert((await rowsOf(other, 300)).some((value, i) => value !== rows[i]));
    assertEquals(kept.manifest, memory.manifest); // what is trained on one is loaded for the other
  });
});

Deno.test("A signal stops it, and nothing is kept", async () => {
  await openDevice();
  await inScratch(async (cache) => {
    const { store, sae } = world();
    const signal = AbortSignal.abort(new Error("enough"));
    await assertRejects(() => surrogateStore(store, sae, { cache, signal }), Error, "enough");
    const left = await Array.fromAsync(Deno.readDir(`${cache}/surrogate`));
    assertEquals(left, []);
  });
});

Deno.test("No active feature at all cannot be asked for", async () => {
  await openDevice();
  const { store, sae } = world();
  await assertRejects(
    () => surrogateStore(store, sae, { cache: false, infer: { l0: 0 } }),
    RangeError,
    "with 0 active features a token",
  );
});
