/**
 * Runs units that do nothing on an engine in virtual time, and prints after how many of them the
 * driver's heap holds how many bytes.
 *
 *   deno run -A --v8-flags=--expose-gc memory_probe.ts UNITS
 *
 * @module
 */
import { drive } from "../../lib/cluster/drive.ts";
import type { Unit } from "../../lib/cluster/mod.ts";
import { FakeClock, FakeEngine, FakeStorage } from "./fake_engine.ts";
import { dataOf } from "./small_units.ts";

const units = Number(Deno.args[0]);
const clock = new FakeClock();
const storage = new FakeStorage();
const engine = new FakeEngine(clock, storage, ["a", "b", "c", "d"], () => ({ seconds: 0.1 }));
engine.keep = false;
const heap: Record<number, number> = {};

function* source(): Generator<Unit> {
  const data = dataOf(units);
  for (let shard = 0; shard < units; shard++) {
    if (shard === 10 || shard === units - 1) {
      (globalThis as unknown as { gc(): void }).gc();
      heap[shard] = Deno.memoryUsage().heapUsed;
    }
    yield { kind: "harvest", data, shard };
  }
}

const { done } = await drive(source(), {
  ...{ engine, storage, clock, inFlight: 16, retries: 2, patience: 300 },
  voice: { progress: () => {}, say: () => {} },
  command: () => ["true"],
  resources: () => ({}),
  project: () => Promise.resolve(""),
});
console.log(JSON.stringify({ done, heap }));
