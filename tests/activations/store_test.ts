import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { fromTexts } from "../../lib/corpus/mod.ts";
import { sha256 } from "../../lib/files/mod.ts";
import { ActivationStore, harvest } from "../../lib/activations/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { fakeSource, HOOK, quietly } from "./fake_source.ts";

await openDevice();

const TOKENS = 50;

/** A store of 50 training tokens in shards of 8, in which dimension 0 is the token's number. */
async function withStore(
  use: (store: ActivationStore) => Promise<void> | void,
  normalizer: { clipSigma: number | null; scale: boolean } = { clipSigma: null, scale: false },
): Promise<void> {
  await inScratch(async (dir) => {
    const text = "abcdefghijklmnopqrstuvwxy".repeat(2);
    const documents = {
      train: fromTexts([text], { name: "train" }),
      validation: fromTexts(["abcde"], { name: "validation" }),
      test: fromTexts(["vwxyz"], { name: "test" }),
    };
    const model = fakeSource(3, { at: (_, position, j) => j === 0 ? position - 1 : position * j });
    const store = await quietly(() =>
      harvest(model, documents, {
        hook: HOOK,
        contextLength: TOKENS + 1,
        tokens: { train: TOKENS, validation: 5, test: 5 },
        shardTokens: 8,
        maxNormRatio: null,
        normalizer,
        dir,
      })
    );
    await use(store);
  });
}

async function firstColumn(read: tf.Tensor2D | Promise<tf.Tensor2D>): Promise<number[]> {
  const x = await read;
  const values = await x.data();
  x.dispose();
  return Array.from({ length: values.length / 3 }, (_, t) => values[t * 3]);
}

Deno.test("rows and batches are the tokens asked for, across shards and in any order", () =>
  withStore(async (store) => {
    const train = store.split("train");
    assertEquals(await firstColumn(train.rows(0, 50)), Array.from({ length: 50 }, (_, i) => i));
    assertEquals(await firstColumn(train.rows(7, 3)), [7, 8, 9]);
    for (const indices of [[0], [49, 0], [8, 7, 8, 7], [3, 30, 31, 16, 15, 24, 49, 2]]) {
      assertEquals(await firstColumn(train.batch(Int32Array.from(indices))), indices);
    }
  }));

Deno.test("an epoch of shuffled batches is every token once, whether or not batches divide it", () =>
  withStore((store) => {
    const train = store.split("train");
    for (const batchSize of [1, 7, 10, 50]) {
      const drawn: number[] = [];
      for (let step = 0; drawn.length < 3 * TOKENS; step++) {
        drawn.push(...train.shuffledIndices(step, batchSize, 0));
      }
      const epochs = [0, 1, 2].map((epoch) => drawn.slice(epoch * TOKENS, (epoch + 1) * TOKENS));
      const all = Array.from({ length: TOKENS }, (_, i) => i);
      for (const epoch of epochs) assertEquals(epoch.toSorted((a, b) => a - b), all);
      assertNotEquals(epochs[0], epochs[1]);
      assertNotEquals(epochs[0], all);
    }
  }));

Deno.test("a shuffled batch is a function of seed and step alone", () =>
  withStore(async (store) => {
    const train = store.split("train");
    const direct = await firstColumn(train.shuffledBatch(9, 7, 3));
    for (const step of [20, 0, 8, 10]) (await train.shuffledBatch(step, 7, 4)).dispose();
    assertEquals(await firstColumn(train.shuffledBatch(9, 7, 3)), direct);
    const reopened = ActivationStore.open(store.dir).split("train");
    assertEquals(await firstColumn(reopened.shuffledBatch(9, 7, 3)), direct);
    assertEquals(direct, [...train.shuffledIndices(9, 7, 3)]);
    assertNotEquals(await firstColumn(train.shuffledBatch(9, 7, 4)), direct);
  }));

