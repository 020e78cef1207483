import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ActivationStore, type FetchOptions } from "../../lib/activations/mod.ts";
import { fetchPlace } from "../../lib/activations/fetch_place.ts";
import { StoreFetcher } from "../../lib/activations/store_fetcher.ts";
import { limitTokens } from "../../lib/dictionary/mod.ts";
import { openStorage, type Storage } from "../../lib/storage/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { WindowedOrder } from "../../lib/training/mod.ts";
import { inScratch } from "../files/scratch.ts";
import {
  FILES,
  KEY,
  largestFile,
  putStore,
  shardBytes,
  shardsIn,
  TOKENS,
  until,
  WIDTH,
} from "./remote_stores.ts";

await openDevice();

interface Places {
  storage: Storage;
  /** The store as it was harvested. */
  dir: string;
  /** Folder of what is fetched. */
  cache: string;
  fetch(options?: FetchOptions): Promise<ActivationStore>;
}

function withPlaces(use: (places: Places) => Promise<void>, shardTokens?: number): Promise<void> {
  return inScratch(async (folder) => {
    const storage = openStorage(`${folder}/storage`);
    const dir = await putStore(storage, `${folder}/made`, shardTokens);
    const cache = `${folder}/fetched`;
    const fetch = (options?: FetchOptions) =>
      ActivationStore.fetch(storage, KEY, { dir: cache, ...options });
    await use({ storage, dir, cache, fetch });
  });
}

async function valuesOf(read: tf.Tensor2D | Promise<tf.Tensor2D>): Promise<number[]> {
  const x = await read;
  const values = await x.data();
  x.dispose();
  return [...values];
}

for (const [window, cached] of [[undefined, FILES], [3, 6], [1, 2], [100, FILES]] as const) {
  Deno.test(
    `what is fetched is what lies in the store, byte by byte: window ${window}, ${cached} files here`,
    () =>
      withPlaces(async ({ dir, cache, fetch }) => {
        const size = largestFile(dir);
        const cacheBytes = cached * size;
        using local = ActivationStore.open(dir, { window });
        using fetched = await fetch({ window, cacheBytes });
        assertEquals([fetched.hash, fetched.manifest], [local.hash, local.manifest]);
        assertEquals(shardsIn(cache), []);
        const [a, b] = [local.split("train"), fetched.split("train")];
        let most = 0;
        const look = () => most = Math.max(most, shardBytes(cache));
        const looking = setInterval(look, 1);
        const tensors = tf.memory().numTensors;
        for (const [batchSize, seed] of [[7, 0], [61, 1]]) {
          for (let step = 0; step * batchSize < 2 * TOKENS; step++) {
            const expected = await valuesOf(a.shuffledBatch(step, batchSize, seed));
            assertEquals(await valuesOf(b.shuffledBatch(step, batchSize, seed)), expected);
            look();
          }
        }
        for (const name of ["train", "validation", "test"] as const) {
          const [x, y] = [local.split(name), fetched.split(name)];
          assertEquals(await valuesOf(y.rows(0, y.tokens)), await valuesOf(x.rows(0, x.tokens)));
          assertEquals([y.document, y.tokenIds, y.positions], [
            x.document,
            x.tokenIds,
            x.positions,
          ]);
          look();
        }
        const some = Int32Array.of(60, 0, 33, 33, 8, 59, 17, 1);
        assertEquals(await valuesOf(b.batch(some)), await valuesOf(a.batch(some)));
        assertEquals(tf.memory().numTensors, tensors);
        look();
        clearInterval(looking);
        assert(most > 0 && most <= cacheBytes + size, `${most} bytes in ${cacheBytes}`);
      }),
  );
}

Deno.test("a thread that reads ahead reads what is fetched, with the bytes of the store", () =>
  withPlaces(async ({ dir, fetch }) => {
    using local = ActivationStore.open(dir, { window: 2, readAhead: false });
    using fetched = await fetch({
      window: 2,
      cacheBytes: 4 * largestFile(dir),
      readAhead: true,
    });
    const [a, b] = [local.split("train"), fetched.split("train")];
    for (let step = 0; step < 40; step++) {
      const expected = await valuesOf(a.shuffledBatch(step, 5, 0));
      assertEquals(await valuesOf(b.shuffledBatch(step, 5, 0)), expected);
      // What is held out is evaluated between the steps, and wants room too.
      if (step % 10 === 9) await valuesOf(fetched.split("validation").rows(0, 10));
    }
    fetched.close();
    const expected = await valuesOf(a.shuffledBatch(40, 5, 0));
    assertEquals(await valuesOf(b.shuffledBatch(40, 5, 0)), expected);
  }));

