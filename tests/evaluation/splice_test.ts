import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { spliceIn } from "../../lib/evaluation/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

await openDevice({ backend: "cpu" });

const model = randomModel({ nLayers: 2 }, 0);
const hook = "blocks.0.hook_resid_post";
const rng = new Rng(0, "text");
const bos = 1;
const sequences = [0, 0, 1, 2, 2].map((document, i) => ({
  document,
  tokens: [bos, ...Array.from({ length: 5 + i }, () => 3 + rng.integer(model.cfg.vocabSize - 3))],
}));
const normalizer = { scale: 0.3, mean: null, clip: null };

Deno.test("The identity recovers everything, zero recovers nothing", async () => {
  const before = tf.memory().numTensors;
  const { clean, zero, tokens, effects } = await spliceIn(model, sequences, {
    hook,
    normalizer,
    maskedTokens: [bos],
    batchSize: 2,
    reconstructions: {
      identity: (x) => tf.clone(x),
      zero: (x) => tf.zerosLike(x),
      half: (x) => tf.mul(x, 0.5) as tf.Tensor2D,
    },
  });
  assertEquals(tf.memory().numTensors, before);
  // Each sequence predicts all of its tokens but BOS and the first after it, which BOS predicts.
  assertEquals(tokens, sequences.reduce((all, s) => all + s.tokens.length - 2, 0));
  assert(clean !== zero);
  assertAlmostEquals(effects.identity.recovered.estimate, 1, 1e-3);
  assertAlmostEquals(effects.identity.kl, 0, 1e-4);
  assertAlmostEquals(effects.identity.crossEntropy, clean, 1e-4);
  assertAlmostEquals(effects.zero.recovered.estimate, 0, 1e-6);
  assertEquals(effects.zero.crossEntropy, zero);
  assert(effects.half.kl > 0);
});

Deno.test("Cross-entropy is that of the logits, computed directly", async () => {
  const options = { hook, normalizer, reconstructions: {} };
  const { clean, tokens } = await spliceIn(model, sequences.slice(1, 3), options);
  let total = 0;
  for (const { tokens: ids } of sequences.slice(1, 3)) {
    const logits = (await model.forward([ids]).then((t) => t.array()))[0];
    for (let p = 0; p + 1 < ids.length; p++) {
      const all = logits[p].reduce((sum, value) => sum + Math.exp(value), 0);
      total -= logits[p][ids[p + 1]] - Math.log(all);
    }
  }
  assertAlmostEquals(clean, total / tokens, 1e-4);
});

Deno.test("KL recovered is 1 for the identity and 0 for zero, and its document sums add up", async () => {
  const { tokens, zeroKl, effects, perDocument } = await spliceIn(model, sequences, {
    hook,
    normalizer,
    maskedTokens: [bos],
    reconstructions: {
      identity: (x) => tf.clone(x),
      zero: (x) => tf.zerosLike(x),
      offset: (x) => tf.add(x, 3) as tf.Tensor2D,
    },
  });
  assert(zeroKl > 0);
  assertAlmostEquals(effects.identity.klRecovered.estimate, 1, 1e-3);
  assertAlmostEquals(effects.zero.klRecovered.estimate, 0, 1e-6);
  assert(effects.offset.klRecovered.estimate < 0.9, "a constant offset counts");
  assertEquals(perDocument.document, [0, 1, 2]);
  const total = (values: number[]) => values.reduce((a, b) => a + b);
  assertEquals(total(perDocument.tokens), tokens);
  assertAlmostEquals(total(perDocument.zeroKl) / tokens, zeroKl, 1e-9);
  const { kl, crossEntropy } = perDocument.effects.offset;
  assertAlmostEquals(total(kl) / tokens, effects.offset.kl, 1e-9);
  assertAlmostEquals(total(crossEntropy) / tokens, effects.offset.crossEntropy, 1e-9);
});

Deno.test("Masked positions keep their activation", async () => {
  const seen: number[] = [];
  const masked = [bos, ...sequences[0].tokens.slice(1)];
  // All of the first sequence is masked: zeroing the others must not change it, nor be measured.
  const { tokens } = await spliceIn(model, [sequences[0], ...sequences.slice(2)], {
    hook,
    normalizer,
    maskedTokens: masked,
    batchSize: 1,
    reconstructions: {
      spy: (x) => {
        seen.push(x.shape[0]);
        return tf.clone(x);
      },
    },
  });
  assertEquals(seen.length, 3); // the wholly masked sequence is not run
  assert(tokens > 0);
});

Deno.test("Normalising, clipping and a mean are undone around a reconstruction", async () => {
  const { effects } = await spliceIn(model, sequences, {
    hook,
    normalizer: {
      scale: 2,
      mean: Array(model.cfg.dModel).fill(0.01),
      clip: { low: -50, high: 50 },
    },
    reconstructions: { identity: (x) => tf.clone(x) },
  });
  assertAlmostEquals(effects.identity.recovered.estimate, 1, 1e-3);
});

Deno.test("One document is not enough for an interval", async () => {
  const options = { hook, normalizer, reconstructions: {} };
  await assertRejects(
    () => spliceIn(model, sequences.slice(0, 2), options),
    RangeError,
    "1 documents",
  );
});
