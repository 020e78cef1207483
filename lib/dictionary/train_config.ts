/**
 * What decides a trained dictionary.
 *
 * @module
 */
import { loopChoices, type LoopConfig, requireSchedule } from "../training/mod.ts";
import { targetOf } from "./pair_reader.ts";
import type { ActivationReader } from "./reader.ts";
import { requireSaeConfig, type SaeConfig } from "./sae.ts";

/** How a dictionary can be trained; the last two give a `jumprelu` dictionary. */
export type TrainedArchitecture =
  | "standard"
  | "topk"
  | "jumprelu"
  | "gated"
  | "batchtopk"
  | "matryoshka";

/** Configuration of a dictionary's training; every field enters its hash. */
export interface SaeTrainingConfig extends LoopConfig {
  /**
   * `"standard"`: ReLU with an L1 penalty. `"topk"`: the k largest of each token. `"batchtopk"`: k a
   * token in the mean, chosen over the batch. `"matryoshka"`: the same, with prefixes that
   * reconstruct by themselves. `"jumprelu"`: learnt thresholds with an L0 penalty. `"gated"`: a
   * gate that is penalised and a magnitude that is not.
   *
   * On a `PairReader` a transcoder is trained, in any way but `"topk"` and `"gated"`.
   */
  architecture: TrainedArchitecture;
  /** Number of features. */
  dSae: number;
  /** Active features a token: of each for `topk`, in the mean for `batchtopk` and `matryoshka`. */
  k?: number;
  /**
   * Numbers of features of the prefixes, ascending, `matryoshka` only. Default: a 16th, an 8th, a
   * quarter, half and all of dSae.
   */
  widths?: readonly number[];
  /** Whether a transcoder has a skip connection. Default false. */
  skip?: boolean;
  /**
   * λ of the L1 penalty, `standard` and `gated`: squared errors are summed over elements, and inputs
   * have a norm of about √dIn, so 1 to 10 is the usual range. Default 5. The study's 1 is dIn / dSae
   * here; with `faithful` it is 1, the default then.
   */
  l1Coefficient?: number;
  /** Steps over which λ rises from 0, `standard` and `gated`. Default: 5 % of the steps. */
  l1WarmupSteps?: number;
  /** λ of the L0 penalty, `jumprelu` only: squared error that an active feature must save. Default 0.5. */
  l0Coefficient?: number;
  /** Steps over which it rises from 0, `jumprelu` only. Default: 20 % of the steps. */
  l0WarmupSteps?: number;
  /** Threshold of all features at the start, `jumprelu` only. Default 0.1. */
  initialThreshold?: number;
  /** Width of the kernel that estimates gradients of thresholds, `jumprelu` only. Default 0.5. */
  bandwidth?: number;
  /** c of the loss that revives dead features, `jumprelu` only. Default 1e-3; 0 switches it off. */
  preActCoefficient?: number;
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
  /** Dead features a token in the auxiliary loss, TopK and its kin. Default: dIn / 2. */
  auxK?: number;
  /** Weight of the auxiliary loss, TopK and its kin. Default 1/32; 0 switches it off. */
  auxCoefficient?: number;
  /**
   * Tokens without firing after which a feature counts as dead, where dead features are revived.
   * Default: a tenth of the training tokens, at most 10 million.
   */
  deadAfterTokens?: number;
  /**
   * What of the study's training is repeated; `true` is its recipe in float32. Default: nothing.
   *
   * - `true`, `standard` only: means over elements and features in the loss (λ = 1), decoder without a
   *   bias, elements of N(0, 1e-4²) at the start, the encoder its transpose, batches of 2048, Adam's
   *   ε = 1e-5, a learning rate of 1e-5, λ rising over the first twentieth of the steps, and B15. Values
   *   that are given take the place of these. Its clipping and scaling of activations are the
   *   store's: `normalizer: { clipSigma: 6, scale: true }`. Not reproduced: the clamp of the loss at
   *   10⁶, which no trained batch reaches.
   * - `"B9"`: the recipe, B15 and B17 together, as its secondary dictionary was trained.
   * - `"B15"`: the learning rate falls to 0 over the first fifth of the steps; the other four fifths
   *   would change nothing and are not run.
   * - `"B17"`: parameters, gradients and Adam's moments are numbers of float16.
   */
  faithful?: boolean | readonly SaeDefect[];
}

/** Defects of the study's training that can be repeated; see `SaeTrainingConfig.faithful`. */
export type SaeDefect = "B9" | "B15" | "B17";

type Common =
  | "architecture"
  | "dSae"
  | "steps"
  | "batchSize"
  | "learningRate"
  | "warmupSteps"
  | "decaySteps"
  | "seed";

/** The configuration with every default filled in, in the architecture's own fields. */
export type ResolvedSaeConfig =
  & Required<Pick<SaeTrainingConfig, Common>>
  & Omit<SaeTrainingConfig, Common>;

/** Share of the steps in which the study's learning rate is not 0. */
const STUDY_SHARE = 0.2;

/**
 * Fills in defaults and refuses what cannot be trained.
 *
 * @throws {RangeError} Naming the impossible value.
 */
export function resolveSaeConfig(
  given: SaeTrainingConfig,
  store: ActivationReader,
): ResolvedSaeConfig {
  const { recipe, firstFifth } = defectsOf(given);
  const config = recipe ? asStudy(given) : firstFifth ? ended(given) : given;
  const { architecture, dSae, steps, batchSize = 1024, learningRate = 1e-3, seed = 0 } = config;
  const target = targetOf(store);
  if (config.skip && !target) {
    throw new RangeError(
      `Cannot train a skip connection, which would copy its input: give a pairReader`,
    );
  }
  requireSaeConfig(saeShape(config, store));
  const warmupSteps = config.warmupSteps ?? Math.floor(0.05 * steps);
  const decaySteps = config.decaySteps ?? Math.floor(0.2 * steps);
  requireSchedule({ learningRate, steps, warmupSteps, decaySteps });
  requireBatchSize(batchSize, store);
  return {
    architecture,
    dSae,
    steps,
    batchSize,
    learningRate,
    warmupSteps,
    decaySteps,
    seed,
    ...config.skip && { skip: true },
    ...config.faithful && { faithful: config.faithful },
    ...loopChoices(config),
    ...ownFields(config, store),
  };
}

