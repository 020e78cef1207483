/**
 * Models of the same activations, compared on held-out documents.
 *
 * @module
 */
export { evaluate } from "./evaluate.ts";
export type { EvaluateOptions, Evaluation, EvaluationInput, Reconstruct } from "./evaluate.ts";
export {
  affineContender,
  mlpContender,
  nfmContender,
  secondarySaeContender,
  widerSaeContender,
} from "./contenders.ts";
export type { CoreEvalConfig, CoreFeature, CoreMetrics, CoreReport } from "./core_report.ts";
export { evaluateSae } from "./evaluate_sae.ts";
export type { EvaluateSaeOptions, SaeEvaluation, SaeIntervals } from "./evaluate_sae.ts";
export { meanResidual } from "./mean_residual.ts";
export { affineSkip } from "./affine_skip.ts";
export type { AffineSkip, AffineSkipOptions } from "./affine_skip.ts";
export { attributeNfm } from "./attribute_nfm.ts";
export type { AttributeNfmOptions, ByTerm, NfmAttribution } from "./attribute_nfm.ts";
export { affineRefit } from "./affine_refit.ts";
export type { AffineRefitOptions } from "./affine_refit.ts";
export { CodesMlp, equalMlpWidth, mlpParameterCount } from "./codes_mlp.ts";
export type { CodesMlpScales, CodesMlpShape, CodesMlpWeights } from "./codes_mlp.ts";
export { conjugateGradients } from "./conjugate_gradients.ts";
export type { ConjugateGradientOptions } from "./conjugate_gradients.ts";
export { fullLadder } from "./full_ladder.ts";
export type { FullLadder, FullLadderConfig, FullLadderRow } from "./full_ladder.ts";
export { interactionControls } from "./interaction_controls.ts";
export type { InteractionControl, InteractionControlOptions } from "./interaction_controls.ts";
export { spliceIn } from "./splice.ts";
export type {
  SpliceEffect,
  SpliceOptions,
  SplicePerDocument,
  SpliceResult,
  SpliceSequence,
} from "./splice.ts";
export { surrogateGain } from "./surrogate_gain.ts";
export type { ComparedGain, SurrogateGain, SurrogateGainConfig } from "./surrogate_gain.ts";
export { trainCodesMlp } from "./train_codes_mlp.ts";
export type { CodesMlpConfig, CodesMlpResult } from "./train_codes_mlp.ts";
export { evaluateTuned, trialRows, tune } from "./tune.ts";
export type { Contender, Contenders, Space, Trial, Tuned, TunedAll, TuneOptions } from "./tune.ts";
export { equalSaeWidth, saeParameterCount, trainWiderSae } from "./wider_sae.ts";
export type { SaeSize, WiderSaeConfig } from "./wider_sae.ts";
