/**
 * Interlens: activations, dictionaries and feature interactions of LLaMA-family models.
 *
 * This file is the public surface and nothing else; a notebook imports `"interlens"`.
 *
 * @module
 */
export * from "./tensor/mod.ts";