/** The fields that only some architectures have. */
function ownFields(
  config: SaeTrainingConfig,
  { dModel }: ActivationReader,
): Partial<SaeTrainingConfig> {
  const { architecture, steps, dSae, k, batchSize = 1024 } = config;
  const { deadAfterTokens = Math.min(10_000_000, Math.ceil(0.1 * steps * batchSize)) } = config;
  if (architecture === "standard" || architecture === "gated") {
    const { l1Coefficient = 5, l1WarmupSteps = Math.floor(0.05 * steps), decoderStd } = config;
    requireAtLeast(0, { l1Coefficient, l1WarmupSteps });
    if (architecture === "gated") return { l1Coefficient, l1WarmupSteps };
    if (decoderStd !== undefined) requireAtLeast(0, { decoderStd });
    return {
      l1Coefficient,
      l1WarmupSteps,
      ...decoderStd !== undefined && { decoderStd },
    };
  }
  if (architecture === "jumprelu") {
    const { l0Coefficient = 0.5, l0WarmupSteps = Math.floor(0.2 * steps) } = config;
    const { initialThreshold = 0.1, bandwidth = 0.5, preActCoefficient = 1e-3 } = config;
    requireAtLeast(0, { l0Coefficient, l0WarmupSteps, initialThreshold, preActCoefficient });
    requireAtLeast(1e-6, { bandwidth });
    requireAtLeast(1, { deadAfterTokens });
    return {
      ...{ l0Coefficient, l0WarmupSteps, initialThreshold, bandwidth },
      ...{ preActCoefficient, deadAfterTokens },
    };
  }
  const { auxK = Math.max(1, Math.floor(dModel / 2)), auxCoefficient = 1 / 32 } = config;
  requireAtLeast(0, { auxCoefficient });
  requireAtLeast(1, { auxK, deadAfterTokens });
  const own = { k, auxK, auxCoefficient, deadAfterTokens };
  if (architecture === "topk") return own;
  if (!(k! > 0 && k! <= dSae)) {
    throw new RangeError(`Cannot keep k = ${k} active features of ${dSae}: k must be in 0…${dSae}`);
  }
  return architecture === "batchtopk" ? own : { ...own, widths: prefixes(config) };
}

/** What `faithful` switches on. */
export function defectsOf(
  { faithful = false }: Pick<SaeTrainingConfig, "faithful">,
): { recipe: boolean; firstFifth: boolean; float16: boolean } {
  const list: readonly string[] = typeof faithful === "boolean" ? [] : faithful;
  const unknown = list.find((id) => !["B9", "B15", "B17"].includes(id));
  if (unknown !== undefined) {
    throw new RangeError(
      `Cannot repeat the defect "${unknown}" in a training: expected "B9", "B15" or "B17"`,
    );
  }
  const recipe = faithful === true || list.includes("B9");
  return {
    recipe,
    firstFifth: recipe || list.includes("B15"),
    float16: list.includes("B9") || list.includes("B17"),
  };
}

/** The steps of the study's schedule whose learning rate is not 0. */
export function liveSteps(steps: number): number {
  return Math.max(1, Math.floor(STUDY_SHARE * steps));
}

/** B15. */
function ended(config: SaeTrainingConfig): SaeTrainingConfig {
  const steps = liveSteps(config.steps);
  return { ...config, warmupSteps: 0, decaySteps: steps, steps };
}

/** The study's values where none are given. */
function asStudy(config: SaeTrainingConfig): SaeTrainingConfig {
  if (config.architecture !== "standard") {
    throw new RangeError(
      `Cannot train a ${config.architecture} dictionary with faithful: the study has "standard" only`,
    );
  }
  const live = liveSteps(config.steps);
  return {
    l1Coefficient: 1,
    l1WarmupSteps: Math.floor(0.05 * config.steps),
    decoderStd: 1e-4,
    batchSize: 2048,
    learningRate: 1e-5,
    warmupSteps: 0,
    decaySteps: live,
    ...config,
    steps: live,
  };
}

function prefixes({ dSae, widths }: SaeTrainingConfig): number[] {
  const chosen = widths ?? [16, 8, 4, 2, 1].map((share) => Math.ceil(dSae / share));
  const distinct = widths ? [...widths] : [...new Set(chosen)];
  const ascending = distinct.every((width, m) =>
    Number.isInteger(width) && width > (distinct[m - 1] ?? 0)
  );
  if (!ascending || distinct.at(-1) !== dSae) {
    throw new RangeError(
      `Cannot nest prefixes of ${
        distinct.join(", ")
      } features: expected ascending integers up to ` +
        `dSae = ${dSae}`,
    );
  }
  return distinct;
}

/** The dictionary that a configuration gives. */
export function saeShape(config: SaeTrainingConfig, store: ActivationReader): SaeConfig {
  const { architecture, dSae, k, skip } = config;
  const target = targetOf(store);
  return {
    architecture: architecture === "batchtopk" || architecture === "matryoshka"
      ? "jumprelu"
      : architecture,
    dIn: store.dModel,
    dSae,
    ...architecture === "topk" && { k },
    ...target && { dOut: target.dModel },
    ...skip && { skip },
  };
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