Deno.test("what is read went through the normaliser, which was fitted on training tokens only", () =>
  withStore(async (store) => {
    const { scale, clip, fit } = store.normalizer;
    assertEquals(fit!.tokens, TOKENS);
    const train = await firstColumn(store.split("train").rows(0, 50));
    train.forEach((value, i) =>
      assertEquals(value, Math.fround(scale * Math.min(Math.max(i, clip!.low), clip!.high)))
    );
    const rows = store.split("train").rows(0, 50);
    const norms = tf.tidy(() => tf.mean(tf.norm(rows, 2, 1)));
    const [meanNorm] = await norms.data();
    tf.dispose([rows, norms]);
    assert(Math.abs(meanNorm - Math.sqrt(3)) < 1e-5, `mean norm ${meanNorm}`);
  }, { clipSigma: 1, scale: true }));

Deno.test({
  name: "reading leaves no tensor and no open file behind",
  sanitizeResources: true,
  fn: () =>
    withStore(async (store) => {
      const before = tf.memory().numTensors;
      const train = store.split("train");
      for (let step = 0; step < 5; step++) await firstColumn(train.shuffledBatch(step, 16, 0));
      assertEquals(tf.memory().numTensors, before);
      store.close();
      store.close(); // closing twice does no harm, and what is closed can be read
      assertEquals(await firstColumn(train.rows(7, 2)), [7, 8]);
      store.close();
    }),
});

Deno.test("a thread that reads ahead changes no byte, and its end is no error", () =>
  withStore(async ({ dir }) => {
    using ahead = ActivationStore.open(dir, { readAhead: true });
    using plain = ActivationStore.open(dir, { readAhead: false });
    const [a, b] = [ahead.split("train"), plain.split("train")];
    const same = async (step: number, batchSize: number, seed: number) => {
      const expected = await firstColumn(b.shuffledBatch(step, batchSize, seed));
      assertEquals(await firstColumn(a.shuffledBatch(step, batchSize, seed)), expected);
    };
    const before = tf.memory().numTensors;
    // In order, across the end of an epoch; then elsewhere, with other batches, and back.
    for (let step = 0; step < 9; step++) await same(step, 13, 0);
    for (const step of [3, 4, 5, 0, 6, 7]) await same(step, 13, 0);
    for (let step = 8; step < 12; step++) await same(step, 5, 1);
    const together = [12, 13, 12].map((step) => firstColumn(a.shuffledBatch(step, 5, 1)));
    const expected = [12, 13, 12].map((step) => firstColumn(b.shuffledBatch(step, 5, 1)));
    assertEquals(await Promise.all(together), await Promise.all(expected));
    ahead.close();
    for (let step = 14; step < 17; step++) await same(step, 5, 1);
    assertEquals(tf.memory().numTensors, before);
    // A file that is gone is an error of the batch that needs it.
    await same(0, 50, 0);
    await same(1, 50, 0);
    ahead.close();
    await Deno.remove(`${dir}/train-00001.safetensors`);
    await assertRejects(() => a.shuffledBatch(2, 50, 0), Error, "train-00001.safetensors");
  }, { clipSigma: 1, scale: true }));

Deno.test("tokens that are not there are refused", () =>
  withStore(async (store) => {
    const train = store.split("train");
    assertThrows(() => train.rows(48, 3), RangeError, "it has 50");
    assertThrows(() => train.rows(0, 0), RangeError, "Cannot read 0 tokens");
    assertThrows(() => train.batch(Int32Array.of(50)), RangeError, "token 50");
    assertThrows(() => train.batch(Int32Array.of(-1)), RangeError, "token -1");
    assertThrows(() => train.batch(new Int32Array()), RangeError, "no tokens");
    await assertRejects(() => train.shuffledBatch(0, 51, 0), RangeError, "batches of 51 tokens");
    await assertRejects(() => train.shuffledBatch(0, 0, 0), RangeError, "batches of 0 tokens");
    await assertRejects(() => train.shuffledBatch(-1, 5, 0), RangeError, "batch -1");
    assertThrows(() => store.split("dev" as "test"), RangeError, 'no split "dev"');
  }));

