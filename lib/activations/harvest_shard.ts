/**
 * One part of a harvest that several machines share: its rows go to a storage, then a record of them.
 *
 * @module
 */
import type { SplitName, Splits } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import type { HarvestOptions } from "./harvest_settings.ts";
import type { ActivationManifest, Shard, SplitManifest } from "./manifest.ts";
import type { ActivationSource } from "./source.ts";
import type { ShardNumber, StreamedDocuments } from "./work.ts";

/** What to harvest, which part of it, and where to. */
export interface HarvestShardOptions extends HarvestOptions {
  /** The part. */
  shard: ShardNumber;
  /** Where its files and its record go. */
  storage: Storage;
}

/** A file of a part. */
export interface PartFile extends Shard {
  /** Its size. */
  readonly bytes: number;
}

/** What a part has of one split. */
export interface PartSplit extends Omit<SplitManifest, "shards"> {
  /** Its files, in order; names are below {@linkcode HarvestPart.key}. */
  readonly shards: readonly PartFile[];
}

/** Sums over the training tokens of a part, for the normaliser of the whole. */
export interface PartSums {
  /** Number of elements. */
  readonly elements: number;
  /** Of the elements. */
  readonly sum: number;
  /** Of their squares. */
  readonly squares: number;
  /** Of the vectors' Euclidean norms. */
  readonly norms: number;
}

/** A part that is in the storage, whole: content of `<key>/parts/<index>-of-<of>.json`. */
export interface HarvestPart {
  /** Version of this form. */
  readonly format: 1;
  /** Where the store will be, `activations/<hash of config>`. */
  readonly key: string;
  /** The part. */
  readonly shard: ShardNumber;
  /** Everything that decides the content of the store, and the number of parts. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What the store's manifest will say, but for the splits. */
  readonly manifest: Omit<ActivationManifest, "splits" | "faithful">;
  /** Whether documents streamed: their numbers in the files are then those in this part's lists. */
  readonly streamed: boolean;
  /** What it has of the splits. */
  readonly splits: Readonly<Record<SplitName, PartSplit>>;
  /** Sums over its training tokens. */
  readonly sums: PartSums;
  /** Version of the library that made it. */
  readonly libraryVersion: string;
}

/**
 * Harvests one part of the work into a storage, unless it is there already.
 *
 * @param model The model, or anything that runs like one.
 * @param documents Documents by split, or a source of them: the same ones for every part.
 * @param options What to harvest, which part of it, and where to.
 */
export function harvestShard(
  _model: ActivationSource,
  _documents: Splits | StreamedDocuments,
  _options: HarvestShardOptions,
): Promise<HarvestPart> {
  return Promise.reject(new Error("Not there yet"));
}
