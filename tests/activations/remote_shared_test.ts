import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ActivationStore } from "../../lib/activations/mod.ts";
import { type SaeTrainingConfig, trainSae } from "../../lib/dictionary/mod.ts";
import { sha256 } from "../../lib/files/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { quietly } from "./fake_source.ts";
import {
  KEY,
  largestFile,
  putStore,
  READ_BATCH,
  READ_STEPS,
  READ_WINDOW,
  shardBytes,
} from "./remote_stores.ts";

await openDevice();

const probe = new URL("./remote_probe.ts", import.meta.url).pathname;

/** What a process should read. */
async function expectedHash(dir: string, seed: number): Promise<string> {
  using store = ActivationStore.open(dir, { window: READ_WINDOW });
  const read: Uint8Array<ArrayBuffer>[] = [];
  for (let step = 0; step < READ_STEPS; step++) {
    const x = await store.split("train").shuffledBatch(step, READ_BATCH, seed);
    read.push(new Uint8Array((await x.data<"float32">()).slice().buffer));
    x.dispose();
  }
  return await sha256(new Uint8Array(await new Blob(read).arrayBuffer()));
}

/** Runs the probe; kills it after a step if one is given. */
async function readBeside(args: string[], killAt?: number): Promise<string | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", probe, ...args],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    said += text;
    if (killAt !== undefined && said.includes(`${killAt}\n`)) child.kill("SIGKILL");
  }
  await child.status;
  return said.trim().split("\n").at(-1);
}

Deno.test("processes that share a folder with room for one of them read the bytes of the store, also if one is killed", () =>
  inScratch(async (folder) => {
    const place = `${folder}/storage`;
    const dir = await putStore(openStorage(place), `${folder}/made`);
    const cache = `${folder}/fetched`;
    const size = largestFile(dir);
    const args = (seed: number) => [place, cache, `${4 * size}`, `${seed}`];
    let most = 0;
    const looking = setInterval(() => most = Math.max(most, shardBytes(cache)), 1);
    const [first, second] = await Promise.all([
      readBeside(args(1)),
      readBeside(args(2)),
      readBeside(args(3), 5),
    ]);
    clearInterval(looking);
    assertEquals([first, second], [await expectedHash(dir, 1), await expectedHash(dir, 2)]);
    assertNotEquals(first, second);
    assert(most > 0 && most <= 5 * size, `${most} bytes, of ${4 * size}`);
    // What the killed one left is gone with the next who makes room.
    assertEquals(await readBeside(args(1)), first);
    const left = [...Deno.readDirSync(cache)].filter(({ name }) => name.startsWith(".fetching"));
    assert(left.length <= 1, `${left.map(({ name }) => name)}`);
  }));

Deno.test("a dictionary trained on what is fetched is the same, byte by byte, also after a stop", () =>
  inScratch(async (folder) => {
    const storage = openStorage(`${folder}/storage`);
    const dir = await putStore(storage, `${folder}/made`);
    const config: SaeTrainingConfig = {
      ...{ architecture: "topk", dSae: 8, k: 2, steps: 60, batchSize: 7, learningRate: 1e-2 },
      ...{ evaluateEvery: 20 },
    };
    const train = async (store: ActivationStore, cache: string | false, stopAt?: number) => {
      const stop = new AbortController();
      const { sae, metrics, stopped } = await quietly(() =>
        trainSae(store, config, {
          cache,
          signal: stop.signal,
          onStep: ({ step }) => step === stopAt && stop.abort(),
        })
      );
      const weights = await Promise.all(
        [sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec].map(async (w) => [...await w.data()]),
      );
      sae.dispose();
      return { weights, metrics, stopped };
    };
    const fetched = (name: string) =>
      ActivationStore.fetch(storage, KEY, {
        window: 3,
        cacheBytes: 6 * largestFile(dir),
        dir: `${folder}/${name}`,
      });
    using local = ActivationStore.open(dir, { window: 3 });
    using one = await fetched("one");
    const expected = await train(local, false);
    assertEquals(await train(one, false), expected);

    assert((await train(one, `${folder}/cache`, 23)).stopped);
    one.close();
    // Another machine goes on: nothing of the store is there yet.
    using other = await fetched("other");
    // A result that was kept has been through a file, where the normaliser is folded into its weights.
    const kept = await train(local, `${folder}/local`);
    assertEquals(await train(other, `${folder}/cache`), kept);
    using global = ActivationStore.open(dir);
    assertNotEquals((await train(global, false)).weights, expected.weights);
    // The result is found from the local store, too: nothing is trained again.
    let steps = 0;
    const { sae } = await quietly(() =>
      trainSae(local, config, { cache: `${folder}/cache`, onStep: () => steps++ })
    );
    sae.dispose();
    assertEquals(steps, 0);
  }));
