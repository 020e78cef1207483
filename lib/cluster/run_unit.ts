/**
 * Running a unit.
 *
 * @module
 */
import { hostname } from "node:os";
import { loadStimuli } from "../corpus/mod.ts";
import { VERSION } from "../files/mod.ts";
import { FolderLock } from "../files/folder_lock.ts";
import type { Storage } from "../storage/mod.ts";
import { concurrently } from "./concurrently.ts";
import { requireUnit } from "./parse_unit.ts";
import { readRecord, recordKey, type UnitRecord, type UnitResult } from "./record.ts";
import { runEvaluate } from "./run_evaluate.ts";
import { runHarvest, runMerge } from "./run_harvest.ts";
import { runMeasure } from "./run_measure.ts";
import { clearTraining, runTrain, trainingDir } from "./run_train.ts";
import { dependencies, type Unit, unitHash, unitName } from "./unit.ts";

/** Where a unit reads and writes, and what stops it. */
export interface RunUnitOptions {
  readonly storage: Storage;
  /** Stops the unit; run again, it goes on where it was. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a unit, or loads its record if it is done.
 *
 * A unit that was stopped or killed goes on: a harvest on the same node, a training on any. What comes out
 * is the same, byte for byte, wherever and whenever it ran, if devices and threads are.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { openStorage, runUnit, type StudyText, studyConfig } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * const { model, text, seed, harvest } = studyConfig();
 * const data: StudyText = { model, text, seed, harvest, shards: 2 };
 * const storage = openStorage(dir);
 * await assertRejects(
 *   () => runUnit({ kind: "merge", data }, { storage }),
 *   Error,
 *   'it needs "harvest 1/2" and 1 more',
 * );
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @throws {RangeError} If it is no unit, or its numbers do not go together.
 * @throws {Error} If units that it needs are not done, before the model is loaded; if the storage cannot
 * be reached.
 * @throws {DOMException} If the signal stops it.
 */
export async function runUnit<U extends Unit>(
  unit: U,
  options: RunUnitOptions,
): Promise<UnitRecord<U>> {
  requireUnit(unit);
  if (unit.kind !== "train") return await loadOrRun(unit, options);
  const { storage, signal } = options;
  let record = await readRecord(storage, unit);
  if (!record) {
    // Two processes of this machine would train in one folder.
    using _lock = await FolderLock.acquire(trainingDir(unit), signal);
    record = await loadOrRun(unit, options);
  }
  await clearTraining(unit, storage);
  return record;
}

async function loadOrRun<U extends Unit>(
  unit: U,
  options: RunUnitOptions,
): Promise<UnitRecord<U>> {
  const { storage } = options;
  const start = performance.now();
  const done = await readRecord(storage, unit);
  if (done) return done;
  // What cannot be measured need not wait for its trainings.
  if (unit.kind === "measure") await loadStimuli(unit.design);
  await requireDependencies(unit, storage);
  await requireWritable(storage);
  let result: UnitResult;
  try {
    result = await run(unit, options);
  } catch (error) {
    // Whoever finished the same unit meanwhile made the same thing.
    const theirs = await readRecord(storage, unit).catch(() => undefined);
    if (theirs) return theirs;
    throw error;
  }
  const hash = unitHash(unit);
  const record = JSON.stringify({
    unit,
    hash,
    result,
    seconds: (performance.now() - start) / 1000,
    node: hostname(),
    version: VERSION,
    created: new Date().toISOString(),
  });
  await storage.write(recordKey(hash), record + "\n");
  return JSON.parse(record);
}

async function requireDependencies(unit: Unit, storage: Storage): Promise<void> {
  const needed = dependencies(unit);
  const found = new Set<Unit>();
  await concurrently(needed, async (each) => {
    if (await storage.stat(recordKey(unitHash(each)))) found.add(each);
  });
  const missing = needed.filter((each) => !found.has(each));
  if (missing.length === 0) return;
  throw new Error(
    `Cannot run "${unitName(unit)}": it needs "${unitName(missing[0])}"` +
      (missing.length > 1 ? ` and ${missing.length - 1} more` : "") +
      `, not done in "${storage.url}"; run what it needs first`,
  );
}

/** Hours of work for a storage that takes nothing would be lost. */
async function requireWritable(storage: Storage): Promise<void> {
  const key = `probes/${crypto.randomUUID()}`;
  await storage.write(key, "");
  await storage.remove(key);
}

function run(unit: Unit, options: RunUnitOptions): Promise<UnitResult> {
  switch (unit.kind) {
    case "harvest":
      return runHarvest(unit, options);
    case "merge":
      return runMerge(unit, options);
    case "train":
      return runTrain(unit, options);
    case "evaluate":
      return runEvaluate(unit, options);
    case "measure":
      return runMeasure(unit, options);
  }
}
