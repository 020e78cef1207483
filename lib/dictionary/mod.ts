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
export { batchTopkLoss } from "./batch_topk_loss.ts";
export { keepBatchTopK } from "./batch_topk.ts";
export { gatedLoss } from "./gated_loss.ts";
export { jumpReluLoss } from "./jumprelu_loss.ts";
export type { JumpReluLossOptions } from "./jumprelu_loss.ts";
export { matryoshkaLoss } from "./matryoshka_loss.ts";
export type { BatchTopKResult, MatryoshkaLossOptions } from "./matryoshka_loss.ts";
export { pairReader } from "./pair_reader.ts";
export type { PairReader } from "./pair_reader.ts";
export { residualReader, residualScale, trainResidualSae } from "./residual.ts";
export { Sae } from "./sae.ts";
export type { Architecture, SaeConfig, SaeOptions, SaeWeights } from "./sae.ts";
export { fingerprint } from "./sae_files.ts";
export { standardLoss } from "./standard_loss.ts";
export type { StandardLossOptions } from "./standard_loss.ts";
export { topkLoss } from "./topk_loss.ts";
export type { TopkLossOptions } from "./topk_loss.ts";
export { requireSameSource } from "./same_source.ts";
export type { Trained } from "./same_source.ts";
export { trainSweep } from "./sweep.ts";
export { requireAtLeast, requireBatchSize } from "./train_config.ts";
export type { SaeDefect, SaeTrainingConfig, TrainedArchitecture } from "./train_config.ts";
export { measureSae, trainSae } from "./train_sae.ts";
export type { SaeResult, TrainOptions } from "./train_sae.ts";
export { type MemorySplit, memoryStore } from "./memory_store.ts";
export { limitTokens, tokenSplit } from "./token_views.ts";
