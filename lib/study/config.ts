/**
 * One configuration for the whole series of notebooks.
 *
 * Every notebook starts from the same numbers, so that what one has trained the next one loads; a
 * notebook overrides what it wants to change, and only what depends on it is trained again.
 *
 * @module
 */
import type { HarvestOptions } from "../activations/mod.ts";
import type { SaeTrainingConfig } from "../dictionary/mod.ts";
import type { NfmConfig } from "../interaction/mod.ts";
import { HARVEST, NFM, SAE } from "./config_fields.ts";
import { profile, rehearsing } from "./profile.ts";

/** Every number that the notebooks use. */
export interface StudyConfig {
  /** A folder, a GGUF file or a repository of the hub; null is the embedded SmolLM2-135M. */
  model: string | null;
  /** `"brown"`, `"wikitext"`, or the path of a folder of texts, a `.jsonl` or a `.csv` file. */
  text: string;
  /** Names the split of the documents and, unless `seeds` say otherwise, the training. */
  seed: number;
  /** Seeds of training: initial weights and order of the data. The split stays. See `forSeed`. */
  seeds: number[];
  /** Which activations, of how many tokens. */
  harvest: Omit<HarvestOptions, "signal" | "dir">;
  /** The dictionary that the later notebooks stand on. */
  sae: SaeTrainingConfig;
  /** The study's architecture, ReLU with an L1 penalty, tuned for this model. */
  reluSae: SaeTrainingConfig;
  /** Secondary dictionary on the residual, tuned. */
  secondary: SaeTrainingConfig;
  /** Secondary dictionary as the study trained it. */
  studySecondary: SaeTrainingConfig;
  /** Neural factorization machine on the residual; notebooks vary `parts`. */
  nfm: NfmConfig;
}

/** A value of a configuration with its unit and its reason. */
export interface ConfigRow {
  readonly name: string;
  readonly value: string;
  readonly why: string;
}

/** What differs from the defaults, as deep as it goes. */
export type Overrides<T> = {
  [K in keyof T]?: T[K] extends readonly unknown[] ? T[K]
    : T[K] extends object ? Overrides<T[K]>
    : T[K];
};

/** Parts of the configuration that have fields of their own. */
type Section = "harvest" | "sae" | "reluSae" | "secondary" | "studySecondary" | "nfm";

const HOOK = "blocks.15.hook_resid_post";

function quick(seed: number): StudyConfig {
  return {
    model: Deno.env.get("INTERLENS_MODEL") || null,
    text: Deno.env.get("INTERLENS_TEXT") || "brown",
    seed,
    seeds: [seed],
    harvest: {
      hook: HOOK,
      contextLength: 128,
      tokens: { train: 40_000, validation: 5_000, test: 12_000 },
      batchSize: 16,
      seed,
      maxNormRatio: 5,
      normalizer: { clipSigma: null, scale: true },
    },
    sae: {
      architecture: "topk",
      dSae: 2048,
      k: 32,
      steps: 400,
      batchSize: 1024,
      learningRate: 1e-3,
      seed,
    },
    reluSae: {
      architecture: "standard",
      dSae: 2048,
      l1Coefficient: 2,
      steps: 300,
      batchSize: 1024,
      learningRate: 1e-3,
      seed,
    },
    secondary: {
      architecture: "topk",
      dSae: 1024,
      k: 32,
      steps: 300,
      batchSize: 1024,
      learningRate: 1e-3,
      seed,
    },
    studySecondary: {
      architecture: "standard",
      dSae: 1024,
      l1Coefficient: 1,
      decoderStd: 1e-4,
      steps: 100,
      batchSize: 1024,
      learningRate: 1e-5,
      seed,
    },
    nfm: {
      parts: "both",
      K: 64,
      head: "linear",
      steps: 100,
      batchSize: 1024,
      learningRate: 3e-3,
      seed,
    },
  };
}

function full(seed: number): StudyConfig {
  const base = quick(seed);
  return {
    ...base,
    seeds: [seed, seed + 1, seed + 2],
    harvest: {
      ...base.harvest,
      tokens: { train: 300_000, validation: 8_000, test: 40_000 },
    },
    sae: { ...base.sae, dSae: 4096, steps: 1000 },
    reluSae: { ...base.reluSae, dSae: 4096, steps: 400 },
    secondary: { ...base.secondary, dSae: 2048, steps: 600 },
    studySecondary: { ...base.studySecondary, dSae: 2048, steps: 200 },
    nfm: { ...base.nfm, K: 150, steps: 600 },
  };
}

function paper(seed: number): StudyConfig {
  const base = full(seed);
  const steps = 40_000;
  return {
    ...base,
    model: base.model ?? "openlm-research/open_llama_3b",
    text: Deno.env.get("INTERLENS_TEXT") || "wikitext",
    harvest: {
      ...base.harvest,
      tokens: { train: 5_000_000, validation: 100_000, test: 500_000 },
    },
    sae: { ...base.sae, dSae: 50_000, k: 64, steps, batchSize: 2048 },
    reluSae: { ...base.reluSae, dSae: 50_000, steps, batchSize: 2048 },
    secondary: { ...base.secondary, dSae: 50_000, steps, batchSize: 2048 },
    studySecondary: { ...base.studySecondary, dSae: 50_000, steps: 5000, batchSize: 2048 },
    nfm: { ...base.nfm, K: 150, steps: 20_000, batchSize: 1000 },
  };
}

