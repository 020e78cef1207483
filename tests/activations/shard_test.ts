import { assert, assertEquals, assertRejects } from "@std/assert";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import {
  ActivationStore,
  harvest,
  type HarvestOptions,
  mergeShards,
} from "../../lib/activations/mod.ts";
import { fromTexts } from "../../lib/corpus/mod.ts";
import type { Storage } from "../../lib/storage/mod.ts";
import { inScratch, namesBelow, withFullDisk } from "../files/scratch.ts";
import { fakeSource, quietly } from "./fake_source.ts";
import {
  at,
  contents,
  names,
  planned,
  rowsOf,
  sharded,
  splits,
  streamed,
  whole,
} from "./sharded.ts";
import { streamedTexts } from "./streamed_texts.ts";

await openDevice();

Deno.test("parts of any number make the store of an unsharded harvest, row by row", () =>
  inScratch(async (dir) => {
    const expected = await whole(dir, planned);
    assert(expected.manifest.splits.train.sinks > 0);
    for (const parts of [1, 3, 7]) {
      const store = await sharded(dir, parts, planned).store();
      for (const name of names) {
        const [a, b] = [store.split(name), expected.split(name)];
        assertEquals(await rowsOf(store, name), await rowsOf(expected, name));
        assertEquals([a.tokenIds, a.document, a.positions], [b.tokenIds, b.document, b.positions]);
        const { shards: _, ...counts } = expected.manifest.splits[name];
        const { shards: __, ...found } = store.manifest.splits[name];
        assertEquals(found, counts);
      }
      assertEquals({ ...store.manifest, splits: undefined }, {
        ...expected.manifest,
        splits: undefined,
      });
      assertEquals(store.normalizer.scale, expected.normalizer.scale);
      await store.verify();
      assert(!namesBelow(dir).some((name) => /partial|merge-|unfinished/.test(name)));
      store.close();
    }
    expected.close();
  }));

Deno.test("more parts than batches are no error: some are empty, the first among them", () =>
  inScratch(async (dir) => {
    const expected = await whole(dir, planned);
    for (const maxNormRatio of [5, null]) {
      const of = 40;
      const { part, store } = sharded(`${dir}/${maxNormRatio}`, of, { ...planned, maxNormRatio });
      const first = await part(0);
      assertEquals(names.map((name) => first.splits[name].shards.length), [0, 0, 0]);
      assertEquals(first.manifest.dModel, 4);
      const merged = await store();
      if (maxNormRatio !== null) {
        for (const name of names) {
          assertEquals(await rowsOf(merged, name), await rowsOf(expected, name));
        }
      }
      assertEquals(merged.split("train").documents, expected.split("train").documents);
    }
  }));

Deno.test("parts may run in any order: every byte is the same", () =>
  inScratch(async (dir) => {
    for (
      const [kind, options, documents] of [
        ["planned", planned, splits],
        ["streamed", streamed, streamedTexts()],
      ] as const
    ) {
      const a = await sharded(`${dir}/${kind}/a`, 3, options, documents).store([0, 1, 2]);
      const b = await sharded(`${dir}/${kind}/b`, 3, options, documents).store([2, 0, 1]);
      assertEquals(await contents(a.dir), await contents(b.dir));
      assertEquals(a.hash, b.hash);
    }
  }));

Deno.test("of documents that stream every one is in one part, whole, under its own number", () =>
  inScratch(async (dir) => {
    const texts = new Map<string, string>();
    const all = { train: "all", validation: "all", test: "all" } as const;
    const documents = streamedTexts(({ id, text }) => texts.set(id, text));
    const options = { ...streamed, tokens: all, maxNormRatio: null };
    const store = await sharded(dir, 3, options, documents).store();
    const seen = new Set<string>();
    for (const name of names) {
      const split = store.split(name);
      const stored = new Map<string, string>();
      for (let t = 0; t < split.tokens; t++) {
        const id = split.documents[split.document[t]];
        stored.set(id, (stored.get(id) ?? "") + String.fromCharCode(96 + split.tokenIds[t]));
      }
      assertEquals(stored.size, split.documents.length);
      for (const [id, letters] of stored) {
        assert(!seen.has(id), `${id} is in one split`);
        seen.add(id);
        assertEquals([...letters].sort(), [...texts.get(id)!].sort());
      }
    }
    assertEquals(seen.size, texts.size);
    // Every document is in the split in which an unsharded harvest has it.
    const expected = await whole(dir, options, documents);
    for (const name of names) {
      const ids = expected.split(name).documents;
      assertEquals([...store.split(name).documents].sort(), [...ids].sort());
    }
  }));

