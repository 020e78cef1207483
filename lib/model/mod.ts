/**
 * Language models with named hook points.
 *
 * @module
 */
export { ActivationCache, type NameFilter } from "./cache.ts";
export type { ModelConfig } from "./config.ts";
export type { GenerateOptions } from "./generate.ts";
export type { HookFn, Hooks } from "./hooks.ts";
export { loadModel, type LoadModelOptions } from "./load.ts";
export { Model, type RunWithCacheOptions, type RunWithHooksOptions, type Tokens } from "./model.ts";
export { randomModel } from "./random.ts";
