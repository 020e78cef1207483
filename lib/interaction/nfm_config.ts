/**
 * What decides a Neural Factorization Machine, and how many numbers it has.
 *
 * @module
 */
import { type ActivationReader, requireAtLeast, requireBatchSize } from "../dictionary/mod.ts";
import { liveSteps } from "../dictionary/train_config.ts";
import { loopChoices, type LoopConfig, requireSchedule } from "../training/mod.ts";
import { fasterPath } from "./nfm_terms.ts";

/** Which terms a model has: linear ones, pairs, or both. */
export type NfmParts = "linear" | "interaction" | "both";

/** The shape of a model. */
export interface NfmShape {
  /** Its terms. */
  readonly parts: NfmParts;
  /** Number of features of the codes. */
  readonly dSae: number;
  /** Width of what is predicted. */
  readonly dOut: number;
  /** Width of the embeddings; 0 if there are no pairs. */
  readonly K: number;
  /** `"linear"`: p C. `"relu"`: the study's ReLU(p W1 + b1) W2, with W1 `[K, K]`. */
  readonly head: "linear" | "relu";
  /** Active features of a token that are used, the largest. */
  readonly topN: number;
}

/** Configuration of a training; every field enters its hash. */
export interface NfmConfig extends LoopConfig {
  /**
   * What products are taken of: `"codes"` of the dictionary, or the `"activations"` themselves, all of
   * their elements. The target is the dictionary's residual in both cases. Default `"codes"`.
   */
  input?: "codes" | "activations";
  /** Terms of the model. Default `"both"`. */
  parts?: NfmParts;
  /** Width of the embeddings. Twice the number of pairs that matter is enough. Default 128. */
  K?: number;
  /** What turns K pooled products into an activation. Default `"linear"`. */
  head?: "linear" | "relu";
  /** Largest active features of a token that are used. Default: k for TopK, 256 for ReLU. */
  topN?: number;
  /** Share of the pooled products that is dropped in training, 0 to 1. Default 0. */
  dropout?: number;
  /** Number of updates. */
  steps: number;
  /** Tokens a step. Default 1024. */
  batchSize?: number;
  /** Default 3e-3. */
  learningRate?: number;
  /** Steps over which the learning rate rises. Default: 5 % of the steps. */
  warmupSteps?: number;
  /** Steps over which it falls to 0 at the end. Default: half of the steps. */
  decaySteps?: number;
  /** Names the initial weights, the order of the data and the dropped products. Default 0. */
  seed?: number;
  /** ε of Adam. Default 1e-8, and 1e-5 with B17. */
  epsilon?: number;
  /**
   * `"rows"`: a step reads and writes the rows of W and V that its tokens use, so its cost does not
   * grow with the number of features; a row that is not used rests, where Adam would move it on by its
   * momentum. On graphics processors the order of its sums, and so the last bit, varies from run
   * to run. `"all"`: Adam to the letter, over all rows at every step. Default: `"rows"` above 40
   * features for each active one, where a batch would use less than half of the features if each were
   * as frequent: with more of them in use, one pass over all is faster.
   */
  updates?: "rows" | "all";
  /** Standard deviation of initial linear weights. Default 0: start from no effect. */
  linearStd?: number;
  /** Standard deviation of initial embeddings. Default 0.05; near 0 is a saddle that holds. */
  embeddingStd?: number;
  /** Standard deviation of initial head weights. Default 1 / √K. */
  headStd?: number;
  /**
   * A control: `"s3"` trains on the residuals of other tokens with as many active features, or nearly,
   * from which nothing about a token can be learnt. Metrics are those of the true residual. Default: none.
   */
  shuffle?: "s3";
  /**
   * Defects of the study's training that are repeated. `"B15"`: the learning rate falls to 0 over the
   * first fifth of the steps, and the others are not run. `"B17"`: parameters, gradients and Adam's
   * moments are numbers of float16. Default: none.
   */
  faithful?: readonly NfmDefect[];
}

/** Defects of the study's training of a machine that can be repeated. */
export type NfmDefect = "B15" | "B17";

/** A configuration with every default filled in. */
export type ResolvedNfmConfig =
  & Required<Omit<NfmConfig, keyof LoopConfig | "faithful" | "shuffle">>
  & Pick<NfmConfig, keyof LoopConfig | "faithful" | "shuffle">;

/**
 * Fills in defaults and refuses what cannot be trained.
 *
 * @throws {RangeError} Naming the impossible value.
 */