Deno.test("parts of a source have their share of the tokens, and the sinks of the whole", () =>
  inScratch(async (dir) => {
    const documents = streamedTexts();
    const { part, store } = sharded(dir, 7, streamed, documents);
    for (let index = 0; index < 7; index++) {
      const { splits, manifest } = await part(index);
      for (const name of names) {
        const share = splits[name].tokens + splits[name].sinks;
        assert(Math.abs(share - streamed.tokens[name] / 7) < 1, `${share} of ${name}`);
      }
      assertEquals(manifest.maxNorm, (await whole(dir, streamed, documents)).manifest.maxNorm);
    }
    const merged = await store();
    for (const name of names) {
      const { tokens, sinks } = merged.manifest.splits[name];
      assertEquals(tokens + sinks, streamed.tokens[name]);
      assert(!merged.split(name).tokenIds.includes(20));
    }
  }));

Deno.test("a part that is whole is not harvested again; one with a damaged file or record is", () =>
  inScratch(async (dir) => {
    const { part, storage } = sharded(dir, 3, planned);
    const first = await part(1);
    const model = fakeSource(4, { at });
    assertEquals(await part(1, model), first);
    assertEquals(model.runs, []);

    const [{ file }] = first.splits.train.shards;
    const record = `${first.key}/parts/00001-of-00003.json`;
    const damages = [
      () => storage.remove(`${first.key}/${file}`),
      () => storage.write(`${first.key}/${file}`, "cut short"),
      () => storage.write(record, "{"),
      () => storage.write(record, JSON.stringify({ ...first, format: 2 })),
    ];
    for (const damage of damages) {
      await damage();
      const again = fakeSource(4, { at });
      assertEquals(await part(1, again), first);
      assert(again.runs.length > 0);
    }
  }));

Deno.test("the work of a part is its own batches and one more, for the sinks", () =>
  inScratch(async (dir) => {
    const model = fakeSource(4, { at });
    await quietly(() => harvest(model, splits, { ...planned, dir: `${dir}/whole` }));
    const { part } = sharded(dir, 3, planned);
    const runs = [];
    for (let index = 0; index < 3; index++) {
      const own = fakeSource(4, { at });
      await part(index, own);
      if (index > 0) assertEquals(own.runs[0], model.runs[0]);
      runs.push(...own.runs.slice(index > 0 ? 1 : 0));
    }
    assertEquals(runs, model.runs);
  }));

Deno.test("parts of documents in memory have equal work, but for a batch", () =>
  inScratch(async (dir) => {
    const texts = Array.from({ length: 60 }, (_, i) => "abcdefghijklmnopqrs".slice(0, 1 + i % 19));
    const documents = { ...splits, train: fromTexts(texts, { name: "train" }) };
    const all = { train: "all", validation: "all", test: "all" } as const;
    const { part } = sharded(dir, 4, { ...planned, tokens: all }, documents);
    const parts = [];
    for (const index of [0, 1, 2, 3]) parts.push(await part(index));
    const tokens = parts.map(({ splits }) =>
      names.reduce((sum, name) => sum + splits[name].tokens + splits[name].sinks, 0)
    );
    const mean = tokens.reduce((a, b) => a + b) / 4;
    // BOS counts as work too, and short sequences have more of it.
    for (const count of tokens) assert(Math.abs(count - mean) < 0.2 * mean, `${tokens}`);
  }));

