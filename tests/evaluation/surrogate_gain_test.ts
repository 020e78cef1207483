import { assert, assertAlmostEquals, assertRejects } from "@std/assert";
import { limitTokens, memoryStore, Sae, trainSae } from "../../lib/dictionary/mod.ts";
import { surrogateGain } from "../../lib/evaluation/mod.ts";
import { plantedPairs, surrogateStore } from "../../lib/interaction/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";

/** Activations of independent features, in documents of 50 tokens; nothing interacts. */
function world(n: number, d: number, firing: number) {
  const { features, train, test } = plantedPairs({
    ...{ n, d, pairs: 4, firing, kind: "independent", train: 6000, test: 2000 },
  });
  const split = ({ x, tokens }: { x: Float32Array; tokens: number }) => ({
    rows: x,
    document: Int32Array.from({ length: tokens }, (_, i) => Math.floor(i / 50)),
  });
  const held = split(test);
  return {
    features,
    store: memoryStore(d, { train: split(train), validation: held, test: held }),
  };
}

/** Twice as many features as dimensions, seen through an encoder of one pass. */
function crowded() {
  const [n, d] = [12, 6];
  const { features, store } = world(n, d, 0.15);
  const W_dec = tf.tensor2d([...features], [n, d]);
  const sae = new Sae({ architecture: "topk", dIn: d, dSae: n, k: 4 }, {
    ...{ W_enc: tf.transpose(W_dec), W_dec },
    ...{ b_enc: tf.fill<tf.Rank.R1>([n], -0.3), b_dec: tf.zeros<tf.Rank.R1>([d]) },
  });
  return { store, sae };
}

const nfm = { K: 16, steps: 300, batchSize: 250, learningRate: 1e-2 };

Deno.test("Where nothing interacts the surrogate repeats most of the gain, beyond linear and beyond single features", async () => {
  await openDevice();
  const { store, sae } = crowded();
  const surrogate = await surrogateStore(store, sae, { infer: { l1: 0.2 }, cache: false });
  const before = tf.memory().numTensors;
  const found = await surrogateGain(store, surrogate, sae, { nfm, ladder: true, cache: false });
  assert(tf.memory().numTensors === before);
  for (const gain of [found.linear, found.ladder!]) {
    const { observed, repeated, surplus } = gain;
    assert(observed.low > 0.01, JSON.stringify(observed)); // interference gains without any pair
    assert(repeated.estimate > 0.5, JSON.stringify(gain));
    assertAlmostEquals(surplus.estimate, observed.estimate - gain.surrogate.estimate, 1e-9);
    assert(surplus.low <= surplus.estimate && surplus.estimate <= surplus.high);
  }
  assertAlmostEquals(found.errorRatio, 1, 0.25);
});

Deno.test("Of features that the dictionary lacks the surrogate knows nothing: their gain is a surplus", async () => {
  await openDevice();
  // Sixteen features with room for all, and eight latents that have to share them.
  const { store } = world(16, 16, 0.08);
  const { sae } = await trainSae(store, {
    ...{ architecture: "topk", dSae: 8, k: 2, steps: 400, batchSize: 500, learningRate: 1e-2 },
  }, { cache: false });
  const surrogate = await surrogateStore(store, sae, { cache: false });
  const { linear } = await surrogateGain(store, surrogate, sae, { nfm, cache: false });
  assert(linear.surplus.low > 0.02, JSON.stringify(linear)); // though nothing interacts
  assert(linear.repeated.estimate < 0.3, JSON.stringify(linear));
});

Deno.test("A store against itself has no surplus", async () => {
  await openDevice();
  const { store, sae } = crowded();
  const { linear, errorRatio } = await surrogateGain(store, store, sae, {
    nfm: { ...nfm, steps: 20 },
    cache: false,
  });
  assertAlmostEquals(linear.surplus.estimate, 0);
  assertAlmostEquals(linear.surplus.high, 0);
  assertAlmostEquals(errorRatio, 1);
});

Deno.test("A surrogate of other documents is refused", async () => {
  await openDevice();
  const { store, sae } = crowded();
  const fewer = limitTokens(store, { validation: 1000 });
  await assertRejects(
    () => surrogateGain(store, fewer, sae, { nfm: { ...nfm, steps: 2 }, cache: false }),
    RangeError,
    "a surrogate of other documents",
  );
});
