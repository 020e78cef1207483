/**
 * What features and their interactions mean: stimuli measured, features selected and discovered
 * against their nulls, examples, labels, attribution to pairs.
 *
 * @module
 */
export { clampFeature, measureClamp } from "./clamp.ts";
export type { ClampContrast, ClampEffect, ClampMeasureOptions, ClampOptions } from "./clamp.ts";
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
export type { KMethod, KOptions, Partner } from "./selection.ts";
export { giniAgainstNulls, kAgainstNulls, partnerAgainstNulls } from "./selection_nulls.ts";
export type { GiniNull, GiniTest, KTest, PartnerTest } from "./selection_nulls.ts";
export { cellsOf, columnOf, measureStimuli, vectorCellsOf } from "./measure.ts";
export type { MeasuredAt, MeasureOptions, StimulusCodes, StimulusReader } from "./measure.ts";
export { type NfmRowDefect, type NfmRows, nfmRows, type NfmRowsOptions } from "./nfm_rows.ts";
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
