import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { openDevice, Rng } from "../../lib/tensor/mod.ts";
import { fromTexts } from "../../lib/corpus/mod.ts";
import { ActivationStore, type HarvestPart, mergeShards } from "../../lib/activations/mod.ts";
import { inScratch, namesBelow } from "../files/scratch.ts";
import { quietly } from "./fake_source.ts";
import { contents, planned, sharded, streamed, whole } from "./sharded.ts";

await openDevice();

const recordOf = ({ key, shard: { index, of } }: HarvestPart) =>
  `${key}/parts/0000${index}-of-0000${of}.json`;

Deno.test("the normaliser of the parts is that of the whole, with clamping and without", () =>
  inScratch(async (dir) => {
    for (const clipSigma of [null, 1.5]) {
      for (const dtype of ["float32", "float16"] as const) {
        const options = { ...planned, dtype, normalizer: { clipSigma, scale: true } };
        const expected = await whole(dir, options);
        const store = await sharded(`${dir}/${clipSigma}-${dtype}`, 3, options).store();
        const [a, b] = [store.normalizer, expected.normalizer];
        assertEquals([a.scale, a.clip], [b.scale, b.clip]);
        assertEquals(a.clip === null, clipSigma === null);
        assertEquals([a.fit!.tokens, a.fit!.clippedFraction], [
          b.fit!.tokens,
          b.fit!.clippedFraction,
        ]);
        // Sums of 35 rows that are added in another order.
        for (const name of ["mean", "standardDeviation", "meanNorm"] as const) {
          assertAlmostEquals(a.fit![name] / b.fit![name], 1, 35 * 4 * 2 ** -52);
        }
        assert(clipSigma === null || a.fit!.clippedFraction > 0);
      }
    }
  }));

Deno.test("a merge is done once, and leaves nothing beside the store", () =>
  inScratch(async (dir) => {
    const { storage, store } = sharded(dir, 3, planned);
    const { dir: folder, hash } = await store();
    const key = folder.slice(folder.indexOf("activations/"));
    const { mtime } = await Deno.stat(`${folder}/artefact.json`);
    assertEquals(await quietly(() => mergeShards({ storage, key, of: 3, dir })), key);
    assertEquals((await Deno.stat(`${folder}/artefact.json`)).mtime, mtime);
    assertEquals(ActivationStore.open(folder).hash, hash);
    assertEquals(namesBelow(`${dir}/local-3`), []);
    const { hash: recorded } = JSON.parse(await Deno.readTextFile(`${folder}/artefact.json`));
    assertEquals(`activations/${recorded}`, key);
  }));

Deno.test("parts that are missing, damaged or disagree are refused by their numbers", () =>
  inScratch(async (dir) => {
    const { storage, part } = sharded(dir, 7, planned);
    const merge = (of = 7) => quietly(() => mergeShards({ storage, key, of, dir }));
    const { key } = await part(2);
    await assertRejects(
      merge,
      Error,
      "shard 1/7 is missing, shard 2/7 is missing, shard 4/7 is missing, shard 5/7 is missing, " +
        "shard 6/7 is missing and 1 more. Harvest them, then merge again",
    );
    await assertRejects(() => merge(3), Error, "it is cut into 7");
    await assertRejects(() => merge(0), RangeError, "Cannot merge 0 parts");
    const parts: HarvestPart[] = [];
    for (let index = 0; index < 7; index++) parts.push(await part(index));

    const some = parts.findIndex(({ splits }, i) => i > 0 && splits.train.shards.length > 0);
    const [{ file }] = parts[some].splits.train.shards;
    const { manifest, config, splits } = parts[5];
    const train = { ...splits.train, tokens: splits.train.tokens + 1 };
    const damages: [() => Promise<void>, number, string][] = [
      [() => storage.remove(`${key}/${file}`), some, `is not whole ("${file}" is missing`],
      [() => storage.write(`${key}/${file}`, "short"), some, `is not whole ("${file}" is`],
      ...([
        [{ ...parts[5], format: 2 }, "is of another configuration or version of the format"],
        [{ ...parts[5], config: { ...config, seed: 1 } }, "is of another configuration"],
        [{ ...parts[5], key: "activations/other" }, "is of another configuration"],
        [{ ...parts[5], shard: { index: 4, of: 7 } }, "is of another configuration"],
        [{ ...parts[5], manifest: { ...manifest, dModel: 5 } }, "does not agree with 1/7"],
        [
          { ...parts[5], manifest: { ...manifest, maxNorm: 1.01 * manifest.maxNorm! } },
          "does not agree with 1/7",
        ],
        ["{", "is of another configuration or version"],
        [{ ...parts[5], splits: undefined }, "is of another"],
        [{ ...parts[5], manifest: undefined }, "is of another"],
        [{ ...parts[5], config: undefined }, "is of another"],
        [{ ...parts[5], sums: undefined }, "is of another"],
        [{ ...parts[5], splits: { ...splits, train } }, "is of another"],
      ] as const).map(([record, message]): [() => Promise<void>, number, string] => [
        () => storage.write(recordOf(parts[5]), JSON.stringify(record)),
        5,
        message,
      ]),
    ];
    for (const [damage, index, message] of damages) {
      await damage();
      await assertRejects(merge, Error, `shard ${index + 1}/7 ${message}`);
      assertEquals(await storage.stat(`${key}/artefact.json`), undefined);
      assertEquals(await storage.stat(`${key}/manifest.json`), undefined);
      await part(index);
    }
    // Another machine rounds the norm of sinks otherwise: that is no disagreement.
    const rounded = { ...manifest, maxNorm: manifest.maxNorm! * (1 + 1e-6) };
    await storage.write(recordOf(parts[5]), JSON.stringify({ ...parts[5], manifest: rounded }));
    assertEquals(await merge(), key);
  }));

