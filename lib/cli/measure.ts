/**
 * `deno task measure`: a stimulus design, with a dictionary and a machine.
 *
 * @module
 */
import { countFlag, runUnitCommand, SHARED, studyText, type UnitCommand } from "./unit_command.ts";

/** `--design paris_folk`, `--at target | mean`, `--k 150`, `--tokens 1e6`, `--seed 0`. */
export const MEASURE: UnitCommand = {
  task: "measure",
  purpose: "a stimulus design, with a dictionary and a machine.",
  kinds: ["measure"],
  flags: {
    design: { value: "NAME", help: "a file in data/stimuli, without its ending" },
    at: { value: "PLACE", help: 'where it is read: "target" (default), "mean" or "max"' },
    k: { value: "N", help: "width of the machine's embedding" },
    ...SHARED,
  },
  unit(flags, config) {
    if (flags.design === undefined) {
      throw new RangeError("Cannot measure nothing: give --design a name in data/stimuli");
    }
    const seed = countFlag(flags, "seed") ?? config.seed;
    const [tokens, K] = [countFlag(flags, "tokens"), countFlag(flags, "k")];
    return {
      kind: "measure",
      data: { ...studyText(config), shards: countFlag(flags, "shards") ?? config.shards },
      sae: { ...config.sae, seed },
      nfm: { ...config.nfm, parts: "both", K: K ?? config.nfm.K, seed },
      design: String(flags.design),
      ...tokens !== undefined && { tokens },
      ...config.window !== undefined && { window: config.window },
      options: { seed: config.seed, ...flags.at !== undefined && { at: flags.at as "target" } },
    };
  },
};

if (import.meta.main) Deno.exit(await runUnitCommand(MEASURE, Deno.args));