Deno.test("the next window is fetched while one is read, and nothing else is", () =>
  withPlaces(async ({ dir, cache, fetch }) => {
    using fetched = await fetch({ window: 3 });
    const { shards } = fetched.manifest.splits.train;
    const starts = shards.reduce((all, { tokens }) => [...all, all.at(-1)! + tokens], [0]);
    const { now, next } = new WindowedOrder(starts, 3).files({ step: 0, batchSize: 2, seed: 5 });
    await valuesOf(fetched.split("train").shuffledBatch(0, 2, 5));
    const names = [...now, ...next].map((file) => shards[file].file).sort();
    await until(() => shardsIn(cache).length === names.length, `${names} are fetched`);
    assertEquals(shardsIn(cache), names);
    assertEquals(ActivationStore.open(dir, { window: 3 }).hash, fetched.hash);
  }));

Deno.test("what is there is not fetched again, by any process", () =>
  withPlaces(async ({ storage, dir, fetch }) => {
    const read = async (store: ActivationStore) =>
      await valuesOf(store.split("train").rows(0, TOKENS));
    using first = await fetch();
    const expected = await read(first);
    first.close();
    using again = await fetch();
    for (const { file } of again.manifest.splits.train.shards) {
      await storage.remove(`${KEY}/${file}`);
    }
    assertEquals(await read(again), expected);
    const error = await assertRejects(() => fetch(), Error, "train-00000.safetensors");
    assert(error.message.includes("harvest it again"));
    assertEquals(await read(ActivationStore.open(dir)), expected);
  }));

Deno.test("a file that cannot be fetched ends the read with an error that names it, and may be asked for again", () =>
  withPlaces(async ({ storage, dir, fetch }) => {
    using fetched = await fetch({ window: FILES });
    const train = fetched.split("train");
    const name = "train-00003.safetensors";
    const key = `${KEY}/${name}`;
    const expected = await valuesOf(ActivationStore.open(dir).split("train").rows(12, 4));
    await storage.remove(key);
    for (const read of [() => train.rows(12, 4), () => train.batch(Int32Array.of(13))]) {
      const error = assertThrows(read, Error, `Cannot fetch "${name}" of the activation store`);
      assert(error.message.includes("There is no"), error.message);
    }
    await assertRejects(() => train.shuffledBatch(0, TOKENS, 0), Error, name);

    const bytes = await Deno.readFile(`${dir}/${name}`);
    bytes[bytes.length - 1] ^= 1;
    await storage.write(key, bytes);
    const error = assertThrows(() => train.rows(12, 4), Error, `Cannot fetch "${name}"`);
    assert(error.message.includes("SHA-256"), error.message);
    await assertRejects(() => fetched.verify(), Error, name);

    await storage.write(key, await Deno.readFile(`${dir}/${name}`));
    assertEquals(await valuesOf(train.rows(12, 4)), expected);
    await fetched.verify();
  }));

Deno.test("what a killed process or a full disk left in the folder is not trusted", () =>
  withPlaces(async ({ dir, cache, fetch }) => {
    const name = "train-00003.safetensors";
    const left = `${cache}/.fetching.999999999.left`;
    await Deno.mkdir(`${left}/${name}`, { recursive: true });
    await Deno.writeTextFile(`${left}/.lock`, "");
    await Deno.writeTextFile(`${left}/${name}/${name}`, "half of i");
    await Deno.writeTextFile(`${cache}/${name}`, "half of it");
    using fetched = await fetch();
    const expected = await valuesOf(ActivationStore.open(dir).split("train").rows(12, 4));
    assertEquals(await valuesOf(fetched.split("train").rows(12, 4)), expected);
    assertThrows(() => Deno.statSync(left), Deno.errors.NotFound);
  }));

