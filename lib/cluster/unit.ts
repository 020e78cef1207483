/**
 * Work units: what a cluster does, as plain data.
 *
 * A unit is named by the hash of its fields. Running it puts artefacts into a storage and then,
 * last, a record `units/<hash>.json`: a unit with a record is done. So a unit can be run anywhere,
 * again, or twice at once, and nothing is lost or counted twice.
 *
 * | unit       | needs                                 | makes                                     |
 * | ---------- | ------------------------------------- | ----------------------------------------- |
 * | `harvest`  | nothing                               | a part of an activation store             |
 * | `merge`    | every part                            | the store                                 |
 * | `train`    | the store; the dictionary under it    | a dictionary or a factorization machine   |
 * | `evaluate` | a dictionary and models of its error  | errors by document, reductions            |
 * | `measure`  | a dictionary and a machine            | the analysis of a stimulus design         |
 *
 * @module
 */
import type { HarvestOptions } from "../activations/mod.ts";
import type { SplitName } from "../corpus/mod.ts";
import type { SaeTrainingConfig } from "../dictionary/mod.ts";
import { configHash } from "../files/mod.ts";
import type { NfmConfig } from "../interaction/mod.ts";

/** Whose activations, of which text: what every unit of a run shares. */
export interface StudyText {
  /** A folder, a GGUF file or a repository of the hub; null is the embedded model. */
  readonly model: string | null;
  /** `"brown"`, `"wikitext"`, or the path of a folder of texts, a `.jsonl` or a `.csv` file. */
  readonly text: string;
  /** Names the split of the documents. */
  readonly seed: number;
  /** Which activations, of how many tokens. */
  readonly harvest: Omit<HarvestOptions, "signal" | "dir" | "keepEvery">;
  /** Number of parts that the harvest is cut into, at least 1. */
  readonly shards: number;
  /**
   * Whether documents are read one after another and go to the split that their id decides: text that
   * does not fit into memory. Default: all are read, and split so that each split has its share.
   */
  readonly stream?: boolean;
}

/** Which tokens a model is trained on, and in which order. */
export interface TrainingTokens {
  /** Training tokens, the first ones of the store; absent: all. */
  readonly tokens?: number;
  /** Shard files that are shuffled together; absent: all. See `ActivationStore.open`. */
  readonly window?: number;
}

/** Harvests a part of an activation store. */
export interface HarvestUnit {
  readonly kind: "harvest";
  readonly data: StudyText;
  /** Which part, from 0; on a command line, from 1. */
  readonly shard: number;
}

/** Makes one store of all parts. */
export interface MergeUnit {
  readonly kind: "merge";
  readonly data: StudyText;
}

/** Trains a dictionary. */
export interface TrainSaeUnit extends TrainingTokens {
  readonly kind: "train";
  readonly trainer: "sae";
  readonly data: StudyText;
  readonly config: SaeTrainingConfig;
}

/** Trains a secondary dictionary on what another one, of all training tokens, leaves. */
export interface TrainSecondaryUnit extends TrainingTokens {
  readonly kind: "train";
  readonly trainer: "secondary";
  readonly data: StudyText;
  /** The dictionary under it, trained on all tokens in the same window. */
  readonly sae: SaeTrainingConfig;
  readonly config: SaeTrainingConfig;
}

/** Trains a factorization machine on what a dictionary, of all training tokens, leaves. */
export interface TrainNfmUnit extends TrainingTokens {
  readonly kind: "train";
  readonly trainer: "nfm";
  readonly data: StudyText;
  /** The dictionary under it, trained on all tokens in the same window. */
  readonly sae: SaeTrainingConfig;
  readonly config: NfmConfig;
}

/** Trains something. */
export type TrainUnit = TrainSaeUnit | TrainSecondaryUnit | TrainNfmUnit;

