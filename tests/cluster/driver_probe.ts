/**
 * A driver in a process of its own, to be killed: runs small units on local workers and prints what
 * became of them.
 *
 *   deno run -A driver_probe.ts FOLDER UNITS WORKERS INSTRUCTIONS
 *
 * @module
 */
import { cluster, localEngine } from "../../lib/cluster/mod.ts";
import { openStorage } from "../../lib/storage/mod.ts";
import { parts, workerCommand } from "./small_units.ts";

const [folder, units, workers, instructions] = Deno.args;
const place = `${folder}/storage`;
const machine = await cluster({
  storage: openStorage(place),
  engine: localEngine({ workers: Number(workers), dir: `${folder}/jobs` }),
  command: workerCommand(place, () => JSON.parse(instructions)),
});
const { done, loaded, failed } = await machine.run(parts(Number(units)));
await machine.close();
console.log(JSON.stringify({ done, loaded, failed: failed.length }));
