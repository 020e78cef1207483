/**
 * Tensors, and the only folder that knows which backend computes them.
 *
 * @module
 */
export * as tf from "@tensorflow/tfjs-core";
export * from "./adam.ts";
export * from "./device.ts";
export * from "./float16.ts";
export * from "./gradients.ts";
export * from "./rng.ts";
export * from "./sparse.ts";
