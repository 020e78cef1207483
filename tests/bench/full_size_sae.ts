/**
 * `deno run -A tests/bench/full_size_sae.ts [standard|topk|…]` trains a dictionary of the study's size,
 * 50,000 features of width 3200, for three steps of 256 tokens, and prints the time of a step and the
 * most memory that the process held: 8 to 13 GB are needed.
 *
 * @module
 */
import { memoryStore, type TrainedArchitecture, trainSae } from "../../lib/dictionary/mod.ts";
import { openDevice, Rng } from "../../lib/tensor/mod.ts";

const [dIn, dSae, batchSize] = [3200, 50_000, 256];
const architecture = (Deno.args[0] ?? "standard") as TrainedArchitecture;

const { name } = await openDevice();
const split = { rows: new Rng(0).normals(batchSize * dIn, 1), document: new Int32Array(batchSize) };
const store = memoryStore(dIn, { train: split, validation: split, test: split });
const ended = [performance.now()];
const { sae } = await trainSae(store, {
  architecture,
  dSae,
  ...architecture === "standard" ? {} : { k: 64 },
  steps: 3,
  batchSize,
}, { cache: false, onStep: () => ended.push(performance.now()) });
sae.dispose();

const seconds = ended.slice(1).map((end, i) => ((end - ended[i]) / 1000).toFixed(1));
const status = await Deno.readTextFile("/proc/self/status").catch(() => "");
const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1];
const peak = kilobytes ? `${(Number(kilobytes) / 1e6).toFixed(1)} GB at most` : "memory unknown";
console.log(
  `${architecture}, ${dSae} × ${dIn}, ${batchSize} tokens, ${name}: first step with start ` +
    `${seconds[0]} s, then ${seconds.slice(1).join(" s, ")} s; ${peak}`,
);
