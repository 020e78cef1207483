/**
 * A driver in a process of its own, to be killed: runs small units and prints what became of them.
 *
 *   deno run -A driver_probe.ts FOLDER UNITS INSTRUCTIONS          on two local workers
 *   deno run -A driver_probe.ts FOLDER UNITS INSTRUCTIONS ADDRESS  on Ray, by a shell
 *
 * @module
 */
import { cluster, localEngine } from "../../lib/cluster/mod.ts";
import { parts, shellCommand, workerCommand } from "./small_units.ts";

const [folder, units, text, address] = Deno.args;
const instructions = JSON.parse(text);
const storage = `${folder}/storage`;
const machine = await cluster({
  storage,
  ...address !== undefined ? { address, command: shellCommand(folder, () => instructions) } : {
    engine: localEngine({ workers: 2, dir: `${folder}/jobs` }),
    command: workerCommand(storage, () => instructions),
  },
});
const { done, loaded, failed } = await machine.run(parts(Number(units)));
await machine.close();
console.log(JSON.stringify({ done, loaded, failed: failed.length }));
