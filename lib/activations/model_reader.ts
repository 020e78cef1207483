/**
 * Activations without a store: the model runs while a dictionary trains, and a buffer of tokens is
 * in memory.
 *
 * An epoch takes the sequences in an order of its own and cuts it into buffers; within a buffer the
 * tokens are shuffled exactly. Both are pure functions of seed and place, so a batch is one of seed
 * and step, and a resumed training goes on with the same bytes: it runs the model again from the
 * start of the buffer in which it stopped.
 *
 * @module
 */
import { sha256 } from "../files/mod.ts";
import { type SplitName, SPLITS, type Splits } from "../corpus/mod.ts";
import { tf } from "../tensor/mod.ts";
import { Permutation } from "../training/mod.ts";
import { checkNormalizerOptions, fitNormalizer, Normalizer } from "./normalizer.ts";
import type { NormalizerOptions } from "./normalizer.ts";
import { inBatches, type PlannedSequence, planSplit } from "./plan.ts";
import { activationsOf, type ActivationSource } from "./source.ts";

/** What to read; see {@linkcode modelReader}. */
export interface ModelReaderOptions {
  /** Hook point with a vector a token, such as `"blocks.15.hook_resid_post"`. */
  hook: string;
  /** Longest sequence in tokens, BOS included; default 128. */
  contextLength?: number;
  /** Tokens of each split; `"all"` takes what the documents have. 0 leaves a split out. */
  tokens: Record<SplitName, number | "all">;
  /** Tokens that are in memory and shuffled together; default 65,536. */
  bufferTokens?: number;
  /** Sequences that run together; default 16. */
  batchSize?: number;
  /** Decides which sequences are drawn; default 0. */
  seed?: number;
  /** As in a harvest; default 5. The place of a sink is taken by the next token of the buffer. */
  maxNormRatio?: number | null;
  /**
   * What the normaliser does; it is fitted on the first buffer of the training split. Default
   * `{ clipSigma: null, scale: true }`. Or one that was fitted before, as that of a store.
   */
  normalizer?: NormalizerOptions | Normalizer;
}

/** Reads activations from a model; what trains on a store trains on it. */
export interface ModelReader {
  /** Width of an activation. */
  readonly dModel: number;
  /** Hook point. */
  readonly hook: string;
  /** The model. */
  readonly model: { readonly name: string; readonly hash: string };
  /** Everything that decides what is read. */
  readonly manifest: unknown;
  /** What every row has gone through. */
  readonly normalizer: Normalizer;
  /** One part. */
  split(name: SplitName): ModelSplit;
}

/**
 * Activations that are computed when they are read, with the interface of a store. It costs a run
 * of the model a token and epoch, and no disk.
 *
 * A split of at most `bufferTokens` is computed once. The number of tokens is known before the model
 * runs, so a sink, which is not known then, is replaced and not left out.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, modelReader, openDevice, randomModel, trainSae } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const reader = await modelReader(model, { train, validation, test }, {
 *   hook: "blocks.0.hook_resid_post",
 *   tokens: { train: "all", validation: "all", test: 0 },
 *   bufferTokens: 20,
 * });
 * const { sae } = await trainSae(reader, { architecture: "topk", dSae: 8, k: 2, steps: 5, batchSize: 8 }, {
 *   cache: false,
 * });
 * assertEquals(sae.config.dIn, model.cfg.dModel);
 * sae.dispose();
 * ```
 *
 * @param model The model, which must live as long as the reader is used.
 * @param documents Documents by split.
 * @param options What to read.
 * @throws {RangeError} If an option cannot be used, the hook point does not exist or has no vector
 * a token, or the documents have fewer tokens than asked for.
 * @throws {Error} If an activation is not finite, here or while reading, naming the document.
 */
