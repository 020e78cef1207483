import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { type ModelConfig, randomModel } from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";

async function logitsOf(sizes: Partial<ModelConfig>, seed: number): Promise<Float32Array> {
  await openDevice();
  const model = randomModel(sizes, seed);
  const logits = await model.forward([[1, 4, 5]]);
  const values = await logits.data<"float32">();
  logits.dispose();
  model.dispose();
  return values;
}

Deno.test("a random model is the same for a seed and another for another", async () => {
  assertEquals(await logitsOf({}, 0), await logitsOf({}, 0));
  assertNotEquals(await logitsOf({}, 0), await logitsOf({}, 1));
});

Deno.test("the hash of a random model names its sizes and its seed", async () => {
  await openDevice();
  const hash = (sizes: Partial<ModelConfig>, seed: number) => {
    using model = randomModel(sizes, seed);
    return model.cfg.hash;
  };
  assertEquals(hash({}, 0), hash({}, 0));
  assertNotEquals(hash({}, 0), hash({}, 1));
  assertNotEquals(hash({}, 0), hash({ nLayers: 3 }, 0));
});

Deno.test("the residual of a random model grows by no more than 1 in variance a layer", async () => {
  await openDevice();
  using model = randomModel({ dModel: 64, nHeads: 4, dMlp: 128, nLayers: 4 }, 0);
  const { cache } = await model.runWithCache([[1, 9, 30, 77]], {
    names: "blocks.3.hook_resid_post",
    stopAtLayer: 4,
  });
  const x = await cache.get("blocks.3.hook_resid_post").data<"float32">();
  const meanSquare = x.reduce((sum, v) => sum + v * v, 0) / x.length;
  // 1 from the embedding, then 4 blocks of 2 layers.
  assert(meanSquare > 1 && meanSquare < 1 + 2 * 4, `the mean square is ${meanSquare}`);
  cache.dispose();
});

Deno.test("bytes are tokens, and come back as text", async () => {
  await openDevice();
  using model = randomModel({}, 0);
  assertEquals(model.toTokens("az"), [[1, 100, 125]]);
  assertEquals(model.toTokens(["a", ""], { prependBos: false }), [[100], []]);
  const text = " naïve 😀\n";
  assertEquals(model.tokenizer.decode(model.toTokens(text)[0]), text);
});

Deno.test("a small vocabulary still encodes every text", async () => {
  await openDevice();
  using model = randomModel({ vocabSize: 7 }, 0);
  const ids = model.tokenizer.encode("any text at all, ünïcode too");
  assert(ids.every((id) => id >= 3 && id < 7));
});

Deno.test("sizes that make no model are refused by name", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const refuse = (sizes: Partial<ModelConfig>, message: string) =>
    assertThrows(() => randomModel(sizes, 0), RangeError, message);
  refuse({ nLayers: 0 }, "nLayers = 0");
  refuse({ dModel: 2.5 }, "dModel = 2.5");
  refuse({ nHeads: 4, nKvHeads: 3 }, "nKvHeads = 3");
  refuse({ dModel: 12, nHeads: 4 }, "dHead = 3: expected an even number");
  refuse({ ropeTheta: 0 }, "ropeTheta = 0");
  refuse({ rmsEps: NaN }, "rmsEps = NaN");
  refuse({ bosId: 259 }, "bosId = 259");
  assertEquals(tf.memory().numTensors, before);
});
