import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { fromTexts, type Splits } from "../../lib/corpus/mod.ts";
import { harvest, modelReader, type ModelReaderOptions } from "../../lib/activations/mod.ts";
import { trainSae } from "../../lib/dictionary/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { activationAt, fakeSource, HOOK, quietly } from "./fake_source.ts";

await openDevice();

const alphabet = "abcdefghijklmnopqrstuvwxy";
const splits: Splits = {
  train: fromTexts([alphabet, alphabet.slice(3), "abc", alphabet.slice(0, 11)], { name: "train" }),
  validation: fromTexts(["zyxwv", "cba"], { name: "validation" }),
  test: fromTexts(["hello"], { name: "test" }),
};
const TOKENS = 25 + 22 + 3 + 11;
const options = {
  hook: HOOK,
  contextLength: 6,
  tokens: { train: "all", validation: "all", test: "all" },
  bufferTokens: 20,
  batchSize: 3,
  maxNormRatio: null,
  normalizer: { clipSigma: null, scale: false },
} satisfies ModelReaderOptions;

async function values(read: Promise<tf.Tensor2D>): Promise<number[]> {
  const x = await read;
  const found = [...await x.data()];
  x.dispose();
  return found;
}

Deno.test("a reader of a model gives the rows of a store, in its order", () =>
  inScratch(async (dir) => {
    const normalizer = { clipSigma: 2, scale: true };
    const store = await quietly(() =>
      harvest(fakeSource(3), splits, { ...options, normalizer, dir })
    );
    const fitted = store.normalizer;
    const before = tf.memory().numTensors;
    const reader = await modelReader(fakeSource(3), splits, { ...options, normalizer: fitted });
    for (const name of ["train", "validation", "test"] as const) {
      const [split, stored] = [reader.split(name), store.split(name)];
      assertEquals([split.tokens, reader.dModel, reader.hook], [stored.tokens, 3, HOOK]);
      assertEquals(split.document, stored.document);
      const expected = await values(Promise.resolve(stored.rows(0, stored.tokens)));
      assertEquals(await values(split.rows(0, split.tokens)), expected);
      assertEquals(await values(split.rows(2, 3)), expected.slice(6, 15));
    }
    assertEquals(tf.memory().numTensors, before);
    store.close();
  }));

Deno.test("every token comes once an epoch, neighbours are apart, and epochs differ", async () => {
  // Dimension 0 names the token of the text and its place: all are different.
  const reader = await modelReader(fakeSource(2), splits, options);
  const train = reader.split("train");
  assertEquals(train.tokens, TOKENS);
  for (const batchSize of [1, 7, TOKENS]) {
    const drawn: number[] = [];
    for (let step = 0; drawn.length < 2 * TOKENS; step++) {
      const batch = await values(train.shuffledBatch(step, batchSize, 5));
      drawn.push(...batch.filter((_, i) => i % 2 === 0));
    }
    const epochs = [0, 1].map((epoch) => drawn.slice(epoch * TOKENS, (epoch + 1) * TOKENS));
    const all = (await values(train.rows(0, TOKENS))).filter((_, i) => i % 2 === 0);
    const sorted = (numbers: number[]) => numbers.toSorted((a, b) => a - b);
    for (const epoch of epochs) assertEquals(sorted(epoch), sorted(all));
    assertNotEquals(epochs[0], epochs[1]);
    assertNotEquals(epochs[0], all);
  }
});

Deno.test("a batch is a function of seed and step, and a resume runs at most two buffers again", async () => {
  const whole = fakeSource(2);
  const first = (await modelReader(whole, splits, options)).split("train");
  const batches: number[][] = [];
  for (let step = 0; step < 20; step++) batches.push(await values(first.shuffledBatch(step, 8, 1)));
  assertNotEquals(await values(first.shuffledBatch(3, 8, 2)), batches[3]);
  for (const step of [13, 2, 19]) {
    const model = fakeSource(2);
    const again = (await modelReader(model, splits, options)).split("train");
    const before = model.runs.length;
    assertEquals(await values(again.shuffledBatch(step, 8, 1)), batches[step]);
    // A buffer of 20 tokens has at most six sequences of up to five tokens: two runs of three.
    assert(model.runs.length - before <= 2 * 3, `${model.runs.length - before} runs`);
  }
  // Two at once do not disturb each other.
  const [a, b] = await Promise.all([
    values(first.shuffledBatch(2, 8, 1)),
    values(first.shuffledBatch(9, 8, 1)),
  ]);
  assertEquals([a, b], [batches[2], batches[9]]);
});

Deno.test("a split that fits into the buffer is computed once", async () => {
  const model = fakeSource(2);
  const reader = await modelReader(model, splits, { ...options, bufferTokens: 1000 });
  await values(reader.split("validation").rows(0, 8));
  const runs = model.runs.length;
  for (let i = 0; i < 3; i++) await values(reader.split("validation").rows(i, 3));
  assertEquals(model.runs.length, runs);
});

Deno.test("the row of a sink is that of another token, and the number of tokens stays", async () => {
  const at = (token: number, position: number, j: number) =>
    token === 20 ? 900 : activationAt(token, position, j);
  const reader = await modelReader(fakeSource(2, { at }), splits, { ...options, maxNormRatio: 5 });
  const train = reader.split("train");
  const found = await values(train.rows(0, train.tokens));
  assertEquals(found.length, 2 * TOKENS);
  assert(!found.includes(900));
});

Deno.test("training from the model resumes with the bytes of a run that was not stopped", () =>
  inScratch(async (cache) => {
    const config = { architecture: "topk", dSae: 8, k: 2, steps: 20, batchSize: 8 } as const;
    const reader = () => modelReader(fakeSource(4), splits, options);
    const weights = async (run: ReturnType<typeof trainSae>) => {
      const { sae } = await run;
      return await sae.W_dec.data<"float32">();
    };
    const whole = await weights(trainSae(await reader(), config, { cache: false }));
    const stop = new AbortController();
    await trainSae(await reader(), config, {
      cache,
      signal: stop.signal,
      onStep: ({ step }) => step === 11 && stop.abort(),
    });
    assertEquals(await weights(trainSae(await reader(), config, { cache })), whole);
  }));

Deno.test("what cannot be read is refused before the model runs", async () => {
  const model = fakeSource(2);
  const cases: [Partial<ModelReaderOptions>, string][] = [
    [{ hook: "blocks.9.hook_resid_post" }, "There is no hook point"],
    [{ bufferTokens: 0 }, "bufferTokens 0"],
    [{ contextLength: 65 }, "sequences of 65 tokens"],
    [{ tokens: { train: 1000, validation: 0, test: 0 } }, "Cannot harvest 1000 tokens"],
    [{ tokens: { train: 0, validation: 0, test: 0 } }, "Cannot read 0 tokens"],
    [{ normalizer: { clipSigma: -1, scale: true } }, "clamp to -1"],
  ];
  for (const [change, message] of cases) {
    await assertRejects(
      () => modelReader(model, splits, { ...options, ...change }),
      RangeError,
      message,
    );
  }
  assertEquals(model.runs, []);
  const bad = fakeSource(2, { at: (token) => token === 24 ? NaN : 1 });
  await assertRejects(
    async () => {
      const reader = await modelReader(bad, splits, options);
      await values(reader.split("train").rows(0, TOKENS));
    },
    Error,
    'document "train/',
  );
});
