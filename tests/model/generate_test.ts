import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import {
  argMax,
  type Generator,
  sample,
  stream,
  type StreamOptions,
} from "../../lib/model/generate.ts";
import { type HookFn, type Model, randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

/** A model whose tokens are whole characters. */
const ASCII = { vocabSize: 3 + 128 };

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

/** Pieces that a model writes which wants to write these ids. */
async function piecesOf(
  ids: number[],
  options: StreamOptions,
  tokenizer: Partial<Generator["tokenizer"]> = {},
): Promise<string[]> {
  using model = randomModel({ vocabSize: 8 }, 0);
  const left = [...ids];
  const pieces = stream("a", options, {
    cfg: model.cfg,
    tokenizer: { ...model.tokenizer, decode: (ids) => Array.from(ids).join(""), ...tokenizer },
    logits: () => Promise.resolve(tf.oneHot([[left.shift()!]], 8, 1, 0, "float32") as tf.Tensor3D),
  });
  return await Array.fromAsync(pieces);
}

Deno.test("generation ends at any token that ends a text, and after maxNewTokens", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const many = { maxNewTokens: 9 };
  assertEquals(await piecesOf([4, 7, 2, 5], many), ["4", "7"]); // EOS is 2
  assertEquals(await piecesOf([4, 7, 6, 5, 2], many, { eosId: 6 }), ["4", "7"]);
  assertEquals(await piecesOf([4, 7, 5, 6, 2], many, { eosIds: [2, 6] }), ["4", "7", "5"]);
  assertEquals(await piecesOf([2], many), []);
  assertEquals(await piecesOf([4, 7, 6, 5], { maxNewTokens: 3 }), ["4", "7", "6"]);
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("a character that is split over tokens is one piece", async () => {
  await openDevice();
  // The euro sign is the bytes e2 82 ac.
  const bytes = [0, 0, 0, 0x61, 0xe2, 0x82, 0xac, 0x62];
  const decode = (ids: ArrayLike<number>) =>
    new TextDecoder().decode(
      Uint8Array.from(Array.from(ids).filter((id) => id > 2), (id) => bytes[id]),
    );
  const write = (ids: number[]) =>
    piecesOf(ids, { maxNewTokens: ids.length }, { decode, encode: () => [3] });
  assertEquals(await write([7, 4, 5, 6, 7]), ["b", "€", "b"]);
  assertEquals(await write([7, 4, 5]), ["b", "\uFFFD"]); // ends within one
});

Deno.test("the text keeps the space between the prompt and its first word", async () => {
  await openDevice();
  // Sentencepiece: each word begins with a space, that of a whole text is dropped.
  const decode = (ids: ArrayLike<number>) => Array.from(ids, (id) => ` w${id}`).join("").slice(1);
  assertEquals(await piecesOf([4, 5], { maxNewTokens: 2 }, { decode }), [" w4", " w5"]);
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
    return new Set(
      Array.from({ length: 400 }, () => sample(logits, { temperature: 1, topP }, rng)),
    );
  };
  assertEquals(drawn(0.45), new Set([1]));
  assertEquals(drawn(0.5), new Set([1, 3]));
  assertEquals(drawn(0.86), new Set([0, 1, 3]));
  assertEquals(drawn(1), new Set([0, 1, 2, 3]));
});

Deno.test("only the topK likeliest are drawn, and a nucleus is one of them", () => {
  const logits = [0.1, 0.45, 0.05, 0.4].map(Math.log);
  const drawn = (options: { topK: number; topP?: number }) => {
    const rng = new Rng(0);
    const draw = () => sample(logits, { temperature: 1, ...options }, rng);
    return new Set(Array.from({ length: 400 }, draw));
  };
  assertEquals(drawn({ topK: 1 }), new Set([1]));
  assertEquals(drawn({ topK: 2 }), new Set([1, 3]));
  assertEquals(drawn({ topK: 9 }), new Set([0, 1, 2, 3]));
  // Of the two likeliest, the first has 0.45 / 0.85 = 0.53.
  assertEquals(drawn({ topK: 2, topP: 0.5 }), new Set([1]));
  assertEquals(drawn({ topK: 2, topP: 0.6 }), new Set([1, 3]));
});

Deno.test("a nucleus of a large vocabulary is that of its definition", () => {
  const logits = new Rng(1).normals(2000, 2);
  const weights = [...logits].map(Math.exp);
  const total = weights.reduce((a, b) => a + b);
  const order = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a]);
  for (const topP of [0.05, 0.5, 0.9, 0.999]) {
    let [size, sum] = [0, 0];
    while (sum < topP * total) sum += weights[order[size++]];
    // The last draw that is possible falls on the least likely of the nucleus.
    const last = sample(logits, { temperature: 1, topP }, { uniform: () => 1 - 1e-12 });
    assertEquals(last, order[size - 1]);
    assertEquals(sample(logits, { temperature: 1, topP }, { uniform: () => 0 }), order[0]);
  }
});