/** A model that is added to a dictionary's reconstruction. */
export type EvaluatedModel =
  | { readonly trainer: "nfm"; readonly tokens?: number; readonly config: NfmConfig }
  | { readonly trainer: "secondary"; readonly tokens?: number; readonly config: SaeTrainingConfig };

/** Measures a dictionary and models of its error side by side. */
export interface EvaluateUnit {
  readonly kind: "evaluate";
  readonly data: StudyText;
  readonly sae: SaeTrainingConfig;
  /** By name. */
  readonly models: Readonly<Record<string, EvaluatedModel>>;
  /** As in {@linkcode TrainingTokens}, of everything that was trained. */
  readonly window?: number;
  /** Documents to measure on. */
  readonly split: SplitName;
  /** Names the draws of the intervals. */
  readonly seed: number;
}

/** How a design is measured; see `analyseDesign`. */
export interface MeasureSettings {
  readonly at?: "target" | "mean";
  readonly share?: number;
  readonly seed?: number;
  readonly draws?: number;
  readonly permutations?: number;
  readonly untrained?: number;
}

/** Analyses a stimulus design with a dictionary and a machine of parts `"both"`. */
export interface MeasureUnit extends TrainingTokens {
  readonly kind: "measure";
  readonly data: StudyText;
  readonly sae: SaeTrainingConfig;
  /** The machine; `tokens` is what it was trained on. */
  readonly nfm: NfmConfig;
  /** Name of a design in `data/stimuli`. */
  readonly design: string;
  readonly options?: MeasureSettings;
}

/** A piece of work, as plain data. */
export type Unit = HarvestUnit | MergeUnit | TrainUnit | EvaluateUnit | MeasureUnit;

/** Changes when equal fields mean other work. */
const FORMAT = 1;

/**
 * Sixteen hexadecimal digits that name a unit.
 *
 * ```ts
 * import { assertEquals, assertNotEquals } from "@std/assert";
 * import { type StudyText, studyConfig, type Unit, unitHash } from "interlens";
 *
 * const { model, text, seed, harvest } = studyConfig();
 * const data: StudyText = { model, text, seed, harvest, shards: 4 };
 * const part = (shard: number): Unit => ({ kind: "harvest", data, shard });
 * assertEquals(unitHash(part(1)), unitHash(JSON.parse(JSON.stringify(part(1)))));
 * assertNotEquals(unitHash(part(1)), unitHash(part(2)));
 * ```
 *
 * @throws {TypeError} If a field is not plain data.
 */
export function unitHash(unit: Unit): string {
  return configHash({ format: FORMAT, unit });
}

/**
 * A unit in a few words.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig, unitName } from "interlens";
 *
 * const { model, text, seed, harvest, nfm, sae } = studyConfig();
 * const data = { model, text, seed, harvest, shards: 64 };
 * assertEquals(unitName({ kind: "harvest", data, shard: 2 }), "harvest 3/64");
 * assertEquals(
 *   unitName({ kind: "train", trainer: "nfm", data, sae, config: { ...nfm, K: 150 }, tokens: 1e5 }),
 *   "train NFM both, K 150, 100000 tokens, seed 0",
 * );
 * ```
 */
export function unitName(unit: Unit): string {
  switch (unit.kind) {
    case "harvest":
      return `harvest ${unit.shard + 1}/${unit.data.shards}`;
    case "merge":
      return `merge ${unit.data.shards}`;
    case "train":
      return ["train " + modelName(unit), ...tokensOf(unit), `seed ${unit.config.seed ?? 0}`]
        .join(", ");
    case "evaluate": {
      const models = Object.values(unit.models);
      const same = models.every(({ tokens }) => tokens === models[0].tokens);
      return [
        `evaluate ${Object.keys(unit.models).join(", ") || "SAE"} on ${unit.split}`,
        ...same && models.length > 0 ? tokensOf(models[0]) : [],
        `seed ${unit.sae.seed ?? 0}`,
      ].join(", ");
    }
    case "measure":
      return [`measure ${unit.design}`, ...tokensOf(unit), `seed ${unit.nfm.seed ?? 0}`].join(", ");
  }
}

