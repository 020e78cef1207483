/**
 * What features and their interactions mean: stimuli measured, features selected and discovered
 * against their nulls, examples, labels, attribution to pairs.
 *
 * @module
 */
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
