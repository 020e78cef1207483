/**
 * The record of a part of a harvest: it is written when all files of the part are in the storage.
 *
 * @module
 */
import { configHash } from "../files/mod.ts";
import { type SplitName, SPLITS } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import {
  type ActivationManifest,
  manifestDefect,
  type Shard,
  type SplitManifest,
} from "./manifest.ts";
import type { ShardNumber } from "./work.ts";

/** A file of a part. */
export interface PartFile extends Omit<Shard, "documentsFrom"> {
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

/** A part of a harvest that is in a storage, whole; made by `harvestShard`. */
export interface HarvestPart {
  /** Version of this form. */
  readonly format: 1;
  /** Where the store will be, `activations/<hash of config>`. */
  readonly key: string;
  /** Which part of how many. */
  readonly shard: ShardNumber;
  /** Everything that decides the content of the store, and into how many parts it is cut. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What the store's manifest will say, but for its splits. */
  readonly manifest: Omit<ActivationManifest, "splits" | "faithful">;
  /**
   * Whether each part numbers its documents from 0, because it does not know those of the others; if
   * not, numbers are those in the lists of part 0, and the others have none.
   */
  readonly ownDocuments: boolean;
  /** What it has of the splits. */
  readonly splits: Readonly<Record<SplitName, PartSplit>>;
  /** Sums over its training tokens. */
  readonly sums: PartSums;
  /** Version of the library that made it. */
  readonly libraryVersion: string;
}

/** Key of the store that parts of a configuration make. */
export function storeKey(config: unknown): string {
  return `activations/${configHash(config)}`;
}

/** Key of a part's record. */
export function partKey(key: string, { index, of }: ShardNumber): string {
  return `${key}/parts/${padded(index)}-of-${padded(of)}.json`;
}

/** A part's number as it stands in the names of files. */
export function padded(number: number): string {
  return `${number}`.padStart(5, "0");
}

/** A part's record as it lies in the storage; undefined if there is none that can be read as one. */
export async function readPart(
  storage: Storage,
  key: string,
  shard: ShardNumber,
): Promise<HarvestPart | undefined> {
  const name = partKey(key, shard);
  if (!await storage.stat(name)) return undefined;
  const text = new TextDecoder().decode(await storage.read(name));
  try {
    const part = JSON.parse(text);
    return typeof part === "object" && part !== null ? part : undefined;
  } catch {
    return undefined;
  }
}

/** True if a record is of this part, undamaged and in a form that this version knows. */
export function isPart(part: HarvestPart, key: string, { index, of }: ShardNumber): boolean {
  return part.format === 1 && part.key === key && part.config !== undefined &&
    storeKey(part.config) === key && part.shard?.index === index && part.shard.of === of &&
    manifestDefect({ ...part.manifest, splits: part.splits }) === undefined &&
    ["elements", "sum", "squares", "norms"].every((name) =>
      Number.isFinite(part.sums?.[name as keyof PartSums])
    );
}

/** Files of a part that are not in the storage as its record states them. */
export function damagedFiles(part: HarvestPart, sizes: ReadonlyMap<string, number>): PartFile[] {
  return SPLITS.flatMap((name) => part.splits[name].shards)
    .filter(({ file, bytes }) => sizes.get(`${part.key}/${file}`) !== bytes);
}

/** Sizes of all files below a prefix, by key. */
export async function sizesBelow(storage: Storage, prefix: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  for await (const { key, size } of storage.list(prefix)) sizes.set(key, size);
  return sizes;
}
