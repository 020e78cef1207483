/**
 * Running a unit.
 *
 * @module
 */
import type { Storage } from "../storage/mod.ts";
import { readRecord, type UnitRecord } from "./record.ts";
import { type Unit, unitName } from "./unit.ts";

/** Where a unit reads and writes, and what stops it. */
export interface RunUnitOptions {
  readonly storage: Storage;
  /** Stops the unit; run again, it goes on where it was. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a unit, or loads its record if it is done.
 *
 * @throws {Error} If a unit that it needs is not done, naming it; before the model is loaded.
 * @throws {DOMException} If the signal stops it.
 */
export async function runUnit<U extends Unit>(
  unit: U,
  { storage }: RunUnitOptions,
): Promise<UnitRecord<U>> {
  const done = await readRecord(storage, unit);
  if (done) return done;
  throw new Error(`Cannot run "${unitName(unit)}" yet`);
}
