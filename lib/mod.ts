/**
 * Interlens: activations, dictionaries and feature interactions of LLaMA-family models.
 *
 * This file is the public surface and nothing else; a notebook imports `"interlens"`.
 *
 * @module
 */
export * from "./display/mod.ts";
export * from "./files/mod.ts";
export * from "./storage/mod.ts";
export * from "./hub/mod.ts";
export * from "./weights/mod.ts";
export * from "./tokenizer/mod.ts";
export * from "./tensor/mod.ts";
export * from "./metrics/mod.ts";
export * from "./training/mod.ts";
export * from "./model/mod.ts";
export * from "./corpus/mod.ts";
export * from "./activations/mod.ts";
export * from "./dictionary/mod.ts";
export * from "./interaction/mod.ts";
export * from "./evaluation/mod.ts";
export * from "./analysis/mod.ts";
export * from "./study/mod.ts";
export * from "./cluster/mod.ts";
export * from "./site/mod.ts";
