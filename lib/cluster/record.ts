/**
 * Records: that a unit is done, with what came out.
 *
 * @module
 */
import type { SplitName } from "../corpus/mod.ts";
import type { DesignAnalysis } from "../analysis/mod.ts";
import type { Interval, PerDocument, ReconstructionSummary } from "../metrics/mod.ts";
import type { Storage } from "../storage/mod.ts";
import {
  type EvaluateUnit,
  type HarvestUnit,
  type MeasureUnit,
  type MergeUnit,
  type TrainUnit,
  type Unit,
  unitHash,
  unitName,
} from "./unit.ts";

/** Of a harvested part. */
export interface HarvestResult {
  /** Key of the store that it is a part of. */
  readonly artefact: string;
  /** Tokens that are stored. */
  readonly tokens: Readonly<Record<SplitName, number>>;
}

/** Of a store. */
export interface MergeResult {
  /** Its key. */
  readonly artefact: string;
  /** Tokens that are stored. */
  readonly tokens: Readonly<Record<SplitName, number>>;
}

/** Of a training. */
export interface TrainResult {
  /** Key of the folder of what was trained. */
  readonly artefact: string;
  /** On the validation documents. */
  readonly metrics: ReconstructionSummary;
}

/** Error of a dictionary, alone or with a model. */
export interface EvaluatedError {
  readonly fvu: number;
  /** The study's uncentred 100 · Σ‖x − x̂‖² / Σ‖x‖². */
  readonly errorPercent: number;
  /** Sums by document, the same documents in the same order for all. */
  readonly perDocument: PerDocument;
}

/** Error of a model with what it removes. */
export interface EvaluatedGain extends EvaluatedError {
  /** Share of the dictionary's squared error that it removes, with its 95 % interval over documents. */
  readonly reduction: Interval;
  /**
   * The same share of the error that a machine without pairs leaves, of the same tokens and seed;
   * absent if none was measured beside it.
   */
  readonly beyondLinear?: Interval;
}

/** Of an evaluation. */
export interface EvaluateResult {
  readonly split: SplitName;
  /** Tokens that were measured. */
  readonly tokens: number;
  /** Of the dictionary: active features a token, in the mean, and the share that never fired. */
  readonly l0: number;
  readonly deadFraction: number;
  readonly sae: EvaluatedError;
  /** By name. */
  readonly models: Readonly<Record<string, EvaluatedGain>>;
}

/** A type as JSON gives it back; a number that is not finite comes back as null. */
export type Plain<T> = T extends Float64Array | Float32Array | Int32Array ? number[]
  : T extends readonly (infer Item)[] ? readonly Plain<Item>[]
  : T extends object ? { readonly [K in keyof T]: Plain<T[K]> }
  : T;

/** Of a measured design. */
export type MeasureResult = Plain<Omit<DesignAnalysis, "design">> & { readonly design: string };

/** What comes out of a unit. */
export type UnitResult<U extends Unit = Unit> = U extends HarvestUnit ? HarvestResult
  : U extends MergeUnit ? MergeResult
  : U extends TrainUnit ? TrainResult
  : U extends EvaluateUnit ? EvaluateResult
  : U extends MeasureUnit ? MeasureResult
  : never;

/** Content of `units/<hash>.json`. `result` is the same wherever and whenever the unit ran. */
export interface UnitRecord<U extends Unit = Unit> {
  readonly unit: U;
  /** `unitHash` of it. */
  readonly hash: string;
  readonly result: UnitResult<U>;
  /** Time that the unit took, in seconds; of the last attempt, if there were several. */
  readonly seconds: number;
  /** Machine that it ran on. */
  readonly node: string;
  /** Version of the library that made it. */
  readonly version: string;
  /** When it was complete, ISO 8601. */
  readonly created: string;
}

/** Key of a unit's record. */
export function recordKey(hash: string): string {
  return `units/${hash}.json`;
}

/**
 * The record of a unit; undefined if the unit is not done.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openStorage, readRecord, studyConfig, unitHash } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * const storage = openStorage(dir);
 * const { model, text, seed, harvest } = studyConfig();
 * const unit = { kind: "merge", data: { model, text, seed, harvest, shards: 2 } } as const;
 * assertEquals(await readRecord(storage, unit), undefined);
 *
 * const result = { artefact: "activations/0123456789abcdef", tokens: { train: 9, validation: 1, test: 3 } };
 * await storage.write(`units/${unitHash(unit)}.json`, JSON.stringify({ hash: unitHash(unit), result }));
 * assertEquals((await readRecord(storage, unit))?.result.tokens.train, 9);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @throws {Error} If the storage cannot be read, or what lies there is no record of this unit.
 */
export async function readRecord<U extends Unit>(
  storage: Storage,
  unit: U,
): Promise<UnitRecord<U> | undefined> {
  const hash = unitHash(unit);
  const key = recordKey(hash);
  if (!await storage.stat(key)) return undefined;
  const text = new TextDecoder().decode(await storage.read(key));
  let record: UnitRecord<U> | undefined;
  try {
    record = JSON.parse(text);
  } catch { /* said below */ }
  if (record?.hash !== hash || typeof record.result !== "object") {
    throw new Error(
      `"${key}" in "${storage.url}" is no record of "${
        unitName(unit)
      }": remove it to run the unit ` +
        `again`,
    );
  }
  return record;
}
