/**
 * `deno task harvest`: a part of an activation store, or all parts made into one.
 *
 * @module
 */
import { countFlag, runUnitCommand, studyText, type UnitCommand } from "./unit_command.ts";

/** `--shard 3/64`, the third of 64 parts; `--merge --shards 64`, the store of all of them. */
export const HARVEST: UnitCommand = {
  task: "harvest",
  purpose: "a part of an activation store, or all parts made into one.",
  kinds: ["harvest", "merge"],
  flags: {
    shard: { value: "I/N", help: "which part of how many, 1/64 to 64/64" },
    merge: { help: "makes one store of all parts, once they are there" },
    shards: { value: "N", help: "with --merge: how many parts there are" },
  },
  unit(flags, config) {
    const { shard, merge } = flags;
    const shards = countFlag(flags, "shards");
    if ((shard === undefined) === !merge) {
      throw new RangeError("Give --shard, such as 3/64, or --merge when all parts are there");
    }
    if (merge) {
      return { kind: "merge", data: { ...studyText(config), shards: shards ?? config.shards } };
    }
    if (shards !== undefined) {
      throw new RangeError(
        `Cannot combine --shard "${shard}" with --shards: it says how many there are`,
      );
    }
    const [, number, of] = /^(\d+)\/(\d+)$/.exec(String(shard)) ?? [];
    if (!(Number(number) >= 1 && Number(number) <= Number(of))) {
      throw new RangeError(
        `Cannot harvest part "${shard}": expected the number of a part and of all, 1/64 to 64/64`,
      );
    }
    const data = { ...studyText(config), shards: Number(of) };
    return { kind: "harvest", data, shard: Number(number) - 1 };
  },
};

if (import.meta.main) Deno.exit(await runUnitCommand(HARVEST, Deno.args));
