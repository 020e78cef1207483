/**
 * What features and their interactions mean: stimuli measured, features selected and discovered
 * against their nulls, examples, labels, attribution to pairs.
 *
 * @module
 */
export { clampFeature, measureClamp } from "./clamp.ts";
export type { ClampContrast, ClampEffect, ClampMeasureOptions, ClampOptions } from "./clamp.ts";
export { detectLabels } from "./detection.ts";
export type { DetectionOptions, DetectionReport, DetectionScore } from "./detection.ts";
export { proportion, rocAuc } from "./detection_statistics.ts";
export { EndpointError, ModelEndpoint, modelEndpoint } from "./endpoint.ts";
export type {
  AskOptions,
  CostEstimate,
  EndpointKind,
  EndpointOptions,
  Questions,
} from "./endpoint.ts";
export { labelByTokens, labelFeatures, labelQuestions } from "./labels.ts";
export type { FeatureLabel, LabelOptions, TokenLabelOptions } from "./labels.ts";
export { collectExamples } from "./examples.ts";
export type {
  Example,
  Examples,
  ExampleSequence,
  ExamplesModel,
  ExamplesOptions,
  FeatureExamples,
} from "./examples.ts";
export { activationColor, showExamples } from "./examples_view.ts";
export type { ExampleKind, ExamplesView, ExamplesViewOptions } from "./examples_view.ts";
export type { TokenStatistic } from "./token_statistics.ts";
export { learnedEmbeddings } from "./embeddings.ts";
export type { Embeddings, LearnedEmbeddings, SelectionOptions } from "./embeddings.ts";
export { compareWithNull } from "./null_weights.ts";
export type { NullComparison, NullDrawOptions, WeightNull } from "./null_weights.ts";
export { chooseK, featureSpreads, selectByGini, strongestPartner } from "./selection.ts";
export type { AmongOptions, FeatureGroups, FeatureSpread, KChoice } from "./selection.ts";
export type { KMethod, KOptions, PartnerChoice } from "./selection.ts";
export { giniAgainstNulls, kAgainstNulls, partnerAgainstNulls } from "./selection_nulls.ts";
export type { GiniNull, GiniTest, KTest, PartnerTest } from "./selection_nulls.ts";
export { cellsOf, columnOf, measureStimuli, vectorCellsOf } from "./measure.ts";
export type { MeasuredAt, MeasureOptions, StimulusCodes, StimulusReader } from "./measure.ts";
export type { StimulusTokens } from "./measure.ts";
export { type NfmRowDefect, type NfmRows, nfmRows, type NfmRowsOptions } from "./nfm_rows.ts";
export { stimulusRows } from "./nfm_rows.ts";
export { contributions, interactionShare, rankByContribution, readCodes } from "./contributions.ts";
export type {
  ContributingK,
  Contributions,
  InteractionShare,
  TokenCodes,
} from "./contributions.ts";
export { matchDimension, rankCorrelation, rankingStability } from "./stability.ts";
export type { MatchedDimension, RankingStability } from "./stability.ts";
export { discover } from "./discover.ts";
export type {
  DiscoveredFeature,
  DiscoverOptions,
  Discovery,
  DiscoveryCodes,
  FactorDiscovery,
} from "./discover.ts";
export { analyseAsStudy, STUDY_DEFECTS } from "./analyse_as_study.ts";
export type { AsStudyAnalysis, AsStudyOptions, StudyDefect } from "./analyse_as_study.ts";
export { analyseDesign, chooseFeatures } from "./analyse_design.ts";
export type { ChosenFeature, DesignAnalysis, DesignOptions } from "./analyse_design.ts";
export type { DesignSubject, VectorTest } from "./analyse_design.ts";
export { designNulls, designPanels, designTable, K_ROWS } from "./design_figures.ts";
export { type DesignPanelsOptions, TERM_ROWS, vectorTable } from "./design_figures.ts";
export { type MainEffects, mainEffects } from "./main_effects.ts";
export { judgeInteraction, measureOf, pairMeasures } from "./pair_measures.ts";
export type { DesignMeasure, MeasuredPair, MeasureKey, PairMeasures } from "./pair_measures.ts";
export { attributePairs, mixedDifference } from "./pair_attribution.ts";
export type { AttributeOptions, MixedDifference } from "./pair_attribution.ts";
export type { PairAttribution, PairEffect } from "./pair_attribution.ts";
export { effectOnLogits } from "./logit_effect.ts";
export type { LogitEffect, TokenEffect } from "./logit_effect.ts";
export { type SelectionAlone, selectionAlone } from "./selection_alone.ts";
