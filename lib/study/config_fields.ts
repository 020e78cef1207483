/**
 * Fields that the parts of a configuration may have: what a notebook or a configuration file may set is
 * what a unit of work accepts.
 *
 * @module
 */
import type { HarvestOptions } from "../activations/mod.ts";
import type { SaeTrainingConfig } from "../dictionary/mod.ts";
import type { NfmConfig } from "../interaction/mod.ts";
import {
  type Check,
  flag,
  integer,
  listOf,
  nullOr,
  number,
  object,
  oneOf,
  text,
} from "./fields.ts";

const SEED = integer(0);
const COUNT = integer(1);
const TOKENS: Check = (value, path) => value === "all" || integer(0)(value, path, `, or "all"`);

/** Which activations, of how many tokens. */
export const HARVEST = object<Omit<HarvestOptions, "signal" | "dir" | "keepEvery">>({
  hook: text(/^[\w.]{1,200}$/, "the name of a hook point"),
  tokens: object({ train: TOKENS, validation: TOKENS, test: TOKENS }, {}),
}, {
  contextLength: integer(2),
  batchSize: COUNT,
  seed: SEED,
  maxNormRatio: nullOr(number()),
  normalizer: object({ clipSigma: nullOr(number()), scale: flag }, {}),
  dtype: oneOf("float32", "float16"),
  shardTokens: COUNT,
});

const LOOP = {
  clipNorm: number(),
  decay: oneOf("linear", "cosine"),
  evaluateEvery: COUNT,
  patience: COUNT,
};

const SAE_DEFECTS = listOf(oneOf("B9", "B15", "B17"));

/** A dictionary. */
export const SAE = object<SaeTrainingConfig>({
  architecture: oneOf("standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka"),
  dSae: COUNT,
  steps: COUNT,
}, {
  ...LOOP,
  ...{ k: number(), widths: listOf(COUNT), batchSize: COUNT, learningRate: number(), seed: SEED },
  ...{ l1Coefficient: number(), l1WarmupSteps: number(), l0Coefficient: number() },
  ...{ l0WarmupSteps: number(), initialThreshold: number(), bandwidth: number() },
  ...{ preActCoefficient: number(), warmupSteps: integer(0), decaySteps: integer(0) },
  ...{ decoderStd: number(), auxK: number(), auxCoefficient: number(), deadAfterTokens: number() },
  skip: flag,
  faithful: (value, path) => typeof value === "boolean" || SAE_DEFECTS(value, path),
});

/** A factorization machine. */
export const NFM = object<NfmConfig>({ steps: COUNT }, {
  ...LOOP,
  input: oneOf("codes", "activations"),
  parts: oneOf("linear", "interaction", "both"),
  head: oneOf("linear", "relu"),
  updates: oneOf("rows", "all"),
  shuffle: oneOf("s3"),
  faithful: listOf(oneOf("B15", "B17")),
  ...{ K: integer(0), topN: COUNT, dropout: number(), batchSize: COUNT, learningRate: number() },
  ...{ warmupSteps: integer(0), decaySteps: integer(0), seed: SEED, epsilon: number() },
  ...{ linearStd: number(), embeddingStd: number(), headStd: number() },
});
