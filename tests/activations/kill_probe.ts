/**
 * A harvest that another process kills: of a source that it streams, at two hook points, slowly. It
 * says on the standard output how many times the model ran.
 *
 * @module
 */
import { harvestHooks } from "../../lib/activations/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { fakeSource, HOOK, OTHER } from "./fake_source.ts";
import { streamedTexts } from "./streamed_texts.ts";

const [dir, slowness] = Deno.args;
await openDevice({ backend: "cpu" });
const model = fakeSource(3, {
  afterRun: () => {
    Deno.stdout.writeSync(new TextEncoder().encode(`${model.runs.length}\n`));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(slowness));
  },
});
await harvestHooks(model, streamedTexts(), {
  hooks: [OTHER, HOOK],
  contextLength: 8,
  tokens: { train: 1500, validation: 100, test: 50 },
  batchSize: 2,
  shardTokens: 40,
  maxNormRatio: null,
  dtype: "float16",
  keepEvery: 0,
  dir,
});
