/**
 * All units of a sweep.
 *
 * @module
 */
import type { SaeTrainingConfig } from "../dictionary/mod.ts";
import type { NfmConfig } from "../interaction/mod.ts";
import { requireUnit } from "./parse_unit.ts";
import {
  dependencies,
  type EvaluatedModel,
  type EvaluateUnit,
  type StudyText,
  type Unit,
  unitHash,
} from "./unit.ts";

/** A sweep of factorization machines over tokens, K and seeds. */
export interface SweepOptions {
  readonly data: StudyText;
  /** The dictionary, of all training tokens; one is trained for each seed. */
  readonly sae: SaeTrainingConfig;
  /** What all machines share. */
  readonly nfm: NfmConfig;
  /** Numbers of training tokens of the machines; `"all"`: those of the store. */
  readonly tokens: readonly (number | "all")[];
  /** Numbers of interaction dimensions. */
  readonly K: readonly number[];
  /** Seeds of training. */
  readonly seeds: readonly number[];
  /** See `TrainingTokens`. */
  readonly window?: number;
}

/**
 * The evaluations of a sweep: one for each number of tokens and each seed, of a machine without pairs,
 * `"linear"`, and one with pairs for each K, `"K 150"`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig, sweepEvaluations } from "interlens";
 *
 * const { model, text, seed, harvest, sae, nfm } = studyConfig();
 * const data = { model, text, seed, harvest, shards: 2 };
 * const [first, ...others] = sweepEvaluations({
 *   ...{ data, sae, nfm },
 *   ...{ tokens: [10_000, 40_000], K: [16, 64], seeds: [0, 1, 2] },
 * });
 * assertEquals(Object.keys(first.models), ["linear", "K 16", "K 64"]);
 * assertEquals(others.length, 5);
 * ```
 *
 * @throws {RangeError} If a number is none that a unit may have, such as more tokens than are harvested.
 */
export function sweepEvaluations(
  { data, sae, nfm, tokens, K, seeds, window }: SweepOptions,
): EvaluateUnit[] {
  return seeds.flatMap((seed) =>
    tokens.map((count) => {
      const model = (config: NfmConfig): EvaluatedModel => ({
        trainer: "nfm",
        ...count !== "all" && { tokens: count },
        config: { ...config, seed },
      });
      // It has no K, so that sweeps over others share it.
      const { K: _, ...shared } = nfm;
      const unit: EvaluateUnit = {
        kind: "evaluate",
        data,
        sae: { ...sae, seed },
        models: {
          linear: model({ ...shared, parts: "linear" }),
          ...Object.fromEntries(K.map((K) => [`K ${K}`, model({ ...shared, parts: "both", K })])),
        },
        ...window !== undefined && { window },
        split: "test",
        seed: data.seed,
      };
      requireUnit(unit);
      return unit;
    })
  );
}

/**
 * All units of a sweep, dependencies included, each once and after those that it needs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig, sweep } from "interlens";
 *
 * const { model, text, seed, harvest, sae, nfm } = studyConfig();
 * const data = { model, text, seed, harvest, shards: 3 };
 * const units = sweep({ data, sae, nfm, tokens: [10_000, 40_000], K: [16, 64], seeds: [0, 1] });
 * const count = (kind: string) => units.filter((unit) => unit.kind === kind).length;
 * // A dictionary a seed; a machine without pairs and two with them for each seed and number of tokens.
 * assertEquals(
 *   ["harvest", "merge", "train", "evaluate"].map(count),
 *   [3, 1, 2 + 2 * 2 * (1 + 2), 2 * 2],
 * );
 * ```
 */
export function sweep(options: SweepOptions): Unit[] {
  return withDependencies(sweepEvaluations(options));
}

/**
 * Units with all that they need, each once and after those that it needs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig, withDependencies } from "interlens";
 *
 * const { model, text, seed, harvest, sae } = studyConfig();
 * const data = { model, text, seed, harvest, shards: 1 };
 * const units = withDependencies([{ kind: "train", trainer: "sae", data, config: sae }]);
 * assertEquals(units.map(({ kind }) => kind), ["harvest", "merge", "train"]);
 * ```
 */
export function withDependencies(units: Iterable<Unit>): Unit[] {
  const found = new Map<string, Unit>();
  const add = (unit: Unit) => {
    const hash = unitHash(unit);
    if (found.has(hash)) return;
    dependencies(unit).forEach(add);
    found.set(hash, unit);
  };
  for (const unit of units) add(unit);
  return [...found.values()];
}