export async function modelReader(
  model: ActivationSource,
  documents: Splits,
  options: ModelReaderOptions,
): Promise<ModelReader> {
  const {
    hook,
    contextLength = 128,
    tokens,
    bufferTokens = 65_536,
    batchSize = 16,
    seed = 0,
    maxNormRatio = 5,
    normalizer = { clipSigma: null, scale: true },
  } = options;
  if (!model.hookNames().includes(hook)) {
    throw new RangeError(
      `There is no hook point "${hook}" in "${model.cfg.name}": model.hookNames() lists all, such ` +
        `as "${model.hookNames().at(-1)}"`,
    );
  }
  for (const [name, value] of Object.entries({ bufferTokens, batchSize })) {
    if (!(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`Cannot read with ${name} ${value}: expected an integer from 1 on`);
    }
  }
  if (contextLength > model.cfg.contextLength) {
    throw new RangeError(
      `Cannot read sequences of ${contextLength} tokens: the context of "${model.cfg.name}" has ` +
        `${model.cfg.contextLength}`,
    );
  }
  if (!(normalizer instanceof Normalizer)) checkNormalizerOptions(normalizer);
  const masked = new Set([model.tokenizer.bosId]);
  const shared: Shared = {
    model,
    hook,
    masked,
    batchSize,
    bufferTokens,
    width: 0,
    limit: Infinity,
  };
  const splits = Object.fromEntries(SPLITS.map((name) => {
    const plan = planSplit(name, documents[name], model.tokenizer, {
      contextLength,
      tokens: tokens[name],
      batchSize,
      seed,
      masked,
    });
    const ids = documents[name].map(({ id }) => id);
    return [name, new ModelSplit(name, plan.batches.flat(), ids, shared)];
  })) as Record<SplitName, ModelSplit>;

  await measureSinks(splits.train, shared, maxNormRatio);
  const fitted = normalizer instanceof Normalizer ? normalizer : await splits.train.fit(normalizer);
  shared.normalizer = fitted;
  const { scale, clip } = fitted;
  return {
    dModel: shared.width,
    hook,
    model: { name: model.cfg.name, hash: model.cfg.hash },
    manifest: {
      model: { name: model.cfg.name, hash: model.cfg.hash },
      hook,
      contextLength,
      tokens: Object.fromEntries(SPLITS.map((name) => [name, tokens[name]])),
      bufferTokens,
      batchSize,
      seed,
      maxNormRatio,
      normalizer: { scale, clip },
      documents: Object.fromEntries(
        await Promise.all(SPLITS.map(async (name) => {
          const texts = documents[name].map(({ id, text }) => [id, text]);
          return [name, await sha256(JSON.stringify(texts))];
        })),
      ),
    },
    normalizer: fitted,
    split: (name) => splits[name],
  };
}

interface Shared {
  readonly model: ActivationSource;
  readonly hook: string;
  readonly masked: ReadonlySet<number>;
  readonly batchSize: number;
  readonly bufferTokens: number;
  width: number;
  /** Squared norm above which a token is a sink. */
  limit: number;
  normalizer?: Normalizer;
}

/** The sequences of an epoch, cut into buffers. */
interface Epoch {
  /** Undefined: the order of the plan, in which tokens are numbered. */
  readonly key: string | undefined;
  readonly sequences: Int32Array;
  /** First sequence of each buffer, and their number at the end. */
  readonly firsts: number[];
  /** First token of each buffer, and their number at the end. */
  readonly starts: number[];
}

/** Tokens in memory. */
interface Buffer {
  readonly epoch: string | undefined;
  readonly index: number;
  readonly rows: Float32Array;
  readonly order: Permutation | undefined;
}

/**
 * Activations of one split, computed when they are read; a `SplitReader`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, modelReader, ModelSplit, openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const reader = await modelReader(model, { train, validation, test }, {
 *   hook: "blocks.0.hook_resid_post",
 *   tokens: { train: 20, validation: 5, test: 0 },
 * });
 * const split = reader.split("train");
 * assertEquals([split instanceof ModelSplit, split.name, split.tokens], [true, "train", 20]);
 * ```
 */
export class ModelSplit {
  /** `"train"`, `"validation"` or `"test"`. */
  readonly name: SplitName;
  /** Number of tokens. */
  readonly tokens: number;
  /** Ids of the documents, `document` is an index into it. */
  readonly documents: readonly string[];
  /** The document's number of each token, `[tokens]`. */
  readonly document: Int32Array;
  readonly #sequences: readonly PlannedSequence[];
  /** Tokens of each sequence that are not masked. */
  readonly #lengths: Int32Array;
  readonly #shared: Shared;
  readonly #inOrder: Epoch;
  #epoch: Epoch;
  #buffer: Buffer | undefined;
  /** Reads wait for each other: there is one buffer. */
  #last: Promise<unknown> = Promise.resolve();

