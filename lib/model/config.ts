/**
 * What a LLaMA-family model is made of, in numbers.
 *
 * @module
 */

/** How rotary frequencies differ from θ^(-2i/d), for contexts longer than those of training. */
export type RopeScaling =
  /** Every position counts as position / factor (Chen et al., 2023). */
  | { readonly type: "linear"; readonly factor: number }
  /**
   * The base grows with the length of the run once that exceeds `originalContext`
   * ("dynamic NTK"): θ · (factor · length / originalContext - factor + 1)^(d / (d - 2)).
   */
  | { readonly type: "dynamic"; readonly factor: number; readonly originalContext: number }
  /** Low frequencies are divided by `factor`, high ones kept, a ramp between (Llama 3.1). */
  | {
    readonly type: "llama3";
    readonly factor: number;
    readonly lowFreqFactor: number;
    readonly highFreqFactor: number;
    readonly originalContext: number;
  }
  /** Frequency i is divided by `factors[i]`, `d_head / 2` of them: what GGUF files hold. */
  | { readonly type: "factors"; readonly factors: readonly number[] };

/** Sizes and constants of a LLaMA-family model. */
export interface ModelConfig {
  /** What the model calls itself. */
  readonly name: string;
  /** Names the weights: equal hashes mean equal activations. Hexadecimal. */
  readonly hash: string;
  /** Width of the residual stream. */
  readonly dModel: number;
  /** Number of blocks. */
  readonly nLayers: number;
  /** Query heads of a block. */
  readonly nHeads: number;
  /** Key and value heads of a block; each serves `nHeads / nKvHeads` query heads. */
  readonly nKvHeads: number;
  /** Width of a head. */
  readonly dHead: number;
  /** Width of the hidden layer of an MLP. */
  readonly dMlp: number;
  /** Number of token ids. */
  readonly vocabSize: number;
  /** Longest sequence, in tokens. */
  readonly contextLength: number;
  /** Base of the rotary frequencies. */
  readonly ropeTheta: number;
  /** Departure from the plain frequencies; default none. */
  readonly ropeScaling?: RopeScaling;
  /** Keys that a query sees, its own included; default all before it (Mistral's window). */
  readonly slidingWindow?: number;
  /** Added to the mean square before its root is taken. */
  readonly rmsEps: number;
  /** True if the embedding is also the unembedding. */
  readonly tied: boolean;
  /** Token that begins a sequence. */
  readonly bosId: number;
  /** Token that ends one. */
  readonly eosId: number;
}

const COUNTS = [
  "dModel",
  "nLayers",
  "nHeads",
  "nKvHeads",
  "dHead",
  "dMlp",
  "vocabSize",
  "contextLength",
] as const;

/**
 * Refuses a configuration that no LLaMA-family model can have.
 *
 * @throws {RangeError} Naming the field.
 */
export function checkConfig(cfg: ModelConfig): void {
  for (const field of COUNTS) {
    const value = cfg[field];
    if (!Number.isSafeInteger(value) || value < 1) {
      throw refusal(cfg, `${field} = ${value}: expected a positive integer`);
    }
  }
  for (const field of ["ropeTheta", "rmsEps"] as const) {
    if (!(cfg[field] > 0 && cfg[field] < Infinity)) {
      throw refusal(cfg, `${field} = ${cfg[field]}: expected a positive number`);
    }
  }
  if (cfg.nHeads % cfg.nKvHeads !== 0) {
    throw refusal(
      cfg,
      `nHeads = ${cfg.nHeads} and nKvHeads = ${cfg.nKvHeads}: expected the first to be a ` +
        `multiple of the second`,
    );
  }
  if (cfg.dHead % 2 !== 0) {
    throw refusal(cfg, `dHead = ${cfg.dHead}: expected an even number, RoPE rotates pairs`);
  }
  if (cfg.slidingWindow !== undefined && !(cfg.slidingWindow >= 1)) {
    throw refusal(cfg, `slidingWindow = ${cfg.slidingWindow}: expected a positive integer`);
  }
  checkScaling(cfg);
  for (const field of ["bosId", "eosId"] as const) {
    if (!Number.isInteger(cfg[field]) || cfg[field] < 0 || cfg[field] >= cfg.vocabSize) {
      throw refusal(cfg, `${field} = ${cfg[field]}: expected an id below ${cfg.vocabSize}`);
    }
  }
}

function checkScaling(cfg: ModelConfig): void {
  if (!cfg.ropeScaling) return;
  const { type, ...numbers } = cfg.ropeScaling;
  for (const [field, value] of Object.entries(numbers)) {
    for (const number of [value].flat()) {
      if (!(number > 0 && number < Infinity)) {
        throw refusal(cfg, `ropeScaling.${field} = ${number}: expected a positive number`);
      }
    }
  }
  if (type === "factors" && cfg.ropeScaling.factors.length !== cfg.dHead / 2) {
    throw refusal(
      cfg,
      `${cfg.ropeScaling.factors.length} ropeScaling.factors: expected ${cfg.dHead / 2}, half ` +
        `the width of a head`,
    );
  }
  if (type === "llama3" && !(cfg.ropeScaling.highFreqFactor > cfg.ropeScaling.lowFreqFactor)) {
    throw refusal(
      cfg,
      `ropeScaling.highFreqFactor = ${cfg.ropeScaling.highFreqFactor}: expected more than ` +
        `lowFreqFactor = ${cfg.ropeScaling.lowFreqFactor}`,
    );
  }
}

function refusal(cfg: ModelConfig, why: string): RangeError {
  return new RangeError(`Cannot make the model "${cfg.name}" with ${why}`);
}