Deno.test("a shard that is cut short, missing or of another shape is found when the store is opened", () =>
  withStore(async ({ dir }) => {
    const shard = `${dir}/train-00003.safetensors`;
    const whole = await Deno.readFile(shard);
    for (const length of [0, 5, 60, whole.length - 1]) {
      await Deno.writeFile(shard, whole.subarray(0, length));
      assertThrows(() => ActivationStore.open(dir), Error, shard);
    }
    await Deno.copyFile(`${dir}/train-00006.safetensors`, shard);
    const error = assertThrows(() => ActivationStore.open(dir), Error, shard);
    assert(error.message.includes('"activations" is F32 [2,3], expected F32 [8,3]'));
    await Deno.remove(shard);
    assertThrows(() => ActivationStore.open(dir), Error, "there is no such file");
    await Deno.writeFile(shard, whole);
    ActivationStore.open(dir);
  }));

Deno.test("a changed byte is found by verify", () =>
  withStore(async (store) => {
    await store.verify();
    const shard = `${store.dir}/validation-00000.safetensors`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length - 1] ^= 1;
    await Deno.writeFile(shard, bytes);
    const error = await assertRejects(() => store.verify(), Error, shard);
    const [{ sha256: expected }] = store.manifest.splits.validation.shards;
    assert(error.message.includes(`is ${await sha256(bytes)}, expected ${expected}`));
  }));

Deno.test("a damaged manifest is refused by name", () =>
  withStore(async ({ dir }) => {
    const path = `${dir}/manifest.json`;
    const text = await Deno.readTextFile(path);
    const cases: [string, string][] = [
      ["{", "Cannot read the manifest"],
      [text.replace('"format": 1', '"format": 2'), "format 2, expected 1"],
      [text.replace('"tokens": 50', '"tokens": 51'), 'states 51 tokens of "train"'],
      [text.replace('"splits"', '"parts"'), 'does not say what it has of "train"'],
      [text.replace('"documents"', '"texts"'), 'does not say what it has of "train"'],
      [text.replace('"train-0', '"../train-0'), 'names {"file":"../train-0'],
      [text.replace(/"sha256": "./, '"sha256": "'), 'names {"file":"train-0'],
      [text.replace('"dModel": 3', '"dModel": "3"'), "has the dModel 3"],
      ["null", "has the format undefined"],
    ];
    for (const [damaged, message] of cases) {
      assertNotEquals(damaged, text);
      await Deno.writeTextFile(path, damaged);
      assertThrows(() => ActivationStore.open(dir), Error, message);
    }
  }));

Deno.test("B12 fits the normaliser on validation tokens too, and names itself in the manifest", () =>
  withStore(async (store) => {
    const rows = async (opened: ActivationStore, names: ("train" | "validation")[]) => {
      const values: number[] = [];
      for (const name of names) {
        const split = opened.split(name);
        values.push(...await split.rows(0, split.tokens).data());
      }
      return values;
    };
    const meanNorm = (values: number[]) => {
      let sum = 0;
      for (let i = 0; i < values.length; i += 3) sum += Math.hypot(...values.slice(i, i + 3));
      return sum / (values.length / 3);
    };
    const both = ["train", "validation"] as const;
    const leaky = ActivationStore.open(store.dir, { faithful: ["B12"] });
    assertAlmostEquals(meanNorm(await rows(store, ["train"])), Math.sqrt(3), 1e-5);
    assertAlmostEquals(meanNorm(await rows(leaky, [...both])), Math.sqrt(3), 1e-5);
    assert(leaky.normalizer.scale > store.normalizer.scale, "validation tokens are shorter here");
    assertNotEquals(leaky.hash, store.hash);
    assertEquals(leaky.manifest, { ...store.manifest, faithful: ["B12"] });
    leaky.close();
  }, { clipSigma: null, scale: true }));
