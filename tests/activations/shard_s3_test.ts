import { assert, assertEquals, assertRejects } from "@std/assert";
import { ActivationStore, mergeShards } from "../../lib/activations/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { type S3Bench, s3Test } from "../storage/places.ts";
import { fakeSource, quietly } from "./fake_source.ts";
import { at, contents, names, planned, sharded } from "./sharded.ts";

await openDevice();

const options = { ...planned, normalizer: { clipSigma: 2, scale: true } };
const merged = /^activations\/[^/]+\//;

/** Bytes of all files in the bucket but the one that holds a time, by name. */
async function inBucket({ open }: S3Bench): Promise<Record<string, Uint8Array>> {
  const files: Record<string, Uint8Array> = {};
  const storage = open();
  for await (const { key } of storage.list("")) {
    if (!key.endsWith("artefact.json")) files[key] = new Uint8Array(await storage.read(key));
  }
  return files;
}

s3Test("parts that go to a bucket make the store that they make in a folder", async (bench) => {
  const { folder } = bench;
  const local = await sharded(`${folder}/a`, 3, options).store([2, 0, 1]);
  const storage = bench.open();
  const { part } = sharded(`${folder}/b`, 3, options);
  // A server with its bad days.
  bench.proxy.fail("PUT", "train-", [{ status: 500 }, { status: 503, code: "SlowDown" }]);
  bench.proxy.fail("PUT", "validation-", [{ loseAnswer: true }]);
  bench.proxy.fail("PUT", "parts/00001", [{ loseAnswer: true }]);
  bench.proxy.fail("GET", "train-", [{ dropAfter: 40 }, { wrong: true }]);
  let key = "";
  for (const index of [0, 1, 2]) {
    ({ key } = await part(index, undefined, { storage } as object));
  }
  await quietly(() => mergeShards({ storage, key, of: 3, dir: `${folder}/b` }));
  const files = await contents(`${folder}/a/shared-3`);
  assertEquals(await inBucket(bench), files);
  assert(Object.keys(files).every((name) => merged.test(name)));

  using fetched = await ActivationStore.fetch(storage, key, { dir: `${folder}/fetched` });
  assertEquals(fetched.hash, local.hash);
  for (const name of names) {
    const { tokens } = local.split(name);
    // Reading that waits in this thread would wait for the proxy in this thread.
    const a = await fetched.split(name).shuffledBatch(0, tokens, 0);
    const b = await local.split(name).shuffledBatch(0, tokens, 0);
    assertEquals(await a.data(), await b.data());
    assertEquals(fetched.split(name).document, local.split(name).document);
    a.dispose();
    b.dispose();
  }
});

s3Test(
  "a bucket that stays away leaves no record, and the next run only uploads",
  async (bench) => {
    const { folder } = bench;
    const straight = await sharded(`${folder}/straight`, 2, options).part(0);
    const files = straight.splits.train.shards.length;
    const storage = bench.open();
    const { part } = sharded(folder, 2, options);
    // Every file is tried while the model runs, and the first one once more: three attempts each.
    const times = 3 * (files + 1);
    bench.proxy.fail("PUT", "train-", Array.from({ length: times }, () => ({ status: 500 })));
    await assertRejects(() => part(0, undefined, { storage } as object), Error, "train-00000");
    const keys = Object.keys(await inBucket(bench));
    assert(!keys.some((key) => /parts\/.*json$/.test(key)), `${keys}`);
    const again = fakeSource(4, { at });
    assertEquals(await part(0, again, { storage } as object), straight);
    assertEquals(again.runs, []);
  },
);
