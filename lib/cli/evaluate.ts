/**
 * `deno task evaluate`: a dictionary and machines with and without pairs, side by side.
 *
 * @module
 */
import { sweepEvaluations } from "../cluster/mod.ts";
import { countFlag, runUnitCommand, SHARED, studyText, type UnitCommand } from "./unit_command.ts";

/** `--k 100,150,250`, `--tokens 1e6`, `--seed 0`, `--split test`. */
export const EVALUATE: UnitCommand = {
  task: "evaluate",
  purpose: "a dictionary and machines with and without pairs, side by side.",
  kinds: ["evaluate"],
  flags: {
    k: { value: "N,…", help: "widths of the machines' embeddings: 100,150,250" },
    split: { value: "NAME", help: '"validation" or "test" (default)' },
    ...SHARED,
  },
  unit(flags, config) {
    const { sae, nfm, window } = config;
    const K = String(flags.k ?? nfm.K ?? 128).split(",").map((k) => countFlag({ k }, "k")!);
    const [unit] = sweepEvaluations({
      data: { ...studyText(config), shards: countFlag(flags, "shards") ?? config.shards },
      ...{ sae, nfm, window, K },
      tokens: [countFlag(flags, "tokens") ?? "all"],
      seeds: [countFlag(flags, "seed") ?? config.seed],
    });
    return flags.split === undefined ? unit : { ...unit, split: flags.split as "test" };
  },
};

if (import.meta.main) Deno.exit(await runUnitCommand(EVALUATE, Deno.args));
