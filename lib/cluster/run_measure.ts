/**
 * Units that analyse a stimulus design.
 *
 * @module
 */
import { analyseDesign } from "../analysis/mod.ts";
import { loadStimuli } from "../corpus/mod.ts";
import { openSubject } from "../study/mod.ts";
import { openDevice } from "../tensor/mod.ts";
import type { MeasureResult } from "./record.ts";
import type { RunUnitOptions } from "./run_unit.ts";
import { type MeasureUnit, saeUnder, trainingOf } from "./unit.ts";
import { openNfm, openSae, openStore, requireRecord } from "./unit_files.ts";

/** Measures the stimuli and tests them, as `analyseDesign` does. */
export async function runMeasure(
  unit: MeasureUnit,
  { storage, signal }: RunUnitOptions,
): Promise<MeasureResult> {
  const { data, tokens, options = {} } = unit;
  const merged = await requireRecord(storage, { kind: "merge", data });
  const dictionary = await requireRecord(storage, saeUnder(unit));
  const machine = await requireRecord(
    storage,
    trainingOf(unit, { trainer: "nfm", tokens, config: unit.nfm }),
  );
  const design = await loadStimuli(unit.design);
  await openDevice();
  const { maxNorm } = await manifestOf(storage, merged.result.artefact);
  const sae = await openSae(storage, dictionary.result.artefact);
  try {
    const nfm = await openNfm(storage, machine.result.artefact);
    try {
      using model = await openSubject(data, { signal });
      const analysis = await analyseDesign({ model, sae, nfm }, design, {
        ...options,
        maxNorm: maxNorm ?? undefined,
        signal,
      });
      return plain({ ...analysis, design: design.name }) as MeasureResult;
    } finally {
      nfm.dispose();
    }
  } finally {
    sae.dispose();
  }
}

async function manifestOf(storage: RunUnitOptions["storage"], key: string) {
  using store = await openStore(storage, key);
  return store.manifest;
}

/** The same values with arrays in place of typed arrays, which JSON does not have. */
function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as Float64Array);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
