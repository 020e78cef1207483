/**
 * A process that reads a fetched store beside others: storage, folder, `cacheBytes`, seed. It says on
 * the standard output how many batches it read, and at the end the SHA-256 of what they held.
 *
 * @module
 */
import { ActivationStore } from "../../lib/activations/mod.ts";
import { sha256 } from "../../lib/files/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { KEY, READ_BATCH, READ_STEPS, READ_WINDOW } from "./remote_stores.ts";

const [place, dir, cacheBytes, seed] = Deno.args;
await openDevice({ backend: "cpu" });
using store = await ActivationStore.fetch(openStorage(place), KEY, {
  dir,
  cacheBytes: Number(cacheBytes),
  window: READ_WINDOW,
});
const read: Uint8Array[] = [];
for (let step = 0; step < READ_STEPS; step++) {
  const x = await store.split("train").shuffledBatch(step, READ_BATCH, Number(seed));
  read.push(new Uint8Array((await x.data<"float32">()).slice().buffer));
  x.dispose();
  Deno.stdout.writeSync(new TextEncoder().encode(`${step}\n`));
}
console.log(
  await sha256(new Uint8Array(await new Blob(read as Uint8Array<ArrayBuffer>[]).arrayBuffer())),
);
