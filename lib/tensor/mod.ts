/**
 * Tensors, and the only folder that knows which backend computes them.
 *
 * @module
 */
export * as tf from "@tensorflow/tfjs-core";
export * from "./device.ts";
