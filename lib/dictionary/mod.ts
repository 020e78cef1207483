/**
 * Dictionaries: sparse autoencoders, their training, and their files.
 *
 * @module
 */
export { attachSae } from "./attach_sae.ts";
export type { AttachOptions, Correction } from "./attach_sae.ts";
export { toModelUnits, toStoreUnits } from "./units.ts";
export { sequentialBatches } from "./reader.ts";
export type { ActivationReader, InputNormalizer, SplitName, SplitReader } from "./reader.ts";
export { residualReader, residualScale, trainResidualSae } from "./residual.ts";
export { Sae } from "./sae.ts";
export type { Architecture, SaeConfig, SaeOptions, SaeWeights } from "./sae.ts";
export { fingerprint } from "./sae_files.ts";
export { standardLoss } from "./standard_loss.ts";
export { topkLoss } from "./topk_loss.ts";
export type { TopkLossOptions } from "./topk_loss.ts";
export { requireAtLeast, requireBatchSize } from "./train_config.ts";
export type { SaeTrainingConfig } from "./train_config.ts";
export { measureSae, trainSae } from "./train_sae.ts";
export type { SaeResult, TrainOptions } from "./train_sae.ts";
export { type MemorySplit, memoryStore } from "./memory_store.ts";
