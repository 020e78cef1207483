/**
 * Part 1 of 2 of a harvest that another process kills: of a source that it streams, slowly. It says
 * on the standard output how many times the model ran and how many files are uploaded.
 *
 * @module
 */
import { harvestShard } from "../../lib/activations/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { fakeSource, HOOK } from "./fake_source.ts";
import { streamedTexts } from "./streamed_texts.ts";

const [dir, slowness] = Deno.args;
const wait = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(slowness));
let steps = 0;
const step = () => {
  Deno.stdout.writeSync(new TextEncoder().encode(`${++steps}\n`));
  wait();
};
await openDevice({ backend: "cpu" });
const storage = openStorage(`${dir}/shared`);
const upload = storage.upload.bind(storage);
storage.upload = async (...args) => {
  step();
  await upload(...args);
  step();
};
await harvestShard(fakeSource(3, { afterRun: step }), streamedTexts(), {
  hook: HOOK,
  contextLength: 8,
  tokens: { train: 1500, validation: 100, test: 50 },
  batchSize: 2,
  shardTokens: 40,
  maxNormRatio: null,
  dtype: "float16",
  keepEvery: 0,
  shard: { index: 1, of: 2 },
  storage,
  dir: `${dir}/local`,
});
