/**
 * What a harvest is asked for: its options, their defaults and checks, and the configuration that
 * names what comes of it.
 *
 * @module
 */
import { sha256 } from "../files/mod.ts";
import { type Document, type SplitName, SPLITS, type Splits } from "../corpus/mod.ts";
import type { StoreDtype } from "./manifest.ts";
import { checkNormalizerOptions, type NormalizerOptions } from "./normalizer.ts";
import type { ActivationSource } from "./source.ts";
import { checkStreamed, type StreamedDocuments, type WorkOptions } from "./work.ts";

/** What to harvest at one hook point; see {@linkcode harvest}. */
export interface HarvestOptions extends HarvestSettings {
  /** Hook point with a vector a token, such as `"blocks.15.hook_resid_post"`. */
  hook: string;
}

/** What to harvest at several hook points; see {@linkcode harvestHooks}. */
export interface HarvestHooksOptions extends HarvestSettings {
  /** Hook points with a vector a token. */
  hooks: string[];
}

/** How to harvest. */
export interface HarvestSettings {
  /** Longest sequence in tokens, BOS included; default 128. */
  contextLength?: number;
  /** Tokens to store of each split; `"all"` takes what the documents have. 0 leaves a split out. */
  tokens: Record<SplitName, number | "all">;
  /** Sequences that run together; default 16. */
  batchSize?: number;
  /** Decides which sequences are drawn; default 0. */
  seed?: number;
  /**
   * Tokens whose norm is more than this many times the median norm of the first sequence are left
   * out; null keeps all. Default 5. Some models put a sink of 10 to 100 times the usual norm
   * on tokens other than BOS, and a handful of them would outweigh all others in every sum.
   */
  maxNormRatio?: number | null;
  /**
   * What the normaliser does; default `{ clipSigma: null, scale: true }`. The study clamped too, with
   * `clipSigma: 6`: in a model with a few dimensions of large mean that cuts them off in most tokens.
   */
  normalizer?: NormalizerOptions;
  /**
   * Type on disk: `"float32"` (default), or `"float16"`, half the size, off by at most 2⁻¹¹ of a
   * value. What is read is float32.
   */
  dtype?: StoreDtype;
  /** Stops the harvest; the next one of the same configuration goes on. */
  signal?: AbortSignal;
  /** Seconds of work that a killed process may lose; default 60. */
  keepEvery?: number;
  /** Rows of a file; default as many as make 64 MiB. It bounds the memory of a harvest. */
  shardTokens?: number;
  /** Folder for the store; default `data/cache`. */
  dir?: string;
}

/** Options with their defaults. */
export type Settings = HarvestHooksOptions & {
  contextLength: number;
  batchSize: number;
  seed: number;
  maxNormRatio: number | null;
  normalizer: NormalizerOptions;
  dtype: StoreDtype;
  keepEvery: number;
};

/** The options of a harvest with what was left out. */
export function withDefaults(options: HarvestHooksOptions): Settings {
  return {
    contextLength: 128,
    batchSize: 16,
    seed: 0,
    maxNormRatio: 5,
    normalizer: { clipSigma: null, scale: true },
    dtype: "float32",
    keepEvery: 60,
    ...options,
  };
}

/** Everything that decides what a harvest stores, as plain data. */
export async function harvestConfig(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  settings: Settings,
): Promise<Record<string, unknown>> {
  const { hooks, contextLength, tokens, seed, maxNormRatio, normalizer, dtype } = settings;
  return {
    model: { name: model.cfg.name, hash: model.cfg.hash },
    ...hooks.length === 1 ? { hook: hooks[0] } : { hooks },
    contextLength,
    tokens: Object.fromEntries(SPLITS.map((name) => [name, tokens[name]])),
    seed,
    maxNormRatio,
    normalizer: { clipSigma: normalizer.clipSigma, scale: normalizer.scale },
    ...dtype === "float32" ? {} : { dtype },
    documents: isStreamed(documents)
      // Pieces, and with them the order of tokens, depend on the size of batches.
      ? { name: documents.name, shares: documents.shares, batchSize: settings.batchSize }
      : Object.fromEntries(
        await Promise.all(SPLITS.map(async (name) => [name, await hashOf(documents[name])])),
      ),
  };
}

/** How documents are cut into sequences. */
export function workOptions(model: ActivationSource, settings: Settings): WorkOptions {
  const { contextLength, tokens, batchSize, seed } = settings;
  return { contextLength, tokens, batchSize, seed, masked: new Set([model.tokenizer.bosId]) };
}

/** Whether documents come from a source, one after another. */
export function isStreamed(documents: Splits | StreamedDocuments): documents is StreamedDocuments {
  return "source" in documents;
}

/**
 * Refuses what cannot be harvested, before the model runs.
 *
 * @throws {RangeError} Saying which option cannot be used.
 */
export function checkHarvest(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  settings: Settings,
): void {
  const { hooks, contextLength, tokens, batchSize, maxNormRatio, normalizer, shardTokens } =
    settings;
  for (const hook of hooks) {
    if (!model.hookNames().includes(hook)) {
      throw new RangeError(
        `There is no hook point "${hook}" in "${model.cfg.name}": model.hookNames() lists all, ` +
          `such as "${model.hookNames().at(-1)}"`,
      );
    }
  }
  if (hooks.length === 0 || new Set(hooks).size < hooks.length) {
    throw new RangeError(
      `Cannot harvest at ${hooks.length} hook points, ${new Set(hooks).size} of them different: ` +
        `expected at least one, each once`,
    );
  }
  if (
    !(Number.isInteger(contextLength) && contextLength >= 2) ||
    contextLength > model.cfg.contextLength
  ) {
    throw new RangeError(
      `Cannot harvest sequences of ${contextLength} tokens: expected an integer of 2 (BOS and a ` +
        `token) to ${model.cfg.contextLength}, the context of "${model.cfg.name}"`,
    );
  }
  for (const name of SPLITS) {
    const count = tokens[name];
    const least = name === "train" ? 1 : 0;
    if (count !== "all" && !(Number.isSafeInteger(count) && count >= least)) {
      throw new RangeError(
        `Cannot harvest ${count} tokens of "${name}": expected an integer from ${least} on, or "all"`,
      );
    }
  }
  for (const [name, value] of Object.entries({ batchSize, shardTokens })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`Cannot harvest with ${name} ${value}: expected an integer from 1 on`);
    }
  }
  if (maxNormRatio !== null && !(maxNormRatio > 1 && Number.isFinite(maxNormRatio))) {
    throw new RangeError(
      `Cannot leave out tokens of more than ${maxNormRatio} times the median norm: expected a ` +
        `number above 1, or null`,
    );
  }
  checkNormalizerOptions(normalizer);
  if (settings.dtype !== "float32" && settings.dtype !== "float16") {
    throw new RangeError(
      `Cannot store activations as "${settings.dtype}": expected "float32" or "float16"`,
    );
  }
  if (isStreamed(documents)) return checkStreamed(documents);
  const splitOf = new Map<string, SplitName>();
  for (const name of SPLITS) {
    for (const { id } of documents[name]) {
      const other = splitOf.get(id);
      if (other && other !== name) {
        throw new RangeError(
          `Document "${id}" is in "${other}" and in "${name}": split by document, for example with ` +
            `splitDocuments`,
        );
      }
      splitOf.set(id, name);
    }
  }
}

function hashOf(documents: readonly Document[]): Promise<string> {
  return sha256(JSON.stringify(documents.map(({ id, text }) => [id, text])));
}
