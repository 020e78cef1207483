/**
 * Factorization machines on sparse codes: which part of a residual is linear in the
 * features, and which needs pairs of them.
 *
 * @module
 */
export { attachNfm } from "./attach_nfm.ts";
export { exactLadder } from "./exact_ladder.ts";
export type { LadderResult, LadderSplit } from "./exact_ladder.ts";
export { inferCodes } from "./infer_codes.ts";
export type { InferOptions } from "./infer_codes.ts";
export { Nfm } from "./nfm.ts";
export type { NfmPieces, NfmScales, NfmWeights } from "./nfm.ts";
export { nfmCost } from "./nfm_cost.ts";
export type { NfmCost, NfmStep } from "./nfm_cost.ts";
export { parameterCount } from "./nfm_config.ts";
export type { NfmConfig, NfmDefect, NfmParts, NfmShape, ParameterCount } from "./nfm_config.ts";
export { nfmLoss, nfmRowLoss } from "./nfm_loss.ts";
export { usedRows } from "./nfm_terms.ts";
export type { UsedRows } from "./nfm_terms.ts";
export { findPairs, pairScan } from "./pair_scan.ts";
export type { PairScanOptions, ScannedPair } from "./pair_scan.ts";
export { pairSurface } from "./pair_surface.ts";
export type { PairSurface, PairSurfaceOptions } from "./pair_surface.ts";
export { coactivePairs, pairTensor, strongestPairs } from "./pairs.ts";
export type { CoactivePair, Pair, RankedPair } from "./pairs.ts";
export { plantedPairs, plantedTheory } from "./planted.ts";
export type {
  PlantedConfig,
  PlantedKind,
  PlantedSplit,
  PlantedTheory,
  PlantedWorld,
} from "./planted.ts";
export { plantedEndToEnd } from "./planted_end_to_end.ts";
export type { CodesOrigin, EndToEndConfig, EndToEndRow } from "./planted_end_to_end.ts";
export { fitPlanted, plantedFvu, rankingScores, scorePlanted } from "./planted_scores.ts";
export type { PlantedScores } from "./planted_scores.ts";
export { SparseInference } from "./sparse_inference.ts";
export type { PackedCodes, SparseInferenceOptions } from "./sparse_inference.ts";
export { surrogateNull } from "./surrogate.ts";
export type { SurrogateNull, SurrogateOptions } from "./surrogate.ts";
export { surrogateStore } from "./surrogate_store.ts";
export type { SurrogateReport, SurrogateStore, SurrogateStoreOptions } from "./surrogate_store.ts";
export { jointLoss, trainJoint } from "./train_joint.ts";
export type { JointLossOptions, JointResult } from "./train_joint.ts";
export { singleFeatureCodes, trainLadder } from "./train_ladder.ts";
export type { Rung, TrainedLadder } from "./train_ladder.ts";
export { codesAndResidual, requireDictionary, trainNfm } from "./train_nfm.ts";
export type { NfmResult } from "./train_nfm.ts";
export { untrainedNfm } from "./untrained.ts";
export type { InitialWeightsOptions } from "./untrained.ts";
