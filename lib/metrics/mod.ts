/**
 * Running metrics over batches and plain statistics: numbers in, numbers out.
 *
 * @module
 */
export { type Anova, type AnovaEffect, twoWayAnova } from "./anova.ts";
export { bootstrapRatio, clusterBootstrap, pairedBootstrap } from "./bootstrap.ts";
export type { BootstrapOptions, DocumentErrors, Interval } from "./bootstrap.ts";
export { compareFvu, type FvuComparison } from "./compare.ts";
export { DeadMeter } from "./dead.ts";
export { type Codes, DensityMeter } from "./density.ts";
export { type DensityHistogram, densityHistogram } from "./density_histogram.ts";
export type { DocumentTable } from "./document_sums.ts";
export { errorPercent } from "./error_percent.ts";
export { FeatureActivityMeter } from "./feature_activity.ts";
export { type FeatureGeometry, featureGeometry } from "./feature_geometry.ts";
export { benjaminiHochberg, fTail } from "./f_distribution.ts";
export { contrasts, factorialTest } from "./factorial.ts";
export type { CrossedCells, EffectTest, Equivalence, FactorialOptions } from "./factorial.ts";
export type { FactorialResult, InteractionKind } from "./factorial.ts";
export { freedmanLane, type FreedmanLaneOptions } from "./freedman_lane.ts";
export type { PermutationTest } from "./freedman_lane.ts";
export { FvuMeter } from "./fvu.ts";
export { effectiveRank, gini } from "./inequality.ts";
export { maxT, type MaxTEffect, type MaxTOptions } from "./max_t.ts";
export { type MinMax, minMaxDisplay, type MinMaxOptions } from "./min_max.ts";
export { normalCdf, normalQuantile } from "./normal.ts";
export { normalOrderStatistics, simulateNull } from "./order_statistics.ts";
export type { NormalOrderOptions, NullQuantiles, SimulatedNull } from "./order_statistics.ts";
export { ReconstructionMeter } from "./reconstruction.ts";
export type { PerDocument, ReconstructionSummary } from "./reconstruction.ts";
export { firstAtLeast, quantile, ranks } from "./sorted.ts";
export { ShrinkageMeter } from "./shrinkage.ts";
export type { Shrinkage, ShrinkagePerDocument } from "./shrinkage.ts";
export { type PermutationOptions, signFlip } from "./sign_flip.ts";
export { SparsityMeter } from "./sparsity.ts";
export type { SparsityPerDocument } from "./sparsity.ts";
export { cohenD, type TTest, tTest, type TTestOptions } from "./student.ts";
export { TokenwiseVarianceMeter } from "./tokenwise_variance.ts";
export {
  vectorContrast,
  type VectorContrastOptions,
  type VectorEffect,
} from "./vector_contrast.ts";