export function resolveNfmConfig(
  given: NfmConfig,
  store: ActivationReader,
  codes: { dSae: number; dOut: number; k?: number },
): ResolvedNfmConfig {
  const config = withDefects(given);
  if (config.shuffle !== undefined && config.shuffle !== "s3") {
    throw new RangeError(`Cannot train with the shuffle "${config.shuffle}": expected "s3"`);
  }
  const { parts = "both", head = "linear", dropout = 0, seed = 0, steps } = config;
  const { batchSize = 1024, learningRate = 3e-3, linearStd = 0, embeddingStd = 0.05 } = config;
  const K = parts === "linear" ? 0 : config.K ?? 128;
  const { input = "codes" } = config;
  const { epsilon = config.faithful?.includes("B17") ? 1e-5 : 1e-8 } = config;
  if (input !== "codes" && input !== "activations") {
    throw new RangeError(`Cannot train on "${input}": expected "codes" or "activations"`);
  }
  const { dSae, dOut, k } = codes;
  const topN = config.topN ?? (input === "activations" ? dSae : k ?? Math.min(256, dSae));
  requireNfmShape({ parts, head, K, topN, dSae, dOut });
  if (k !== undefined && topN > k) {
    throw new RangeError(
      `Cannot use topN = ${topN} active features: the dictionary has k = ${k} a token`,
    );
  }
  if (input === "activations" && topN !== dSae) {
    throw new RangeError(
      `Cannot use topN = ${topN} of ${dSae} elements: activations are used whole, leave it out`,
    );
  }
  if (!(dropout >= 0 && dropout < 1)) {
    throw new RangeError(`Cannot drop a share of ${dropout}: expected 0 or more, below 1`);
  }
  const inUse = 1 - (1 - topN / dSae) ** batchSize;
  const updates = config.updates ??
    (fasterPath(topN, dSae) === "sparse" && inUse < 0.5 ? "rows" : "all");
  if (updates !== "rows" && updates !== "all") {
    throw new RangeError(`Cannot train with updates "${updates}": expected "rows" or "all"`);
  }
  const warmupSteps = config.warmupSteps ?? Math.floor(0.05 * steps);
  const decaySteps = config.decaySteps ?? Math.floor(0.5 * steps);
  requireSchedule({ learningRate, steps, warmupSteps, decaySteps });
  requireBatchSize(batchSize, store);
  const headStd = config.headStd ?? (K > 0 ? 1 / Math.sqrt(K) : 0);
  requireAtLeast(0, { linearStd, embeddingStd, headStd, epsilon });
  return {
    ...loopChoices(config),
    ...config.faithful?.length && { faithful: config.faithful },
    ...config.shuffle && { shuffle: config.shuffle },
    input,
    parts,
    K,
    head,
    topN,
    dropout,
    steps,
    batchSize,
    learningRate,
    warmupSteps,
    decaySteps,
    seed,
    updates,
    epsilon,
    linearStd,
    embeddingStd,
    headStd,
  };
}

/** The study's values where a defect of its training is repeated. */
function withDefects(config: NfmConfig): NfmConfig {
  const { faithful = [] } = config;
  const unknown = faithful.find((id) => !["B15", "B17"].includes(id));
  if (unknown !== undefined) {
    throw new RangeError(
      `Cannot repeat the defect "${unknown}" in a training: expected "B15" or "B17"`,
    );
  }
  const steps = liveSteps(config.steps);
  return {
    ...config,
    ...faithful.includes("B15") && { steps, warmupSteps: 0, decaySteps: steps },
    // Rows are not updated in float16.
    ...faithful.includes("B17") && { updates: "all" },
  };
}

/** @throws {RangeError} If a model of this shape cannot exist, naming the value. */
export function requireNfmShape({ parts, head, K, topN, dSae, dOut }: NfmShape): void {
  if (!["linear", "interaction", "both"].includes(parts)) {
    throw new RangeError(
      `Cannot make a model of parts "${parts}": expected "linear", "interaction" or "both"`,
    );
  }
  if (head !== "linear" && head !== "relu") {
    throw new RangeError(`Cannot make a model with head "${head}": expected "linear" or "relu"`);
  }
  for (const [name, size] of Object.entries({ dSae, dOut, ...parts !== "linear" && { K } })) {
    if (!Number.isInteger(size) || size < 1) {
      throw new RangeError(
        `Cannot make a model with ${name} = ${size}: expected an integer of at least 1`,
      );
    }
  }
  if (!Number.isInteger(topN) || topN < 1 || topN > dSae) {
    throw new RangeError(
      `Cannot use topN = ${topN} active features of ${dSae}: expected an integer in 1…${dSae}`,
    );
  }
}

/** Numbers that a model has to learn, by part. */
export interface ParameterCount {
  /** Linear weights, `dSae · dOut`. */
  linear: number;
  /** Embeddings, `dSae · K`. */
  embeddings: number;
  /** Head: `K · dOut`, and for `"relu"` its first layer `K² + K` too. */
  head: number;
  /** Output bias. */
  bias: number;
  /** Sum. */
  total: number;
}

/**
 * Counts parameters. The study's "692 M at K = 10,000" leaves out the K² of the head's first layer.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parameterCount } from "interlens";
 *
 * const study = { parts: "both", head: "relu", dSae: 50_000, dOut: 3200 } as const;
 * assertEquals(parameterCount({ ...study, K: 150 }).total, 168_005_850);
 * assertEquals(parameterCount({ ...study, K: 10_000 }).head, 100_000_000 + 10_000 + 32_000_000);
 * ```
 */
export function parameterCount(
  { parts, head, K, dSae, dOut }: Pick<NfmShape, "parts" | "head" | "K" | "dSae" | "dOut">,
): ParameterCount {
  const pairs = parts !== "linear";
  const linear = parts === "interaction" ? 0 : dSae * dOut;
  const embeddings = pairs ? dSae * K : 0;
  const headCount = pairs ? K * dOut + (head === "relu" ? K * K + K : 0) : 0;
  return {
    linear,
    embeddings,
    head: headCount,
    bias: dOut,
    total: linear + embeddings + headCount + dOut,
  };
}
