import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { argMax, generate, sample } from "../../lib/model/generate.ts";
import { type Model, randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

/** Greedy ids without a cache: the whole sequence again for every token. */
async function recomputed(model: Model, prompt: string, count: number): Promise<number[]> {
  const [tokens] = model.toTokens(prompt);
  const start = tokens.length;
  while (tokens.length < start + count) {
    const logits = await model.forward([tokens]);
    const values = await logits.data<"float32">();
    logits.dispose();
    const next = argMax(values.subarray(-model.cfg.vocabSize));
    if (next === model.cfg.eosId) break;
    tokens.push(next);
  }
  return tokens.slice(start);
}

Deno.test("greedy generation with a cache equals recomputing without one", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const model = randomModel({ tied: false }, 3);
  const expected = await recomputed(model, "abc", 8);
  assert(new Set(expected).size > 1, "a text of one token would hide a wrong position");
  const text = await model.generate("abc", { maxNewTokens: 8 });
  assertEquals(text, model.tokenizer.decode(expected));
  model.dispose();
  assertEquals(tf.memory().numTensors, before, "the cache left a tensor behind");
});

Deno.test("sampling is the same for a seed and differs between seeds", async () => {
  await openDevice();
  const model = randomModel({}, 0);
  const write = (seed: number) =>
    model.generate("abc", { maxNewTokens: 12, temperature: 1, topP: 0.9, seed });
  assertEquals(await write(1), await write(1));
  assertNotEquals(await write(1), await write(2));
  model.dispose();
});

Deno.test("generation ends at the end-of-sequence token and after maxNewTokens", async () => {
  await openDevice();
  const model = randomModel({ vocabSize: 8 }, 0);
  /** A model that wants to write these ids. */
  const writing = (ids: number[]) => ({
    cfg: model.cfg,
    tokenizer: { ...model.tokenizer, decode: (ids: ArrayLike<number>) => `${ids}` },
    logits: () => Promise.resolve(tf.oneHot([[ids.shift()!]], 8, 1, 0, "float32") as tf.Tensor3D),
  });
  assertEquals(model.cfg.eosId, 2);
  assertEquals(await generate("a", { maxNewTokens: 9 }, writing([4, 7, 2, 5])), "4,7");
  assertEquals(await generate("a", { maxNewTokens: 3 }, writing([4, 7, 6, 5])), "4,7,6");
  model.dispose();
});

Deno.test("generation ends where the context is full", async () => {
  await openDevice();
  const model = randomModel({ contextLength: 6 }, 3);
  // BOS and three bytes leave room to read two more; the third is written and not read.
  const all = await model.generate("abc", { maxNewTokens: 50 });
  assertEquals(all, await model.generate("abc", { maxNewTokens: 3 }));
  assertNotEquals(all, await model.generate("abc", { maxNewTokens: 2 }));
  model.dispose();
});

Deno.test("a nucleus holds the fewest likeliest tokens that reach topP", () => {
  const probabilities = [0.1, 0.45, 0.05, 0.4];
  const logits = probabilities.map(Math.log);
  const drawn = (topP: number) => {
    const rng = new Rng(0);
    return new Set(Array.from({ length: 400 }, () => sample(logits, 1, topP, rng)));
  };
  assertEquals(drawn(0.45), new Set([1]));
  assertEquals(drawn(0.5), new Set([1, 3]));
  assertEquals(drawn(0.86), new Set([0, 1, 3]));
  assertEquals(drawn(1), new Set([0, 1, 2, 3]));
});

Deno.test("sampling follows the probabilities, sharpened by a low temperature", () => {
  const logits = [0.2, 0.8].map(Math.log);
  const share = (temperature: number) => {
    const rng = new Rng(0);
    let ones = 0;
    for (let i = 0; i < 4000; i++) ones += sample(logits, temperature, 1, rng);
    return ones / 4000;
  };
  // Four standard errors, 4 · √(0.16 / 4000).
  assert(Math.abs(share(1) - 0.8) < 0.026);
  // 0.8² / (0.8² + 0.2²)
  assert(Math.abs(share(0.5) - 0.64 / 0.68) < 0.026);
});

Deno.test("generation refuses options that are out of range", async () => {
  await openDevice();
  const model = randomModel({ contextLength: 8 }, 0);
  const refuse = (options: Parameters<Model["generate"]>[1], message: string, prompt = "a") =>
    assertRejects(() => model.generate(prompt, options), RangeError, message);
  await refuse({ maxNewTokens: 0 }, "0 tokens");
  await refuse({ maxNewTokens: 1, temperature: -1 }, "temperature -1");
  await refuse({ maxNewTokens: 1, topP: 0 }, "topP = 0");
  await refuse({ maxNewTokens: 1, topP: 1.5 }, "topP = 1.5");
  await refuse({ maxNewTokens: 1, seed: 0.5, temperature: 1 }, "seed");
  await refuse({ maxNewTokens: 1 }, "context", "a prompt that is too long");
  model.dispose();
});