Deno.test("text is tokenised by the first part that runs, for all of them", () =>
  inScratch(async (dir) => {
    const { part, storage, store } = sharded(dir, 3, planned);
    const counting = () => {
      const model = fakeSource(4, { at });
      const encode = (text: string) => (encoded.push(text), model.tokenizer.encode(text));
      const encoded: string[] = [];
      return { ...model, tokenizer: { ...model.tokenizer, encode }, encoded };
    };
    const [first, second] = [counting(), counting()];
    const { key } = await part(2, first);
    const texts = names.flatMap((name) => splits[name].map(({ text }) => text));
    assertEquals(first.encoded.toSorted(), texts.toSorted());
    await part(1, second);
    assertEquals(second.encoded, []);
    const plan = `${key}/parts/plan.safetensors`;
    assert(await storage.stat(plan));
    // A damaged plan is made again.
    await storage.write(plan, "damaged");
    const third = counting();
    await part(0, third);
    assertEquals(third.encoded.length, texts.length);
    assert((await storage.stat(plan))!.size > 100);
    await store();
    assertEquals(await storage.stat(plan), undefined);
  }));

Deno.test("a part that was stopped goes on where it was, and ends with the same bytes", () =>
  inScratch(async (dir) => {
    for (
      const [kind, options, documents] of [
        ["planned", planned, splits],
        ["streamed", streamed, streamedTexts()],
      ] as const
    ) {
      const [straight, stopped] = ["a", "b"].map((name) =>
        sharded(`${dir}/${kind}/${name}`, 2, options, documents)
      );
      const all = fakeSource(4, { at });
      await straight.part(1, all);
      const stop = new AbortController();
      const half = Math.floor(all.runs.length / 2);
      const model = fakeSource(4, {
        at,
        afterRun: () => model.runs.length === half && stop.abort(),
      });
      const before = tf.memory().numTensors;
      await assertRejects(
        () => stopped.part(1, model, { signal: stop.signal, keepEvery: 0 }),
        DOMException,
        "aborted",
      );
      assertEquals(tf.memory().numTensors, before);
      const again = fakeSource(4, { at });
      await stopped.part(1, again);
      assert(again.runs.length < all.runs.length);
      assertEquals(
        await contents(`${dir}/${kind}/b/shared-2`),
        await contents(`${dir}/${kind}/a/shared-2`),
      );
      assertEquals(namesBelow(`${dir}/${kind}/b/local-2`), []);
    }
  }));

Deno.test("a part of which files were lost or damaged before it went on starts anew", () =>
  inScratch(async (dir) => {
    const options = { ...planned, batchSize: 1 };
    const straight = sharded(`${dir}/straight`, 2, options);
    const all = fakeSource(4, { at });
    await straight.part(0, all);
    const damages: [RegExp, (path: string) => Promise<void>][] = [
      [/partial-.*train/, (path) => Deno.remove(path)],
      [/partial-.*test/, (path) => Deno.writeTextFile(path, "damaged")],
      [/train-00000-00001/, (path) => Deno.remove(path)],
      [/train-00000-00000/, (path) => Deno.truncate(path, 100)],
      [/harvest.json/, (path) => Deno.writeTextFile(path, "{")],
    ];
    for (const [i, [name, damage]] of damages.entries()) {
      const { part } = sharded(`${dir}/${i}`, 2, options);
      const stop = new AbortController();
      const model = fakeSource(4, { at, afterRun: () => model.runs.length === 4 && stop.abort() });
      const stopped = part(0, model, { signal: stop.signal, keepEvery: 0 });
      await assertRejects(() => stopped, DOMException, "aborted");
      const local = `${dir}/${i}/local-2`;
      await damage(`${local}/${namesBelow(local).find((path) => name.test(path))}`);
      const again = fakeSource(4, { at });
      await part(0, again);
      assertEquals(again.runs, all.runs);
      assertEquals(
        await contents(`${dir}/${i}/shared-2`),
        await contents(`${dir}/straight/shared-2`),
      );
    }
  }));

Deno.test("two at once on one part of one machine run the model once, on two machines agree", () =>
  inScratch(async (dir) => {
    const { part, storage } = sharded(dir, 2, planned);
    const [a, b] = [fakeSource(4, { at }), fakeSource(4, { at })];
    const [first, second] = await Promise.all([part(1, a), part(1, b)]);
    assertEquals(first, second);
    assertEquals(Math.min(a.runs.length, b.runs.length), 0);

    const files = await contents(`${dir}/shared-2`);
    await storage.remove(`${first.key}/parts/00001-of-00002.json`);
    const others = ["x", "y"].map((machine) =>
      part(1, fakeSource(4, { at }), { dir: `${dir}/${machine}` })
    );
    assertEquals(await Promise.all(others), [first, first]);
    assertEquals(await contents(`${dir}/shared-2`), files);
  }));

