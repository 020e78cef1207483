/**
 * What decides a trained dictionary.
 *
 * @module
 */
import { requireSchedule } from "../training/mod.ts";
import type { ActivationReader } from "./reader.ts";
import { type Architecture, requireSaeConfig, type SaeConfig } from "./sae.ts";

/** Configuration of a dictionary's training; every field enters its hash. */
export interface SaeTrainingConfig {
  /** `"standard"`: ReLU with an L1 penalty. `"topk"`: the k largest of each token. */
  architecture: Architecture;
  /** Number of features. */
  dSae: number;
  /** Active features a token; `topk` only. */
  k?: number;
  /**
   * λ of the L1 penalty, `standard` only: squared errors are summed over elements, and inputs have a
   * norm of about √dIn, so 1 to 10 is the usual range. Default 5. The study's 1 is dIn / dSae here.
   */
  l1Coefficient?: number;
  /** Steps over which λ rises from 0, `standard` only. Default: 5 % of the steps. */
  l1WarmupSteps?: number;
  /** Number of updates. */
  steps: number;
  /** Tokens a step. Default 1024. */
  batchSize?: number;
  /** Default 1e-3. */
  learningRate?: number;
  /** Steps over which the learning rate rises. Default: 5 % of the steps. */
  warmupSteps?: number;
  /** Steps over which it falls to 0 at the end. Default: 20 % of the steps. */
  decaySteps?: number;
  /** Names the initial weights and the order of the data. Default 0. */
  seed?: number;
  /**
   * Standard deviation of the decoder's initial elements, `standard` only; the encoder is its
   * transpose and biases are 0. The study's is 1e-4. Default: directions of norm 1, scaled to the data.
   */
  decoderStd?: number;
  /** Dead features a token in the auxiliary loss, `topk` only. Default: dIn / 2. */
  auxK?: number;
  /** Weight of the auxiliary loss, `topk` only. Default 1/32; 0 switches it off. */
  auxCoefficient?: number;
  /**
   * Tokens without firing after which a feature counts as dead, `topk` only. Default: a tenth of
   * the training tokens, at most 10 million.
   */
  deadAfterTokens?: number;
}

/** The configuration with every default filled in, in the architecture's own fields. */
export type ResolvedSaeConfig =
  & Required<
    Pick<
      SaeTrainingConfig,
      | "architecture"
      | "dSae"
      | "steps"
      | "batchSize"
      | "learningRate"
      | "warmupSteps"
      | "decaySteps"
      | "seed"
    >
  >
  & Pick<
    SaeTrainingConfig,
    | "k"
    | "l1Coefficient"
    | "l1WarmupSteps"
    | "decoderStd"
    | "auxK"
    | "auxCoefficient"
    | "deadAfterTokens"
  >;

/**
 * Fills in defaults and refuses what cannot be trained.
 *
 * @throws {RangeError} Naming the impossible value.
 */
export function resolveSaeConfig(
  config: SaeTrainingConfig,
  store: ActivationReader,
): ResolvedSaeConfig {
  const { architecture, dSae, k, steps, batchSize = 1024, learningRate = 1e-3, seed = 0 } = config;
  const shape = saeShape(config, store.dModel);
  requireSaeConfig(shape);
  const warmupSteps = config.warmupSteps ?? Math.floor(0.05 * steps);
  const decaySteps = config.decaySteps ?? Math.floor(0.2 * steps);
  requireSchedule({ learningRate, steps, warmupSteps, decaySteps });
  requireBatchSize(batchSize, store);
  const common = {
    architecture,
    dSae,
    steps,
    batchSize,
    learningRate,
    warmupSteps,
    decaySteps,
    seed,
  };
  if (architecture === "standard") {
    const { l1Coefficient = 5, l1WarmupSteps = Math.floor(0.05 * steps) } = config;
    requireAtLeast(0, { l1Coefficient, l1WarmupSteps });
    const { decoderStd } = config;
    if (decoderStd === undefined) return { ...common, l1Coefficient, l1WarmupSteps };
    requireAtLeast(0, { decoderStd });
    return { ...common, l1Coefficient, l1WarmupSteps, decoderStd };
  }
  const {
    auxK = Math.max(1, Math.floor(store.dModel / 2)),
    auxCoefficient = 1 / 32,
    deadAfterTokens = Math.min(10_000_000, Math.ceil(0.1 * steps * batchSize)),
  } = config;
  requireAtLeast(0, { auxCoefficient });
  requireAtLeast(1, { auxK, deadAfterTokens });
  return { ...common, k, auxK, auxCoefficient, deadAfterTokens };
}

/** The dictionary that a configuration describes. */
export function saeShape(config: SaeTrainingConfig, dIn: number): SaeConfig {
  const { architecture, dSae, k } = config;
  return architecture === "topk" ? { architecture, dIn, dSae, k } : { architecture, dIn, dSae };
}

/**
 * @throws {RangeError} If a batch cannot be drawn from the training split.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { memoryStore, requireBatchSize } from "interlens";
 *
 * const split = { rows: Float32Array.of(1, 2), document: Int32Array.of(0, 0) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * assertThrows(() => requireBatchSize(3, store), RangeError, "the training split has 2");
 * ```
 */
export function requireBatchSize(batchSize: number, store: ActivationReader): void {
  const { tokens } = store.split("train");
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > tokens) {
    throw new RangeError(
      `Cannot train with batches of ${batchSize} tokens: the training split has ${tokens}, give ` +
        `an integer in 1…${tokens}`,
    );
  }
}

/**
 * @throws {RangeError} If one of the numbers is below `least`, naming it.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireAtLeast } from "interlens";
 *
 * assertThrows(() => requireAtLeast(0, { ridge: -1 }), RangeError, "ridge = -1");
 * ```
 */
export function requireAtLeast(least: number, values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!(value >= least && Number.isFinite(value))) {
      throw new RangeError(`Cannot train with ${name} = ${value}: expected at least ${least}`);
    }
  }
}
