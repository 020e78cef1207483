/**
 * Units that train: a dictionary, a secondary one, a factorization machine.
 *
 * A training works in a folder of its unit, so that its checkpoint and what it makes are found without
 * knowing their names. The folder and the checkpoint stay until the record is written: whoever runs the
 * unit again after a death in between has no training to repeat.
 *
 * @module
 */
import {
  type ActivationReader,
  limitTokens,
  type Sae,
  trainResidualSae,
  trainSae,
} from "../dictionary/mod.ts";
import { artefactDir, cacheDir } from "../files/mod.ts";
import { trainNfm } from "../interaction/mod.ts";
import type { ReconstructionSummary } from "../metrics/mod.ts";
import { pushFolder, type Storage } from "../storage/mod.ts";
import { openDevice } from "../tensor/mod.ts";
import { KeptCheckpoint, removeCheckpoint } from "./kept_checkpoint.ts";
import type { TrainResult } from "./record.ts";
import type { RunUnitOptions } from "./run_unit.ts";
import { saeUnder, type TrainUnit, unitHash } from "./unit.ts";
import { LAST, openSae, openStore, requireRecord } from "./unit_files.ts";

/** What a training made. */
interface Made {
  /** Folder name of its kind. */
  readonly kind: string;
  /** Everything that decided it. */
  readonly key: unknown;
  readonly metrics: ReconstructionSummary;
  readonly stopped: boolean;
}

/** Trains, and puts what was trained into the storage. */
export async function runTrain(
  unit: TrainUnit,
  { storage, signal }: RunUnitOptions,
): Promise<TrainResult> {
  const merged = await requireRecord(storage, { kind: "merge", data: unit.data });
  const under = unit.trainer === "sae"
    ? undefined
    : (await requireRecord(storage, saeUnder(unit))).result.artefact;
  await openDevice();
  const hash = unitHash(unit);
  const dir = trainingDir(unit);
  await using checkpoint = await KeptCheckpoint.open(storage, hash, dir);
  using store = await openStore(storage, merged.result.artefact, unit);
  const tokens: ActivationReader = unit.tokens === undefined
    ? store
    : limitTokens(store, { train: unit.tokens });
  const sae = under === undefined ? undefined : await openSae(storage, under);
  let made: Made;
  try {
    made = await train(unit, tokens, { sae, dir, signal });
  } finally {
    sae?.dispose();
  }
  if (made.stopped) {
    await checkpoint.copy();
    throw signal?.reason ?? new DOMException("The training was stopped", "AbortError");
  }
  const folder = artefactDir({ kind: made.kind, config: made.key, dir });
  const artefact = folder.split(/[\\/]/).slice(-2).join("/");
  await pushFolder(storage, folder, artefact, { last: LAST });
  return { artefact, metrics: made.metrics };
}

/** Folder that a training works in. */
export function trainingDir(unit: TrainUnit): string {
  return cacheDir("units", unitHash(unit));
}

/** Removes the checkpoint and the folder of a training that is done; what stays does no harm. */
export async function clearTraining(unit: TrainUnit, storage: Storage): Promise<void> {
  await removeCheckpoint(storage, unitHash(unit)).catch(() => {});
  await Deno.remove(trainingDir(unit), { recursive: true }).catch(() => {});
}

async function train(
  unit: TrainUnit,
  store: ActivationReader,
  { sae, dir, signal }: { sae?: Sae; dir: string; signal?: AbortSignal },
): Promise<Made> {
  const run = { cache: dir, signal };
  if (unit.trainer === "nfm") {
    const { nfm, metrics, stopped } = await trainNfm(store, sae!, { ...unit.config, ...run });
    const key = nfm.metadata.training;
    nfm.dispose();
    return { kind: "nfm", key, metrics, stopped };
  }
  const trained = unit.trainer === "sae"
    ? await trainSae(store, unit.config, run)
    : await trainResidualSae(store, sae!, { ...unit.config, ...run });
  const key = trained.sae.metadata.training;
  trained.sae.dispose();
  const kind = unit.trainer === "sae" ? "sae" : "residual-sae";
  return { kind, key, metrics: trained.metrics, stopped: trained.stopped };
}
