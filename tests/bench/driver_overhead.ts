/**
 * What the driver adds to a unit: units that do nothing but leave a record.
 *
 *   deno run -A tests/bench/driver_overhead.ts [UNITS]        two local processes, 1000 units
 *   deno run -A tests/bench/driver_overhead.ts --ray [UNITS]  Ray with two nodes, 40 units
 *
 * A unit's own time is that of the same command given to the engine directly, as many jobs at a time, and
 * watched closely; the overhead is what each of two workers spends on a unit beyond it.
 *
 * @module
 */
import { cluster, type Engine, localEngine, type Unit } from "../../lib/cluster/mod.ts";
import { rayEngine } from "../../lib/cluster/ray.ts";
import { type RayCluster, startRay } from "../cluster/ray_head.ts";
import { dataOf, shellCommand } from "../cluster/small_units.ts";

const WORKERS = 2;
const IN_FLIGHT = 2 * WORKERS;
const onRay = Deno.args.includes("--ray");
const units = Number(Deno.args.find((arg) => /^\d+$/.test(arg)) ?? (onRay ? 40 : 1000));

function* source(seed: number, count = units): Generator<Unit> {
  const data = dataOf(units, seed);
  for (let shard = 0; shard < count; shard++) yield { kind: "harvest", data, shard };
}

/** Runs a command without the driver; milliseconds of a worker for each job. */
async function alone(engine: Engine, command: (unit: Unit) => string[]): Promise<number> {
  const count = Math.min(units, 100);
  const left = source(1, count);
  const start = performance.now();
  let jobs = 0;
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    for (const unit of left) {
      const id = `alone-${crypto.randomUUID()}`;
      jobs++;
      await engine.submit({ id, command: command(unit), env: {}, resources: {}, avoid: [] });
      while (["pending", "running"].includes((await engine.state(id)).state)) {
        await new Promise((resolve) => setTimeout(resolve, onRay ? 50 : 1));
      }
    }
  }));
  return WORKERS * (performance.now() - start) / jobs;
}

const folder = await Deno.makeTempDir();
const command = shellCommand(folder, () => ({}));
let ray: RayCluster | undefined;
try {
  if (onRay) ray = await startRay({ nodes: WORKERS });
  const engine = ray
    ? rayEngine(ray.address)
    : localEngine({ workers: WORKERS, dir: `${folder}/jobs` });
  await using machines = await cluster({ storage: `${folder}/storage`, engine, command });
  await engine.check();
  const own = await alone(engine, command);
  let start = performance.now();
  console.log(`${await machines.run(source(0), { total: units, inFlight: IN_FLIGHT })}`);
  const each = WORKERS * (performance.now() - start) / units;
  console.log(
    `${units} units on ${engine.name}: ${each.toFixed(1)} ms of a worker each, ` +
      `${own.toFixed(1)} ms of that their own, ${(each - own).toFixed(1)} ms the driver's`,
  );
  start = performance.now();
  const { loaded } = await machines.run(source(0), { total: units });
  console.log(`Loaded ${loaded} in ${((performance.now() - start) / loaded).toFixed(3)} ms each`);
} finally {
  await ray?.stop();
  await Deno.remove(folder, { recursive: true });
}
