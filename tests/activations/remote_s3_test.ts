import { assert, assertEquals, assertRejects } from "@std/assert";
import { ActivationStore, type FetchOptions } from "../../lib/activations/mod.ts";
import { openDevice, type tf } from "../../lib/tensor/mod.ts";
import { type S3Bench, s3Test } from "../storage/places.ts";
import { KEY, largestFile, putStore, shardBytes, TOKENS } from "./remote_stores.ts";

await openDevice();

/** A store of small files in a bucket; requests go through a proxy in this thread. */
async function withBucket(
  { open, folder }: S3Bench,
  use: (dir: string, fetch: (options?: FetchOptions) => Promise<ActivationStore>) => Promise<void>,
): Promise<void> {
  const storage = open({ patience: 1500 });
  const dir = await putStore(storage, `${folder}/made`);
  await use(
    dir,
    (options) => ActivationStore.fetch(storage, KEY, { dir: `${folder}/fetched`, ...options }),
  );
}

async function valuesOf(read: Promise<tf.Tensor2D>): Promise<number[]> {
  const x = await read;
  const values = await x.data();
  x.dispose();
  return [...values];
}

s3Test(
  "a store in a bucket is read byte by byte, within its bound",
  (bench) =>
    withBucket(bench, async (dir, fetch) => {
      const cacheBytes = 4 * largestFile(dir);
      using local = ActivationStore.open(dir, { window: 2 });
      using fetched = await fetch({ window: 2, cacheBytes, readAhead: true });
      assertEquals(fetched.hash, local.hash);
      for (let step = 0; step < 26; step++) {
        const expected = await valuesOf(local.split("train").shuffledBatch(step, 5, 0));
        assertEquals(await valuesOf(fetched.split("train").shuffledBatch(step, 5, 0)), expected);
        assert(shardBytes(`${bench.folder}/fetched`) <= cacheBytes);
      }
    }),
);

s3Test(
  "dropped connections, wrong bytes and answers of 500 change nothing that is read",
  (bench) =>
    withBucket(bench, async (dir, fetch) => {
      using local = ActivationStore.open(dir);
      using fetched = await fetch();
      bench.proxy.fail("GET", "train-00002", [{ dropAfter: 100 }, { dropAfter: 50 }]);
      bench.proxy.fail("GET", "train-00004", [{ status: 500 }, { status: 503, code: "SlowDown" }]);
      bench.proxy.fail("GET", "train-00005", [{ stallAfter: 10 }]);
      bench.proxy.fail("GET", "train-00007", [{ wrong: true }]);
      bench.proxy.fail("GET", "train-00008", [{ silent: true }]);
      const expected = await valuesOf(local.split("train").shuffledBatch(0, TOKENS, 0));
      assertEquals(await valuesOf(fetched.split("train").shuffledBatch(0, TOKENS, 0)), expected);
    }),
);

s3Test(
  "a server that keeps failing ends the read with one error, and one that is back is used",
  (bench) =>
    withBucket(bench, async (dir, fetch) => {
      using local = ActivationStore.open(dir);
      using fetched = await fetch();
      const read = () => fetched.split("train").shuffledBatch(0, TOKENS, 0);
      const name = "train-00002.safetensors";
      for (
        const [fault, reason] of [
          [{ status: 500 }, "500"],
          [{ silent: true as const }, "timed out"],
          [{ dropAfter: 10 }, "times"],
        ] as const
      ) {
        // More than attempts: the client below repeats a request by itself if its connection was closed.
        const mend = bench.proxy.fail("GET", name, Array(9).fill(fault));
        const error = await assertRejects(read, Error, `Cannot fetch "${name}" of the activation`);
        mend();
        assert(error.message.includes(reason), error.message);
        assert(!/\.\s*$/.test(error.message), error.message);
      }
      assertEquals(
        await valuesOf(read()),
        await valuesOf(local.split("train").shuffledBatch(0, TOKENS, 0)),
      );
    }),
);

s3Test(
  "an object with other bytes than were harvested is refused by name",
  (bench) =>
    withBucket(bench, async (dir, fetch) => {
      const name = "train-00003.safetensors";
      const bytes = await Deno.readFile(`${dir}/${name}`);
      bytes[bytes.length - 1] ^= 1;
      await bench.open().write(`${KEY}/${name}`, bytes);
      using fetched = await fetch();
      const error = await assertRejects(
        () => fetched.split("train").shuffledBatch(0, TOKENS, 0),
        Error,
        `Cannot fetch "${name}"`,
      );
      assert(error.message.includes("SHA-256"), error.message);
      await assertRejects(() => Deno.stat(`${bench.folder}/fetched/${name}`), Deno.errors.NotFound);
    }),
);
