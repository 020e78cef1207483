/**
 * Token activations on disk: harvest, shards, shuffled reading, and the normaliser.
 *
 * @module
 */
export { harvest, harvestHooks } from "./harvest.ts";
export type { HarvestHooksOptions, HarvestOptions, HarvestSettings } from "./harvest_settings.ts";
export type { HarvestPart, PartFile, PartSplit, PartSums } from "./harvest_part.ts";
export { harvestShard, type HarvestShardOptions } from "./harvest_shard.ts";
export { mergeShards, type MergeShardsOptions } from "./merge_shards.ts";
export type { ActivationManifest, Shard, SplitManifest, StoreDtype } from "./manifest.ts";
export {
  type ModelReader,
  modelReader,
  type ModelReaderOptions,
  ModelSplit,
} from "./model_reader.ts";
export {
  fitNormalizer,
  Normalizer,
  type NormalizerFit,
  type NormalizerOptions,
} from "./normalizer.ts";
export type { ActivationSource } from "./source.ts";
export { ActivationStore, type FetchOptions, type OpenOptions } from "./store.ts";
export { type SplitOf, type SplitOptions as StoreSplitOptions, StoreSplit } from "./store_split.ts";
export type { ShardNumber, StreamedDocuments } from "./work.ts";