/**
 * The configuration of the profile in force, with a notebook's own changes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig } from "interlens";
 *
 * const config = studyConfig({ sae: { k: 64 } });
 * assertEquals(config.sae.k, 64);
 * assertEquals(config.sae.architecture, "topk");
 * ```
 *
 * @param overrides What differs, as deep as it goes.
 * @throws {RangeError} If a section or field does not exist: a misspelt name would change nothing.
 */
export function studyConfig(overrides: Overrides<StudyConfig> = {}): StudyConfig {
  const make = { quick, full, paper }[profile()];
  const config = merge(make(overrides.seed ?? 0), overrides, "") as StudyConfig;
  return rehearsing() ? rehearsed(config) as StudyConfig : config;
}

/**
 * The configuration with another seed of training: initial weights and order of the data. The split
 * of the documents stays, so that what differs between seeds is training alone.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { forSeed, studyConfig } from "interlens";
 *
 * const other = forSeed(studyConfig(), 2);
 * assertEquals([other.seed, other.harvest.seed, other.sae.seed, other.nfm.seed], [0, 0, 2, 2]);
 * ```
 */
export function forSeed(config: StudyConfig, seed: number): StudyConfig {
  const { sae, reluSae, secondary, studySecondary, nfm } = config;
  return {
    ...config,
    sae: { ...sae, seed },
    reluSae: { ...reluSae, seed },
    secondary: { ...secondary, seed },
    studySecondary: { ...studySecondary, seed },
    nfm: { ...nfm, seed },
  };
}

/** Largest values of a rehearsal, by the name of the field. */
const REHEARSAL: Record<string, number> = {
  ...{ train: 3000, validation: 500, test: 1500, contextLength: 64 },
  ...{ dSae: 256, k: 8, K: 16, topN: 64, steps: 20, batchSize: 256 },
};

/**
 * The same configuration with every size cut: what runs is what the profile runs, in minutes and
 * without a meaning. For `INTERLENS_REHEARSAL`.
 */
function rehearsed(value: unknown, name = ""): unknown {
  if (Array.isArray(value)) return value.slice(0, 1);
  if (isRecord(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, rehearsed(v, key)]));
  }
  return typeof value === "number" && name in REHEARSAL ? Math.min(value, REHEARSAL[name]) : value;
}

/** Fields of the sections, those included that the defaults leave out. */
const FIELDS: Record<string, readonly string[]> = {
  harvest: HARVEST.fields,
  ...Object.fromEntries(
    ["sae", "reluSae", "secondary", "studySecondary"].map((name) => [name, SAE.fields]),
  ),
  nfm: NFM.fields,
};

function merge(base: unknown, change: unknown, path: string): unknown {
  if (!isRecord(base) || !isRecord(change)) return change;
  const merged: Record<string, unknown> = { ...base };
  for (const [name, value] of Object.entries(change)) {
    if (value === undefined) continue;
    const where = path === "" ? name : `${path}.${name}`;
    const known = FIELDS[path] ?? Object.keys(base);
    if (!known.includes(name)) {
      throw new RangeError(
        `Cannot set "${where}": the configuration has ${known.join(", ")} here`,
      );
    }
    merged[name] = merge(base[name], value, where);
  }
  return merged;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const WHY: Record<string, string> = {
  "harvest.hook": "the residual stream after 16 blocks, the study's hidden_states[16]",
  "harvest.contextLength": "tokens a sequence, the beginning-of-sequence token included",
  "harvest.tokens.train": "tokens that everything is fitted on",
  "harvest.tokens.validation": "tokens watched while training; other documents",
  "harvest.tokens.test": "tokens of every reported number; other documents again",
  "harvest.batchSize": "sequences that run together",
  "harvest.maxNormRatio": "tokens longer than this many medians are sinks and left out",
  "harvest.normalizer.clipSigma": "standard deviations at which elements are clamped; null: not",
  "harvest.normalizer.scale": "scaled to a mean norm of √d_model",
  architecture: "topk keeps k features a token; standard is ReLU with an L1 penalty",
  dSae: "features of the dictionary",
  k: "active features a token",
  l1Coefficient: "λ of the penalty Σ f‖W_dec‖",
  decoderStd: "standard deviation of initial decoder elements; 1e-4 is the study's",
  steps: "updates of the weights",
  batchSize: "tokens an update",
  learningRate: "peak step size of Adam",
  parts: "what the machine may use: linear, interaction, or both",
  K: "interaction dimensions",
  head: "linear keeps pairs readable; relu is the study's",
  topN: "strongest features of a token that it sees; absent: all",
  seed: "names initial weights and data order",
};

/**
 * A section of the configuration as rows for a table: every value with its reason.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { describeConfig, studyConfig } from "interlens";
 *
 * assert(describeConfig(studyConfig(), "sae").some(({ name }) => name === "sae.k"));
 * ```
 */
export function describeConfig(
  config: StudyConfig,
  ...sections: Section[]
): ConfigRow[] {
  return sections.flatMap((section) => rows(config[section], section));
}

function rows(value: unknown, path: string): ConfigRow[] {
  if (isRecord(value)) {
    return Object.entries(value).flatMap(([name, inner]) => rows(inner, `${path}.${name}`));
  }
  const why = WHY[path] ?? WHY[path.split(".").at(-1)!] ?? "";
  return [{
    name: path,
    // Thousands are grouped; a learning rate keeps its digits.
    value: Number.isInteger(value) ? (value as number).toLocaleString("en") : String(value),
    why,
  }];
}
