/**
 * A driver of real units on Ray in a process of its own, to be killed.
 *
 *   deno run -A ray_units_probe.ts ADDRESS FOLDER < units.json
 *
 * @module
 */
import { cluster, type Unit } from "../../lib/cluster/mod.ts";
import { onRay } from "./ray_units.ts";

const [address, folder] = Deno.args;
const units: Unit[] = JSON.parse(await new Response(Deno.stdin.readable).text());
await using machines = await cluster(onRay(address, folder));
console.log((await machines.run(units)).complete);