Deno.test("sampling follows the probabilities, sharpened by a low temperature", () => {
  const logits = [0.2, 0.8].map(Math.log);
  const share = (temperature: number) => {
    const rng = new Rng(0);
    let ones = 0;
    for (let i = 0; i < 4000; i++) ones += sample(logits, { temperature }, rng);
    return ones / 4000;
  };
  // Four standard errors, 4 · √(0.16 / 4000).
  assert(Math.abs(share(1) - 0.8) < 0.026);
  // 0.8² / (0.8² + 0.2²)
  assert(Math.abs(share(0.5) - 0.64 / 0.68) < 0.026);
});

Deno.test("a stream gives pieces as they are written, and its reader may leave", async () => {
  await openDevice();
  const model = randomModel(ASCII, 0);
  const options = { maxNewTokens: 12, temperature: 1, seed: 3 };
  const text = await model.generate("abc", options);
  const before = tf.memory().numTensors;
  const pieces = await Array.fromAsync(model.stream("abc", options));
  assertEquals(pieces.join(""), text);
  assert(pieces.length > 6 && pieces.every((piece) => piece.length > 0));
  for await (const piece of model.stream("abc", options)) {
    assertEquals(piece, pieces[0]);
    break;
  }
  const told: string[] = [];
  assertEquals(
    await model.generate("abc", { ...options, onText: (piece) => told.push(piece) }),
    text,
  );
  assertEquals(told, pieces);
  assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
  model.dispose();
});

Deno.test("an aborted signal ends the text, and what was written is returned", async () => {
  await openDevice();
  const model = randomModel(ASCII, 0);
  const options = { maxNewTokens: 12, temperature: 1, seed: 3 };
  const pieces = await Array.fromAsync(model.stream("abc", options));
  const before = tf.memory().numTensors;
  const controller = new AbortController();
  let heard = 0;
  const text = await model.generate("abc", {
    ...options,
    signal: controller.signal,
    onText: () => {
      if (++heard === 3) controller.abort();
    },
  });
  assertEquals(text, pieces.slice(0, 3).join(""));
  assertEquals(await model.generate("abc", { ...options, signal: controller.signal }), "");
  assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
  model.dispose();
});

Deno.test("a Stop between two tokens is heard", async () => {
  await openDevice();
  const model = randomModel(ASCII, 0);
  const controller = new AbortController();
  const options = { maxNewTokens: 100, signal: controller.signal };
  const all = await model.generate("abc", { maxNewTokens: 100 });
  const onText = () => void setTimeout(() => controller.abort(), 0);
  assertEquals(await model.generate("abc", { ...options, onText }), all[0]);
  assert(all.length > 1);
  model.dispose();
});

Deno.test("what a hook or a listener throws ends the text and leaves nothing behind", async () => {
  await openDevice();
  const model = randomModel({}, 0);
  const before = tf.memory().numTensors;
  const thrown = () => {
    throw new Error("enough");
  };
  const late: HookFn = (t) => t.shape[1] === 1 ? thrown() : undefined;
  await assertRejects(
    () => model.generate("abc", { maxNewTokens: 9, hooks: { "blocks.1.hook_resid_mid": late } }),
    Error,
    "enough",
  );
  await assertRejects(
    () => model.generate("abc", { maxNewTokens: 9, onText: thrown }),
    Error,
    "enough",
  );
  await assertRejects(
    () => model.generate("abc", { maxNewTokens: 9, hooks: { "blocks.1.hook_rezid": late } }),
    RangeError,
    "blocks.1.hook_resid",
  );
  assertEquals(tf.memory().numTensors, before);
  model.dispose();
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
  await refuse({ maxNewTokens: 1, topK: 0 }, "topK = 0");
  await refuse({ maxNewTokens: NaN }, "NaN tokens");
  await refuse({ maxNewTokens: 1, temperature: NaN }, "temperature NaN");
  await refuse({ maxNewTokens: 1, seed: 0.5, temperature: 1 }, "seed");
  await refuse({ maxNewTokens: 1 }, "context", "a prompt that is too long");
  model.dispose();
});
