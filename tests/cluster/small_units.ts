import { type StudyText, type Unit, unitHash } from "../../lib/cluster/mod.ts";
import type { Instructions } from "./worker.ts";

const worker = new URL("./worker.ts", import.meta.url).pathname;
const tokens = { train: 8, validation: 8, test: 8 };
const harvest = { hook: "blocks.0.hook_resid_post", contextLength: 8, tokens };

/** Text of units that do nothing with it. */
export function dataOf(shards: number, seed = 0): StudyText {
  return { model: null, text: "brown", seed, harvest, shards };
}

/** Units that need nothing. */
export function parts(count: number, seed = 0): Unit[] {
  const data = dataOf(count, seed);
  return Array.from({ length: count }, (_, shard): Unit => ({ kind: "harvest", data, shard }));
}

/** The command of a small worker in place of the real ones. */
export function workerCommand(
  folder: string,
  instructions: (unit: Unit) => Instructions = () => ({}),
) {
  return (unit: Unit): string[] => [
    ...["deno", "run", "-A", "-q", "--no-check", "--no-config", "--no-lock", worker],
    ...[folder, unitHash(unit), JSON.stringify(unit), JSON.stringify(instructions(unit))],
  ];
}
