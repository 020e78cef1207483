/** Real units on a Ray cluster of this machine. */
import { type ClusterOptions, unitCommand } from "../../lib/cluster/mod.ts";
import { ROOT } from "../../lib/files/mod.ts";

/** A cluster whose units keep nothing outside a folder, and start without looking at the set-up. */
export function onRay(address: string, folder: string): ClusterOptions {
  return {
    ...{ address, project: ROOT, storage: `${folder}/storage` },
    env: { INTERLENS_CACHE: `${folder}/cache` },
    command: (unit, storage) => [
      ...["sh", "-c", 'cd "$0" && exec "$@"', ROOT],
      ...[Deno.execPath(), ...unitCommand(unit, storage)],
    ],
  };
}
