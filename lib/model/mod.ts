/**
 * Language models with named hook points.
 *
 * @module
 */
export type { Attachment, AttachmentRun } from "./attachment.ts";
export { ActivationCache, type NameFilter } from "./cache.ts";
export type { ModelConfig } from "./config.ts";
export type { GenerateOptions, SampleOptions, StreamOptions } from "./generate.ts";
export type { HookFn, Hooks } from "./hooks.ts";
export { loadModel, type LoadModelOptions } from "./load.ts";
export {
  type CachedRun,
  type CachedRunWithGradients,
  type LossInput,
  Model,
  type RunOptions,
  type RunWithCacheOptions,
  type Splice,
} from "./model.ts";
export type { Positions } from "./positions.ts";
export { randomModel } from "./random.ts";
export type { Pending, Steps } from "./steps.ts";
export type { Tokens } from "./tokens.ts";
