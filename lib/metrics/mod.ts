/**
 * Running metrics over batches and plain statistics: numbers in, numbers out.
 *
 * @module
 */
export { bootstrapRatio, clusterBootstrap, pairedBootstrap } from "./bootstrap.ts";
export type { BootstrapOptions, DocumentErrors, Interval } from "./bootstrap.ts";
export { type Codes, DensityMeter } from "./density.ts";
export { errorPercent } from "./error_percent.ts";
export { FvuMeter } from "./fvu.ts";
export { normalCdf, normalQuantile } from "./normal.ts";
export { ReconstructionMeter } from "./reconstruction.ts";
export type { PerDocument, ReconstructionSummary } from "./reconstruction.ts";
