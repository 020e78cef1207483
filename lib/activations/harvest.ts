/**
 * Harvest: run a model over documents and keep one activation of every token on disk.
 *
 * @module
 */
import { join } from "node:path";
import { artefact, requireSpace, sha256, writeFileAtomic } from "../files/mod.ts";
import { progress } from "../display/mod.ts";
import { whileRunning } from "../training/mod.ts";
import { type Document, type SplitName, SPLITS, type Splits } from "../corpus/mod.ts";
import { type ActivationManifest, MANIFEST, type SplitManifest } from "./manifest.ts";
import { checkNormalizerOptions, type NormalizerOptions } from "./normalizer.ts";
import { type PlannedSequence, planSplit, type SplitPlan } from "./plan.ts";
import { defaultShardTokens, ShardWriter } from "./shard_writer.ts";
import { activationsOf, type ActivationSource } from "./source.ts";
import { ActivationStore, fitOnTraining } from "./store.ts";

/** What to harvest; see {@linkcode harvest}. */
export interface HarvestOptions {
  /** Hook point with a vector a token, such as `"blocks.15.hook_resid_post"`. */
  hook: string;
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
  /** Stops the harvest; nothing of it is kept then. */
  signal?: AbortSignal;
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
 * has fewer tokens than asked for by as many as that. Activations stream to files; one file's worth
 * is in memory, beside some bytes for every token's id.
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
 * @param documents Documents by split; no document may be in two of them.
 * @param options What to harvest, and how.
 * @throws {RangeError} If an option cannot be used, the hook point does not exist or has no vector
 * a token, or the documents have fewer tokens than asked for.
 * @throws {Error} If an activation is NaN or infinite, naming document and position; if the disk is
 * full. What was stored before stays as it is, and nothing of this harvest is left.
 */
export async function harvest(
  model: ActivationSource,
  documents: Splits,
  options: HarvestOptions,
): Promise<ActivationStore> {
  const settings = {
    contextLength: 128,
    batchSize: 16,
    seed: 0,
    maxNormRatio: 5,
    normalizer: { clipSigma: null, scale: true },
    ...options,
  };
  check(model, documents, settings);
  const { hook, contextLength, tokens, seed, maxNormRatio, normalizer } = settings;
  const config = {
    model: { name: model.cfg.name, hash: model.cfg.hash },
    hook,
    contextLength,
    tokens: Object.fromEntries(SPLITS.map((name) => [name, tokens[name]])),
    seed,
    maxNormRatio,
    normalizer: { clipSigma: normalizer.clipSigma, scale: normalizer.scale },
    documents: Object.fromEntries(
      await Promise.all(SPLITS.map(async (name) => [name, await hashOf(documents[name])])),
    ),
  };
  return await whileRunning(
    options.signal,
    () =>
      artefact({ kind: "activations", config, dir: options.dir }, {
        load: (dir) => ActivationStore.open(dir),
        make: (dir) => makeStore(dir, model, documents, settings),
      }),
  );
}

type Settings = HarvestOptions & {
  contextLength: number;
  batchSize: number;
  seed: number;
  maxNormRatio: number | null;
  normalizer: NormalizerOptions;
};

/** Squared norm above which a token is a sink; known after the first sequence. */
interface SinkLimit {
  squared: number | undefined;
}

async function makeStore(
  dir: string,
  model: ActivationSource,
  documents: Splits,
  settings: Settings,
): Promise<void> {
  const { hook, contextLength, tokens, batchSize, seed, normalizer } = settings;
  const masked = new Set([model.tokenizer.bosId]);
  const plans = SPLITS.map((name) =>
    planSplit(name, documents[name], model.tokenizer, {
      contextLength,
      tokens: tokens[name],
      batchSize,
      seed,
      masked,
    })
  );

  const splits = {} as Record<SplitName, SplitManifest>;
  const total = plans.reduce((sum, plan) => sum + plan.tokens, 0);
  const limit: SinkLimit = { squared: settings.maxNormRatio === null ? Infinity : undefined };
  const line = progress(`Harvesting ${hook}`, { total, unit: "tokens" });
  let width = 0;
  let done = 0;
  try {
    for (const [i, name] of SPLITS.entries()) {
      const run = await harvestSplit({
        dir,
        name,
        model,
        documents: documents[name],
        plan: plans[i],
        masked,
        limit,
        settings,
        onWidth: async (found) => {
          width = found;
          await requireSpace(dir, (total - done) * (4 * found + 12), `Harvesting ${total} tokens`);
        },
        onTokens: (count) => line.update(done += count),
      });
      splits[name] = run;
    }
  } catch (error) {
    line.stop(settings.signal?.aborted ? "stopped" : "failed");
    throw error;
  }
  const sinks = SPLITS.reduce((sum, name) => sum + splits[name].sinks, 0);
  line.finish();
  if (sinks > 0) console.log(`activations: left out ${sinks} sink tokens of ${total}`);

  const manifest: ActivationManifest = {
    format: 1,
    model: { name: model.cfg.name, hash: model.cfg.hash },
    hook,
    dModel: width,
    contextLength,
    maskedTokens: [...masked],
    maxNorm: Number.isFinite(limit.squared) ? Math.sqrt(limit.squared!) : null,
    seed,
    normalizer,
    splits,
  };
  await writeFileAtomic(join(dir, MANIFEST), JSON.stringify(manifest, null, 1) + "\n");
  await fitOnTraining(dir, manifest).save(dir);
}

async function harvestSplit({ dir, name, model, documents, plan, masked, limit, settings, ...on }: {
  dir: string;
  name: SplitName;
  model: ActivationSource;
  documents: readonly Document[];
  plan: SplitPlan;
  masked: ReadonlySet<number>;
  limit: SinkLimit;
  settings: Settings;
  onWidth: (width: number) => Promise<void>;
  onTokens: (count: number) => void;
}): Promise<SplitManifest> {
  const { hook, signal } = settings;
  let writer: ShardWriter | undefined;
  let sinks = 0;
  for (const batch of plan.batches) {
    // A turn of the event loop, in which the Stop button can be heard.
    await new Promise((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
    const tokens = batch.map(({ ids }) => [...ids]);
    const { values, pos, width } = await activationsOf(model, tokens, hook);
    if (!writer) {
      await on.onWidth(width);
      const rows = settings.shardTokens ?? defaultShardTokens(width);
      writer = new ShardWriter(dir, name, width, Math.min(rows, plan.tokens));
    }
    // [row in `values`, sequence, position] of every token that is neither BOS nor padding.
    const kept = batch.flatMap((sequence, i) =>
      Array.from(sequence.ids.keys())
        .filter((position) => !masked.has(sequence.ids[position]))
        .map((position) => [i * pos + position, sequence, position] as const)
    );
    const squares = Float64Array.from(kept, ([row, sequence, position]) => {
      const activation = values.subarray(row * width, (row + 1) * width);
      const square = squaredNorm(activation);
      if (Number.isFinite(square)) return square;
      throw notFinite(activation, { hook, name, documents, sequence, position });
    });
    // Of one sequence, so that it does not depend on the size of batches.
    limit.squared ??= settings.maxNormRatio! ** 2 *
      median(squares.filter((_, k) => kept[k][1] === batch[0]));
    for (const [k, [row, sequence, position]] of kept.entries()) {
      if (squares[k] > limit.squared) {
        sinks++;
        continue;
      }
      if (writer.full) await writer.flush();
      const activation = values.subarray(row * width, (row + 1) * width);
      writer.add(activation, sequence.ids[position], sequence.document, position);
    }
    on.onTokens(kept.length);
  }
  await writer?.flush();
  return {
    tokens: plan.tokens - sinks,
    sinks,
    sequences: plan.sequences,
    documents: documents.map(({ id }) => id),
    shards: writer?.shards ?? [],
  };
}

function squaredNorm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return sum;
}

/** The middle one of some numbers, the upper one of two. */
function median(values: Float64Array): number {
  return values.toSorted()[values.length >> 1];
}

function notFinite(
  activation: Float32Array,
  { hook, name, documents, sequence, position }: {
    hook: string;
    name: SplitName;
    documents: readonly Document[];
    sequence: PlannedSequence;
    position: number;
  },
): Error {
  const dimension = activation.findIndex((value) => !Number.isFinite(value));
  return new Error(
    `The activation of "${hook}" in split "${name}", document ` +
      `"${documents[sequence.document].id}", position ${position} of the sequence that starts at ` +
      `its token ${sequence.start}, is ${
        activation[dimension]
      } in dimension ${dimension}: nothing ` +
      `was stored. Leave the document out, or check the model's weights`,
  );
}

function check(model: ActivationSource, documents: Splits, settings: Settings): void {
  const { hook, contextLength, tokens, batchSize, maxNormRatio, normalizer, shardTokens } =
    settings;
  if (!model.hookNames().includes(hook)) {
    throw new RangeError(
      `There is no hook point "${hook}" in "${model.cfg.name}": model.hookNames() lists all, such ` +
        `as "${model.hookNames().at(-1)}"`,
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