function modelName(unit: TrainUnit): string {
  if (unit.trainer === "nfm") {
    const { parts = "both", K = 128 } = unit.config;
    return parts === "linear" ? "NFM linear" : `NFM ${parts}, K ${K}`;
  }
  const { architecture, dSae, k } = unit.config;
  const title = unit.trainer === "sae" ? "SAE" : "secondary SAE";
  return `${title} ${architecture}, ${dSae} features` + (k === undefined ? "" : `, k ${k}`);
}

function tokensOf({ tokens }: TrainingTokens): string[] {
  return tokens === undefined ? [] : [`${tokens} tokens`];
}

/**
 * Units whose records a unit needs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { dependencies, studyConfig } from "interlens";
 *
 * const { model, text, seed, harvest, sae, nfm } = studyConfig();
 * const data = { model, text, seed, harvest, shards: 2 };
 * assertEquals(dependencies({ kind: "merge", data }).map(({ kind }) => kind), ["harvest", "harvest"]);
 * const needed = dependencies({ kind: "train", trainer: "nfm", data, sae, config: nfm });
 * assertEquals(needed.map(({ kind }) => kind), ["merge", "train"]);
 * ```
 */
export function dependencies(unit: Unit): Unit[] {
  const { data } = unit;
  const merge: MergeUnit = { kind: "merge", data };
  switch (unit.kind) {
    case "harvest":
      return [];
    case "merge":
      return Array.from({ length: data.shards }, (_, shard) => ({ kind: "harvest", data, shard }));
    case "train":
      return unit.trainer === "sae" ? [merge] : [merge, saeUnder(unit)];
    case "evaluate":
      return [
        merge,
        saeUnder(unit),
        ...Object.values(unit.models).map((model) => trainingOf(unit, model)),
      ];
    case "measure": {
      const { tokens, nfm } = unit;
      return [merge, saeUnder(unit), trainingOf(unit, { trainer: "nfm", tokens, config: nfm })];
    }
  }
}

/** The training of the dictionary that a unit stands on. */
export function saeUnder(
  { data, sae, window }: Pick<EvaluateUnit, "data" | "sae" | "window">,
): TrainSaeUnit {
  return { kind: "train", trainer: "sae", data, config: sae, ...defined({ window }) };
}

/** The training of a model on the dictionary that a unit stands on. */
export function trainingOf(
  { data, sae, window }: Pick<EvaluateUnit, "data" | "sae" | "window">,
  { tokens, ...model }: EvaluatedModel,
): TrainUnit {
  return { kind: "train", ...model, data, sae, ...defined({ tokens, window }) };
}

/** Without fields that are undefined, so that equal units look equal too. */
function defined(fields: TrainingTokens): TrainingTokens {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** The command of `deno task` that runs a kind of unit. */
const TASKS = {
  harvest: "harvest",
  merge: "harvest",
  train: "train",
  evaluate: "evaluate",
  measure: "measure",
};

/**
 * Arguments of `deno` that run a unit, in the root of the project.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig, unitCommand } from "interlens";
 *
 * const { model, text, seed, harvest } = studyConfig();
 * const unit = { kind: "merge", data: { model, text, seed, harvest, shards: 2 } } as const;
 * const command = unitCommand(unit, "s3://bucket/study");
 * assertEquals(command.slice(0, 4), ["task", "-q", "harvest", "--spec"]);
 * assertEquals(JSON.parse(command[4]), unit);
 * assertEquals(command.slice(5), ["--storage", "s3://bucket/study"]);
 * ```
 *
 * @param storage Address of the storage, as {@linkcode Storage.url}.
 */
export function unitCommand(unit: Unit, storage: string): string[] {
  return ["task", "-q", TASKS[unit.kind], "--spec", JSON.stringify(unit), "--storage", storage];
}