Deno.test("one that waits for another on the same part can be stopped", () =>
  inScratch(async (dir) => {
    const { part } = sharded(dir, 2, planned);
    const stop = new AbortController();
    const [a, b] = [fakeSource(4, { at }), fakeSource(4, { at })];
    const slow: typeof a = {
      ...a,
      runWithCache: async (tokens, options) => {
        if (a.runs.length === 1) {
          const waiting = part(1, b, { signal: stop.signal });
          setTimeout(() => stop.abort(), 10);
          await assertRejects(() => waiting, DOMException, "aborted");
        }
        return await a.runWithCache(tokens, options);
      },
    };
    const { splits } = await part(1, slow);
    assert(splits.train.tokens > 0);
    assertEquals(b.runs, []);
  }));

Deno.test("a machine that rounds otherwise takes no file of a part that is whole from it", () =>
  inScratch(async (dir) => {
    const { part, storage } = sharded(dir, 2, planned);
    const first = await part(1);
    await part(0);
    // It began before the other one was ready: its record is not there yet.
    const record = `${first.key}/parts/00001-of-00002.json`;
    const before = await storage.read(record);
    await storage.remove(record);
    const rounded = (token: number, position: number, j: number) =>
      Math.fround(at(token, position, j) * (1 + 1e-6));
    await part(1, fakeSource(4, { at: rounded }), { dir: `${dir}/other` });
    await storage.write(record, before);
    const { key } = first;
    await quietly(() => mergeShards({ storage, key, of: 2, dir }));
    await ActivationStore.open(`${dir}/shared-2/${key}`).verify();
  }));

Deno.test("what a storage refuses costs no work: it is uploaded by the next run", () =>
  inScratch(async (dir) => {
    const { part, storage } = sharded(dir, 2, planned);
    const broken: Storage = {
      url: storage.url,
      stat: (key) => storage.stat(key),
      read: (key) => storage.read(key),
      list: (prefix) => storage.list(prefix),
      write: (key, content) => storage.write(key, content),
      upload: () => Promise.reject(new Error("The storage is away")),
      download: (key, path) => storage.download(key, path),
      remove: (key) => storage.remove(key),
    };
    const model = fakeSource(4, { at });
    const refused = { storage: broken } as Partial<HarvestOptions>;
    await assertRejects(() => part(0, model, refused), Error, "The storage is away");
    assert(model.runs.length > 0);
    assertEquals(await Array.fromAsync(storage.list("")), []);
    const again = fakeSource(4, { at });
    const { splits } = await part(0, again);
    assertEquals(again.runs, []);
    assert(splits.train.tokens > 0);
  }));

Deno.test("a full disk leaves no record of a part, and the part is harvested when there is room", () =>
  inScratch(async (dir) => {
    const { part, storage, store } = sharded(dir, 2, planned);
    await withFullDisk(700, async () => {
      await assertRejects(() => part(0), Error, "the disk is full");
    });
    for await (const { key } of storage.list("")) assert(!key.includes("/parts/"), key);
    await (await store()).verify();
  }));

Deno.test("a part that cannot be is refused before the model runs", () =>
  inScratch(async (dir) => {
    const model = fakeSource(4, { at });
    const cases: [number, number, string][] = [
      [2, 2, "no part 2 of 2"],
      [-1, 2, "no part -1 of 2"],
      [0.5, 2, "no part 0.5 of 2"],
      [0, 0, "no part 0 of 0"],
    ];
    for (const [index, of, message] of cases) {
      const { part } = sharded(dir, of, planned);
      await assertRejects(() => part(index, model), RangeError, message);
    }
    assertEquals(model.runs, []);
    const tokens = { train: 1500, validation: 100, test: 100_000 };
    const { part } = sharded(dir, 3, { ...streamed, tokens }, streamedTexts());
    await assertRejects(() => part(2), RangeError, "documents of shard 3/3 of the source have");
    const empty = { ...streamedTexts(), source: { async *[Symbol.asyncIterator]() {} } };
    const all = { train: "all", validation: "all", test: "all" } as const;
    const none = sharded(dir, 2, { ...streamed, tokens: all }, empty);
    await assertRejects(() => none.part(0), RangeError, "the 0 documents of the source have");
  }));
