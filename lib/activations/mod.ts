/**
 * Token activations on disk: harvest, shards, shuffled reading, and the normaliser.
 *
 * @module
 */
export { harvest, type HarvestOptions } from "./harvest.ts";
export type { ActivationManifest, Shard, SplitManifest } from "./manifest.ts";
export {
  fitNormalizer,
  Normalizer,
  type NormalizerFit,
  type NormalizerOptions,
} from "./normalizer.ts";
export type { ActivationSource } from "./source.ts";
export { ActivationStore, StoreSplit } from "./store.ts";