Deno.test("files that vanish from the folder are fetched again, and open ones can still be read", () =>
  withPlaces(async ({ dir, cache, fetch }) => {
    using local = ActivationStore.open(dir);
    using fetched = await fetch();
    const [a, b] = [local.split("train"), fetched.split("train")];
    const same = async () =>
      assertEquals(await valuesOf(b.rows(0, TOKENS)), await valuesOf(a.rows(0, TOKENS)));
    await same();
    for (const name of shardsIn(cache)) await Deno.remove(`${cache}/${name}`);
    await same();
    const name = "validation-00000.safetensors";
    await valuesOf(fetched.split("validation").rows(0, 4));
    assert(shardsIn(cache).includes(name));
    await Deno.remove(`${cache}/${name}`);
    // Another reader of the same process does not have it open.
    assertEquals(fetched.split("validation").firstTokens(3).document, new Int32Array(3));
    assert(shardsIn(cache).includes(name));
  }));

Deno.test("fewer tokens of a store in windows have windows of their own files", () =>
  withPlaces(async ({ dir, cache, fetch }) => {
    const numbers = new Map<string, number>();
    using local = ActivationStore.open(dir);
    const all = await valuesOf(local.split("train").rows(0, TOKENS));
    for (let i = 0; i < TOKENS; i++) {
      numbers.set(`${all.slice(i * WIDTH, (i + 1) * WIDTH)}`, i);
    }
    using fetched = await fetch({ window: 2, cacheBytes: 4 * largestFile(dir) });
    const train = limitTokens(fetched, { train: 26 }).split("train");
    const order = new WindowedOrder([0, 4, 8, 12, 16, 20, 24, 26], 2);
    for (let step = 0; step < 12; step++) {
      const values = await valuesOf(train.shuffledBatch(step, 5, 1));
      const drawn = Array.from(
        { length: 5 },
        (_, i) => numbers.get(`${values.slice(i * WIDTH, (i + 1) * WIDTH)}`),
      );
      assertEquals(drawn, [...order.indices({ step, batchSize: 5, seed: 1 })]);
    }
    assert(shardsIn(cache).every((name) => name < "train-00007"), `${shardsIn(cache)}`);
    assertEquals(train.document.length, 26);
  }));

Deno.test("B12 is fitted on what is fetched, with the numbers of the store itself", () =>
  withPlaces(async ({ dir, fetch }) => {
    using local = ActivationStore.open(dir, { faithful: ["B12"] });
    using fetched = await fetch({ faithful: ["B12"], cacheBytes: 2 * largestFile(dir) });
    assertEquals(fetched.hash, local.hash);
    assertEquals(fetched.normalizer, local.normalizer);
  }));

Deno.test("a file that comes while it is asked for does not stay for ever", () =>
  withPlaces(async ({ storage, dir, cache }) => {
    const cacheBytes = 2 * largestFile(dir);
    const { place } = await fetchPlace(storage, KEY, { dir: cache, cacheBytes });
    const fetcher = new StoreFetcher(place);
    const train = fetcher.of("train", 0);
    await train.ready([0, 1]);
    fetcher.tell({ require: [0, 1] });
    fetcher.tell({ require: [2] });
    await until(() => train.has(2), "there is room for another one");
    fetcher.close();
  }));

Deno.test("a store that is not there, another one's folder, and impossible sizes are refused", () =>
  withPlaces(async ({ storage, dir, cache, fetch }) => {
    for (const key of ["activations/x", "x"]) {
      await assertRejects(() => ActivationStore.fetch(storage, key), Error, "no complete");
    }
    const size = largestFile(dir);
    const error = await assertRejects(
      () => fetch({ window: 4, cacheBytes: 7 * size }),
      RangeError,
      `need ${8 * size}`,
    );
    assert(error.message.includes("two windows of 4 files"), error.message);
    await assertRejects(() => fetch({ window: 0 }), RangeError, "windows of 0 files");
    assertThrows(() => ActivationStore.open(dir, { window: 1.5 }), RangeError, "windows of 1.5");

    // All tokens together need all files; reading them in order does not.
    using small = await fetch({ cacheBytes: 5 * size });
    const refusal = await assertRejects(
      () => small.split("train").shuffledBatch(0, 4, 0),
      RangeError,
      `cacheBytes, what is kept of them here, is ${5 * size}`,
    );
    assert(refusal.message.includes("of at most 2 files"), refusal.message);
    assertEquals((await valuesOf(small.split("train").rows(0, TOKENS))).length, TOKENS * WIDTH);
    await valuesOf(small.split("validation").shuffledBatch(0, 4, 0));

    await Deno.writeTextFile(`${cache}/manifest.json`, "{}");
    await assertRejects(() => fetch(), Error, "another store is there");
  }));
