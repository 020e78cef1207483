/**
 * Harvest: run a model over documents and keep the activations of every token on disk.
 *
 * @module
 */
import { join } from "node:path";
import { artefact, artefactDir, cacheDir, sha256 } from "../files/mod.ts";
import { whileRunning } from "../training/mod.ts";
import { type Document, type SplitName, SPLITS, type Splits } from "../corpus/mod.ts";
import { BadActivation, HarvestRun, hookDir } from "./harvest_run.ts";
import type { StoreDtype } from "./manifest.ts";
import { checkNormalizerOptions, type NormalizerOptions } from "./normalizer.ts";
import type { ActivationSource } from "./source.ts";
import { ActivationStore } from "./store.ts";
import { UnfinishedFolder } from "./unfinished.ts";
import {
  checkStreamed,
  plannedWork,
  type StreamedDocuments,
  streamedWork,
  type WorkOptions,
} from "./work.ts";

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

/**
 * Activations of a model on documents: loaded if they were harvested before, otherwise harvested
 * with a progress line.
 *
 * Sequences are drawn over all documents in turn, so that a small number of tokens covers as many
 * documents as it can. BOS is left out by token id and padding by length, other sinks by norm: a split
 * has fewer tokens than asked for by as many as that. Activations stream to files; a file's worth of
 * each split is in memory, beside some bytes for every token's id.
 *
 * Documents that need not fit into memory come as {@linkcode StreamedDocuments}. Their sequences are
 * taken in the order of the source; training shuffles the whole store anyway.
 *
 * A harvest that was stopped or killed goes on where it was, from a folder `unfinished` beside the
 * stores, and ends with the same bytes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, harvest, openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ nLayers: 1 }, 0);
 * const dir = await Deno.makeTempDir();
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const store = await harvest(model, { train, validation, test }, {
 *   hook: "blocks.0.hook_resid_post",
 *   contextLength: 8,
 *   tokens: { train: 20, validation: 5, test: "all" },
 *   dir,
 * });
 * assertEquals(store.split("train").tokens, 20);
 * const x = store.split("train").rows(0, 3); // [3, d_model], normalised
 * assertEquals(x.shape, [3, model.cfg.dModel]);
 * x.dispose();
 * model.dispose();
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param model The model, or anything that runs like one.
 * @param documents Documents by split, of which none may be in two, or a source of them.
 * @param options What to harvest, and how.
 * @throws {RangeError} If an option cannot be used, the hook point does not exist or has no vector
 * a token, or the documents have fewer tokens than asked for.
 * @throws {Error} If an activation is NaN or infinite, or too large for float16, naming document and
 * position; if the disk is full. Other stores stay as they are.
 */
export async function harvest(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  options: HarvestOptions,
): Promise<ActivationStore> {
  const { hook, ...rest } = options;
  return (await harvestHooks(model, documents, { ...rest, hooks: [hook] }))[hook];
}

/**
 * Activations at several hook points from one run of the model: a store for each, with the same
 * tokens in the same order, for a transcoder or for several layers.
 *
 * A token whose norm is that of a sink at one of them is left out at all of them.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, harvestHooks, openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const dir = await Deno.makeTempDir();
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const [input, output] = ["blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"];
 * const stores = await harvestHooks(model, { train, validation, test }, {
 *   hooks: [input, output],
 *   tokens: { train: "all", validation: "all", test: "all" },
 *   dir,
 * });
 * assertEquals(stores[input].split("test").tokenIds, stores[output].split("test").tokenIds);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param model The model, or anything that runs like one.
 * @param documents Documents by split, of which none may be in two, or a source of them.
 * @param options What to harvest, and how.
 * @returns Stores by hook point.
 * @throws As {@linkcode harvest}.
 */
export async function harvestHooks(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  options: HarvestHooksOptions,
): Promise<Record<string, ActivationStore>> {
  const settings = {
    contextLength: 128,
    batchSize: 16,
    seed: 0,
    maxNormRatio: 5,
    normalizer: { clipSigma: null, scale: true },
    dtype: "float32" as StoreDtype,
    keepEvery: 60,
    ...options,
  };
  check(model, documents, settings);
  const { hooks, contextLength, tokens, seed, maxNormRatio, normalizer, dtype } = settings;
  const config = {
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
  const key = { kind: "activations", config, dir: options.dir };
  const open = (dir: string) =>
    Object.fromEntries(
      hooks.map((hook) => [hook, ActivationStore.open(hookDir(dir, hook, hooks))]),
    );
  return await whileRunning(options.signal, async () => {
    const unfinished = await UnfinishedFolder.lock(
      join(options.dir ?? cacheDir(), "unfinished", `activations-${artefactDir(key).slice(-16)}`),
    );
    try {
      const stores = await artefact(key, {
        load: open,
        make: async (dir) => {
          const plan = { ...settings, masked: new Set([model.tokenizer.bosId]) } as WorkOptions;
          const work = isStreamed(documents)
            ? streamedWork(documents, model.tokenizer, plan)
            : plannedWork(documents, model.tokenizer, plan);
          await Deno.mkdir(unfinished.dir, { recursive: true });
          await new HarvestRun(unfinished.dir, config, model, work, settings).run();
          await unfinished.moveTo(dir);
        },
      });
      await unfinished.remove();
      return stores;
    } catch (error) {
      await unfinished.removeUnless(!(error instanceof BadActivation));
      throw error;
    } finally {
      unfinished.unlock();
    }
  });
}

type Settings = HarvestHooksOptions & {
  contextLength: number;
  batchSize: number;
  seed: number;
  maxNormRatio: number | null;
  normalizer: NormalizerOptions;
  dtype: StoreDtype;
  keepEvery: number;
};

function isStreamed(documents: Splits | StreamedDocuments): documents is StreamedDocuments {
  return "source" in documents;
}

function check(
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
