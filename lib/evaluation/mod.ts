/**
 * Models of the same activations, compared on held-out documents.
 *
 * @module
 */
export { evaluate } from "./evaluate.ts";
export type { EvaluateOptions, Evaluation, EvaluationInput, Reconstruct } from "./evaluate.ts";
export { meanResidual } from "./mean_residual.ts";