Deno.test("parts that have not what was asked for, or a document twice, are refused", () =>
  inScratch(async (dir) => {
    const { storage, part } = sharded(dir, 2, planned);
    const [first, second] = [await part(0), await part(1)];
    const { key } = first;
    const train = { ...first.splits.train, sinks: first.splits.train.sinks + 1 };
    const more = { ...first, splits: { ...first.splits, train } };
    await storage.write(recordOf(first), JSON.stringify(more));
    await assertRejects(
      () => quietly(() => mergeShards({ storage, key, of: 2, dir })),
      Error,
      'they have 36 tokens of "train", and 35 were asked for',
    );
    assert(second.splits.test.documents.length === 0, "ids are in the first part only");

    const all = { train: "all", validation: "all", test: "all" } as const;
    const documents = fromTexts(["abc", "def", "ghi", "jkl"], { name: "text" });
    const repeated = documents.with(3, documents[0]);
    const twice = {
      name: "twice",
      source: {
        [Symbol.asyncIterator]: async function* () {
          for (const document of repeated) yield await Promise.resolve(document);
        },
      },
      shares: { train: 1, validation: 0, test: 0 },
    };
    const { store } = sharded(`${dir}/twice`, 2, { ...streamed, tokens: all }, twice);
    await assertRejects(store, RangeError, 'two documents with the id "text/0"');
  }));

Deno.test("a pass for clamping that is stopped is made again", () =>
  inScratch(async (dir) => {
    const options = { ...planned, normalizer: { clipSigma: 2, scale: true } };
    const { storage, part } = sharded(dir, 2, options);
    const [{ key }] = [await part(0), await part(1)];
    const stop = new AbortController();
    const { download } = storage;
    let downloads = 0;
    storage.download = (...args) => {
      if (++downloads === 3) stop.abort();
      return download.apply(storage, args);
    };
    const merge = (signal?: AbortSignal) =>
      quietly(() => mergeShards({ storage, key, of: 2, dir: `${dir}/local-2`, signal }));
    await assertRejects(() => merge(stop.signal), DOMException, "aborted");
    assertEquals(downloads, 3);
    assertEquals(await storage.stat(`${key}/artefact.json`), undefined);
    assertEquals(namesBelow(`${dir}/local-2`), []);
    await merge();
    const expected = await whole(dir, options);
    const { scale, clip } = ActivationStore.open(`${dir}/shared-2/${key}`).normalizer;
    assertEquals([scale, clip], [expected.normalizer.scale, expected.normalizer.clip]);
  }));

Deno.test({
  name: "a part that is killed again and again ends with the bytes of one that was not",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inScratch(async (dir) => {
      const probe = new URL("./shard_kill_probe.ts", import.meta.url).pathname;
      const run = async (dir: string, slowness: number, killAt?: number) => {
        const process = new Deno.Command(Deno.execPath(), {
          args: ["run", "-A", "--no-check", probe, dir, `${slowness}`],
          stdout: "piped",
          stderr: "null",
        }).spawn();
        let steps = 0;
        for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
          const seen = text.split("\n").filter((line) => /^\d+$/.test(line)).map(Number);
          steps = Math.max(steps, ...seen);
          if (killAt !== undefined && steps >= killAt) process.kill("SIGKILL");
        }
        const { code, signal } = await process.status;
        assert(signal === "SIGKILL" || code === 0, `The probe ended with code ${code}`);
        return steps;
      };
      const all = await run(`${dir}/whole`, 0);
      const rng = new Rng(9);
      for (let k = 0; k < 4; k++) {
        await run(`${dir}/killed`, 2, 1 + rng.integer(Math.floor(all / 4)));
        const names = namesBelow(`${dir}/killed/shared`);
        assert(!names.some((name) => /parts\/.*json$/.test(name)), "no record of half a part");
      }
      const last = await run(`${dir}/killed`, 0);
      assert(last < all, `${last} of ${all} steps were left`);
      const files = await contents(`${dir}/whole/shared`);
      assert(Object.keys(files).length > 20, "there are many files");
      assertEquals(await contents(`${dir}/killed/shared`), files);
      assertEquals(namesBelow(`${dir}/killed/local`), []);
    }),
});
