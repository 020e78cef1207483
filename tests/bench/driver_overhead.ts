/**
 * What the driver adds to a unit: units that do nothing but leave a record, in local processes.
 *
 *   deno run -A tests/bench/driver_overhead.ts [UNITS] [WORKERS]
 *
 * A unit's own time is that of its command alone, one after another; the overhead is what each
 * worker spends on a unit beyond it.
 *
 * @module
 */
import { cluster, localEngine, type Unit, unitHash } from "../../lib/cluster/mod.ts";
import { dataOf } from "../cluster/small_units.ts";

const [units = 1000, workers = 2] = Deno.args.map(Number);
const folder = await Deno.makeTempDir();
const storage = `${folder}/storage`;
await Deno.mkdir(`${storage}/units`, { recursive: true });

const data = dataOf(units);
const commandOf = (unit: Unit) => ["sh", "-c", `echo {} > ${storage}/units/${unitHash(unit)}.json`];

const alone = 100;
let start = performance.now();
for (let shard = 0; shard < alone; shard++) {
  const [program, ...args] = commandOf({ kind: "harvest", data: dataOf(units, 1), shard });
  await new Deno.Command(program, { args, stdin: "null" }).output();
}
const own = (performance.now() - start) / alone;

await using machine = await cluster({
  storage,
  engine: localEngine({ workers, dir: `${folder}/jobs` }),
  command: commandOf,
});
function* source(): Generator<Unit> {
  for (let shard = 0; shard < units; shard++) yield { kind: "harvest", data, shard };
}
start = performance.now();
const report = await machine.run(source(), { total: units, inFlight: 2 * workers });
const each = workers * (performance.now() - start) / units;
console.log(`${report}`);
console.log(
  `${units} units on ${workers} workers: ${each.toFixed(1)} ms of a worker each, ` +
    `${own.toFixed(1)} ms of that its own, ${(each - own).toFixed(1)} ms the driver's`,
);
start = performance.now();
const again = await machine.run(source(), { total: units });
console.log(
  `Loaded ${again.loaded} in ${((performance.now() - start) / again.loaded).toFixed(3)} ms each`,
);
await Deno.remove(folder, { recursive: true });
