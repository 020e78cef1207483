/**
 * Loads the first blocks of a checkpoint, runs them once, and prints what that took as JSON. A
 * process of its own, so that its peak memory is that of loading.
 */
import { loadModel } from "../../lib/model/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";

/** What the probe prints. Memory is resident, in bytes; times in milliseconds. */
export interface Probe {
  before: number;
  peakOfLoading: number;
  load: number;
  run: number;
  tokens: number;
  norm: number;
}

function memory(field: "VmRSS" | "VmHWM"): number {
  const status = Deno.readTextFileSync("/proc/self/status");
  return 1024 * Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)![1]);
}

if (import.meta.main) {
  const [folder, layers] = Deno.args;
  await openDevice();
  const before = memory("VmRSS");
  const start = performance.now();
  using model = await loadModel(folder, { stopAtLayer: Number(layers) });
  const loaded = performance.now();
  const peakOfLoading = memory("VmHWM");
  const tokens = [1, ...Array.from({ length: 127 }, (_, i) => (i * 31) % model.cfg.vocabSize)];
  const names = `blocks.${Number(layers) - 1}.hook_resid_post`;
  const { cache } = await model.runWithCache([tokens], { names, stopAtLayer: Number(layers) });
  const x = await cache.get(names).data();
  const run = performance.now() - loaded;
  cache.dispose();
  const norm = Math.hypot(...x.slice(-model.cfg.dModel));
  const load = loaded - start;
  const probe: Probe = { before, peakOfLoading, load, run, tokens: tokens.length, norm };
  console.log(JSON.stringify(probe));
}
