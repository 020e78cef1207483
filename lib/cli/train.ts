/**
 * `deno task train`: a dictionary, a secondary one, or a factorization machine.
 *
 * @module
 */
import type { NfmParts } from "../interaction/mod.ts";
import { countFlag, runUnitCommand, SHARED, studyText, type UnitCommand } from "./unit_command.ts";

/** `--trainer sae | secondary | nfm`, `--tokens 1e6`, `--parts both`, `--k 150`, `--seed 0`. */
export const TRAIN: UnitCommand = {
  task: "train",
  purpose: "a dictionary, a secondary one, or a factorization machine.",
  kinds: ["train"],
  flags: {
    trainer: { value: "NAME", help: '"sae", "secondary" or "nfm"' },
    parts: { value: "NAME", help: 'terms of a machine: "both" (default), "linear", "interaction"' },
    k: { value: "N", help: "width of a machine's embedding" },
    ...SHARED,
  },
  unit(flags, config) {
    const seed = countFlag(flags, "seed") ?? config.seed;
    const [tokens, K] = [countFlag(flags, "tokens"), countFlag(flags, "k")];
    const common = {
      kind: "train" as const,
      data: { ...studyText(config), shards: countFlag(flags, "shards") ?? config.shards },
      ...tokens !== undefined && { tokens },
      ...config.window !== undefined && { window: config.window },
    };
    const sae = { ...config.sae, seed };
    if (flags.trainer !== "nfm" && (K !== undefined || flags.parts !== undefined)) {
      throw new RangeError("Only --trainer nfm has --k and --parts");
    }
    switch (flags.trainer) {
      case "sae":
        return { ...common, trainer: "sae", config: sae };
      case "secondary":
        return { ...common, trainer: "secondary", sae, config: { ...config.secondary, seed } };
      case "nfm": {
        const parts = (flags.parts ?? config.nfm.parts ?? "both") as NfmParts;
        const { K: usual, ...nfm } = config.nfm;
        const width = parts === "linear" ? {} : { K: K ?? usual };
        return { ...common, trainer: "nfm", sae, config: { ...nfm, parts, ...width, seed } };
      }
    }
    throw new RangeError(
      `Cannot train ${JSON.stringify(flags.trainer) ?? "nothing"}: give --trainer "sae", ` +
        `"secondary" or "nfm"`,
    );
  },
};

if (import.meta.main) Deno.exit(await runUnitCommand(TRAIN, Deno.args));