  /** Use {@linkcode modelReader}. */
  constructor(
    name: SplitName,
    sequences: readonly PlannedSequence[],
    documents: readonly string[],
    shared: Shared,
  ) {
    this.name = name;
    this.documents = documents;
    this.#sequences = sequences;
    this.#shared = shared;
    this.#lengths = Int32Array.from(
      sequences,
      ({ ids }) => ids.reduce((count, id) => count + (shared.masked.has(id) ? 0 : 1), 0),
    );
    this.tokens = this.#lengths.reduce((sum, length) => sum + length, 0);
    this.document = new Int32Array(this.tokens);
    let at = 0;
    for (const [i, length] of this.#lengths.entries()) {
      this.document.fill(sequences[i].document, at, at += length);
    }
    this.#inOrder = this.#cut(undefined, Int32Array.from(sequences.keys()));
    this.#epoch = this.#inOrder;
  }

  /**
   * Normalised activations of consecutive tokens, `[count, d_model]`.
   *
   * @throws {RangeError} If the split ends before.
   */
  async rows(start: number, count: number): Promise<tf.Tensor2D> {
    if (!(Number.isInteger(start) && start >= 0 && count >= 1) || start + count > this.tokens) {
      throw new RangeError(
        `Cannot read ${count} tokens from token ${start} of "${this.name}": it has ${this.tokens}`,
      );
    }
    return await this.#inTurn(async () => {
      const { width } = this.#shared;
      const values = new Float32Array(count * width);
      await this.#gather(this.#inOrder, start, values);
      return this.#tensor(values, count);
    });
  }

  /**
   * The batch of a training step, `[batchSize, d_model]`: every token comes once an epoch, and the
   * same (seed, step) gives the same batch whatever was read before.
   *
   * @throws {RangeError} If an argument is out of range.
   */
  async shuffledBatch(step: number, batchSize: number, seed: number): Promise<tf.Tensor2D> {
    if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= this.tokens)) {
      throw new RangeError(
        `Cannot draw batches of ${batchSize} tokens: expected an integer of 1 to ${this.tokens}, the ` +
          `tokens that there are`,
      );
    }
    if (!(Number.isSafeInteger(step) && step >= 0)) {
      throw new RangeError(`Cannot draw batch ${step}: expected an integer from 0 on`);
    }
    return await this.#inTurn(async () => {
      const { width } = this.#shared;
      const values = new Float32Array(batchSize * width);
      for (let done = 0; done < batchSize;) {
        const place = step * batchSize + done;
        const epoch = this.#epochOf(Math.floor(place / this.tokens), seed);
        const start = place % this.tokens;
        const count = Math.min(batchSize - done, this.tokens - start);
        await this.#gather(epoch, start, values.subarray(done * width, (done + count) * width));
        done += count;
      }
      return this.#tensor(values, batchSize);
    });
  }

  /** The normaliser that the first buffer gives. */
  async fit(options: NormalizerOptions): Promise<Normalizer> {
    const { rows } = await this.#fill(this.#inOrder, 0);
    return fitNormalizer(() => [rows], this.#shared.width, options);
  }

  /** The first sequence. */
  get first(): PlannedSequence | undefined {
    return this.#sequences[0];
  }

  #inTurn<T>(read: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(read);
    this.#last = turn.catch(() => {});
    return turn;
  }

  #tensor(values: Float32Array, count: number): tf.Tensor2D {
    this.#shared.normalizer!.applyTo(values);
    return tf.tensor2d(values, [count, this.#shared.width]);
  }

  #epochOf(epoch: number, seed: number): Epoch {
    const key = `${seed}/${epoch}`;
    if (this.#epoch.key !== key) {
      const order = new Permutation(this.#sequences.length, seed, "sequences", epoch);
      const sequences = this.#inOrder.sequences.map((_, i) => order.at(i));
      this.#epoch = this.#cut(key, sequences);
    }
    return this.#epoch;
  }

  #cut(key: string | undefined, sequences: Int32Array): Epoch {
    const [firsts, starts] = [[0], [0]];
    let end = 0;
    for (const [i, sequence] of sequences.entries()) {
      end += this.#lengths[sequence];
      const full = end - starts.at(-1)! >= this.#shared.bufferTokens;
      if (full || i === sequences.length - 1) {
        firsts.push(i + 1);
        starts.push(end);
      }
    }
    return { key, sequences, firsts, starts };
  }

  /** Fills `values` with tokens of an epoch from a place on. */
  async #gather(epoch: Epoch, start: number, values: Float32Array): Promise<void> {
    const { width } = this.#shared;
    const count = values.length / width;
    for (let done = 0; done < count;) {
      const place = start + done;
      const index = epoch.starts.findIndex((first) => first > place) - 1;
      const { rows, order } = await this.#fill(epoch, index);
      const end = Math.min(count, epoch.starts[index + 1] - start);
      for (; done < end; done++) {
        const at = start + done - epoch.starts[index];
        const row = order ? order.at(at) : at;
        values.set(rows.subarray(row * width, (row + 1) * width), done * width);
      }
    }
  }

  async #fill(epoch: Epoch, index: number): Promise<Buffer> {
    if (this.#buffer?.epoch === epoch.key && this.#buffer?.index === index) return this.#buffer;
    const { width, batchSize, limit } = this.#shared;
    const [first, last] = [epoch.firsts[index], epoch.firsts[index + 1]];
    const count = epoch.starts[index + 1] - epoch.starts[index];
    // The one before goes first, so that one is in memory; where they are equally long it is used
    // again.
    const old = this.#buffer?.rows;
    this.#buffer = undefined;
    const rows = old?.length === count * width ? old : new Float32Array(count * width);
    const places: { sequence: PlannedSequence; at: number }[] = [];
    let at = 0;
    for (const number of epoch.sequences.subarray(first, last)) {
      places.push({ sequence: this.#sequences[number], at });
      at += this.#lengths[number];
    }
    // Those of one length together; the order of rows stays that of the epoch.
    places.sort((a, b) => b.sequence.ids.length - a.sequence.ids.length || a.at - b.at);
    const sinks: number[] = [];
    for (const batch of inBatches(places, batchSize)) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // the Stop button can be heard
      const found = await this.#run(batch.map(({ sequence }) => sequence));
      for (const [i, { at }] of batch.entries()) {
        for (const [k, row] of found.rows[i].entries()) {
          const from = row * width;
          let square = 0;
          for (let j = from; j < from + width; j++) square += found.values[j] ** 2;
          if (!Number.isFinite(square)) throw this.#notFinite(batch[i].sequence);
          if (square > limit) sinks.push(at + k);
          rows.set(found.values.subarray(from, from + width), (at + k) * width);
        }
      }
    }
    this.#replace(sinks, rows, count);
    const order = epoch.key === undefined
      ? undefined
      : new Permutation(count, 0, "buffer", epoch.key, index);
    return this.#buffer = { epoch: epoch.key, index, rows, order };
  }

  /** Activations of sequences, and the rows of their tokens that are not masked. */
  async #run(sequences: PlannedSequence[]) {
    const { model, hook, masked } = this.#shared;
    const { at, pos } = await activationsOf(model, sequences.map(({ ids }) => [...ids]), [hook]);
    const rows = sequences.map(({ ids }, i) =>
      [...ids.keys()].filter((p) => !masked.has(ids[p])).map((p) => i * pos + p)
    );
    return { values: at[0].values, width: at[0].width, rows };
  }

  /** A sink's row becomes that of the next token that is none. */
  #replace(sinks: number[], rows: Float32Array, count: number): void {
    if (sinks.length === count) {
      throw new Error(
        `All ${count} tokens of a buffer of "${this.name}" are sinks: raise maxNormRatio`,
      );
    }
    const { width } = this.#shared;
    const isSink = new Set(sinks);
    for (const sink of sinks) {
      let other = sink;
      while (isSink.has(other)) other = (other + 1) % count;
      rows.copyWithin(sink * width, other * width, (other + 1) * width);
    }
  }

  #notFinite({ document, start }: PlannedSequence): Error {
    return new Error(
      `An activation of "${this.#shared.hook}" in split "${this.name}", document ` +
        `"${
          this.documents[document]
        }", in the sequence that starts at its token ${start}, is not ` +
        `finite. Leave the document out, or check the model's weights`,
    );
  }
}

/** Width, and the norm of sinks as a harvest has it, from the first sequence. */
async function measureSinks(
  train: ModelSplit,
  shared: Shared,
  maxNormRatio: number | null,
): Promise<void> {
  if (!train.first) {
    throw new RangeError(
      'Cannot read 0 tokens of "train": expected an integer from 1 on, or "all"',
    );
  }
  const { ids } = train.first;
  const { at } = await activationsOf(shared.model, [[...ids]], [shared.hook]);
  const { values, width } = at[0];
  shared.width = width;
  if (maxNormRatio === null) return;
  const squares = [...ids.keys()].filter((p) => !shared.masked.has(ids[p])).map((p) =>
    values.subarray(p * width, (p + 1) * width).reduce((sum, x) => sum + x * x, 0)
  ).sort((a, b) => a - b);
  shared.limit = maxNormRatio ** 2 * squares[squares.length >> 1];
}
