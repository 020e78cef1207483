/**
 * Units that make an activation store: its parts, and all of them together.
 *
 * @module
 */
import { type HarvestPart, harvestShard, mergeShards } from "../activations/mod.ts";
import { SPLITS } from "../corpus/mod.ts";
import { openSubject, studyDocuments, studySource } from "../study/mod.ts";
import { openDevice } from "../tensor/mod.ts";
import { concurrently } from "./concurrently.ts";
import type { HarvestResult, MergeResult } from "./record.ts";
import type { RunUnitOptions } from "./run_unit.ts";
import { dependencies, type HarvestUnit, type MergeUnit } from "./unit.ts";
import { requireArtefactKey, requireRecord } from "./unit_files.ts";

/** Runs the model over a part of the documents. */
export async function runHarvest(
  { data, shard }: HarvestUnit,
  { storage, signal }: RunUnitOptions,
): Promise<HarvestResult> {
  await openDevice();
  using model = await openSubject(data, { signal });
  const documents = data.stream
    ? { source: studySource(data.text), name: data.text }
    : await studyDocuments(data, model.tokenizer, { signal });
  const part = await harvestShard(model, documents, {
    ...data.harvest,
    shard: { index: shard, of: data.shards },
    storage,
    signal,
  });
  return { artefact: part.key, tokens: tokensOf(part) };
}

/** Makes the store of its parts. */
export async function runMerge(
  unit: MergeUnit,
  { storage, signal }: RunUnitOptions,
): Promise<MergeResult> {
  const keys = new Set<string>();
  const tokens = { train: 0, validation: 0, test: 0 };
  await concurrently(dependencies(unit) as HarvestUnit[], async (part) => {
    const { result } = await requireRecord(storage, part);
    keys.add(result.artefact);
    for (const name of SPLITS) tokens[name] += result.tokens[name];
  });
  if (keys.size !== 1) {
    throw new Error(
      `Cannot merge parts of ${keys.size} stores, ${
        [...keys].join(" and ")
      }: the model or the text ` +
        `differs between the nodes that harvested them`,
    );
  }
  const key = requireArtefactKey([...keys][0]);
  const artefact = await mergeShards({ storage, key, of: unit.data.shards, signal });
  return { artefact, tokens };
}

function tokensOf({ splits }: Pick<HarvestPart, "splits">): HarvestResult["tokens"] {
  return Object.fromEntries(
    SPLITS.map((name) => [name, splits[name].tokens]),
  ) as unknown as HarvestResult["tokens"];
}
