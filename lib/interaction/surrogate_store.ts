/**
 * The surrogate of a store of activations: what `surrogateNull` makes of two tensors, for dictionaries
 * of thousands of features and stores whose activations no memory holds.
 *
 *     x* = a* W_dec + b_dec + e,   a* by optimisation,   e ~ N(mean, covariance of x − a* W_dec − b_dec)
 *
 * It is linear in its codes by construction, has the documents and the splits of the store, and is in
 * the dictionary's units: whatever is trained and measured on the store can be trained and measured on
 * it, and a gain from pairs on it is that of interference between the dictionary's features. Features
 * that the dictionary lacks are noise in it: what they do to the codes it has not.
 *
 * The noise is known after the last training token and added to every row, so the codes `a*` of all
 * splits are in memory: 8 bytes per active feature and 4 per token, 26 GB for 10⁸ tokens of 32.
 *
 * @module
 */
import { join } from "node:path";
import { ActivationStore, Normalizer } from "../activations/mod.ts";
import { MANIFEST } from "../activations/manifest.ts";
import { defaultShardTokens, ShardWriter } from "../activations/shard_writer.ts";
import { SPLITS } from "../corpus/mod.ts";
import {
  type ActivationReader,
  fingerprint,
  type MemorySplit,
  memoryStore,
  requireSameSource,
  type Sae,
  sequentialBatches,
  type SplitName,
} from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { artefact, configHash, writeFileAtomic } from "../files/mod.ts";
import { Rng, tf } from "../tensor/mod.ts";
import { whileRunning } from "../training/mod.ts";
import { choleskyFactor } from "./least_squares.ts";
import {
  INFERENCE,
  type PackedCodes,
  SparseInference,
  type SparseInferenceOptions,
} from "./sparse_inference.ts";

/** How a surrogate is made. */
export interface SurrogateStoreOptions {
  /**
   * How its codes are inferred. `l1`: the penalty; without it, the one that leaves `l0` active features
   * a token in the mean, by default as many as the dictionary has.
   */
  infer?: SparseInferenceOptions & { l0?: number; l1?: number };
  /** Names the noise. Default 0. */
  seed?: number;
  /** Stops it; nothing is kept then. */
  signal?: AbortSignal;
  /**
   * True (default) keeps it in the cache, a text in another folder, where it is read as a batch needs
   * it; false holds it in memory.
   */
  cache?: boolean | string;
}

/** What a surrogate is made of, measured on some thousand training tokens. */
export interface SurrogateReport {
  /** The penalty that chose the codes. */
  readonly l1: number;
  /** Mean active features of a token in `a*`. */
  readonly l0: number;
  /** Fraction of variance that `a* W_dec + b_dec` leaves: what the noise has. */
  readonly fvu: number;
  /** The same of the dictionary's own codes. */
  readonly dictionary: { readonly l0: number; readonly fvu: number };
  /** Tokens that these were measured on. */
  readonly tokens: number;
}

/** A surrogate as a store. */
export interface SurrogateStore extends ActivationReader {
  readonly report: SurrogateReport;
}

const BATCH = 1024;
/** Batches of training tokens that the report is measured on; the first also chooses the penalty. */
const SAMPLE = 4;
/** Halvings of the range of penalties, a factor of a thousand. */
const HALVINGS = 12;
const REPORT = "surrogate.json";

/**
 * Makes the surrogate of a store, or loads the one that this configuration gave before. Making it
 * holds its codes in memory: 8 bytes per active feature and 4 per token, of all splits.
 *
 * ```ts
 * import { assert, assertAlmostEquals } from "@std/assert";
 * import { memoryStore, openDevice, plantedPairs, Sae, surrogateStore, tf } from "interlens";
 *
 * await openDevice();
 * const { features, train, test } = plantedPairs({ n: 6, d: 4, pairs: 2, train: 1000, test: 200 });
 * const split = (x: Float32Array) => ({ rows: x, document: new Int32Array(x.length / 4) });
 * const held = split(test.x);
 * const store = memoryStore(4, { train: split(train.x), validation: held, test: held });
 * const W_dec = tf.tensor2d([...features], [6, 4]);
 * const sae = new Sae({ architecture: "topk", dIn: 4, dSae: 6, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([6]),
 *   W_dec,
 *   b_dec: tf.zeros([4]),
 * });
 * const surrogate = await surrogateStore(store, sae, { infer: { l0: 1 }, cache: false });
 * assertAlmostEquals(surrogate.report.l0, 1, 0.1);
 * assert(surrogate.split("test").tokens === 200);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary; decoder rows of about norm 1.
 * @param options How.
 * @returns A store of as many tokens, of the same documents in the same order.
 * @throws {RangeError} If the store is not what the dictionary was trained on, or an option is impossible.
 * @throws The signal's reason, if it is aborted.
 */
export async function surrogateStore(
  store: ActivationReader,
  sae: Sae,
  options: SurrogateStoreOptions = {},
): Promise<SurrogateStore> {
  const { seed = 0, signal, cache = true } = options;
  requireSameSource(store, sae);
  const key = {
    infer: { ...INFERENCE, ...options.infer },
    ...{ seed, store: configHash(store.manifest), sae: await fingerprint(sae) },
  };
  const view = (inner: ActivationReader, report: SurrogateReport): SurrogateStore => ({
    dModel: store.dModel,
    // Of the dictionary's units: what it says of its own rows is that they are raw.
    ...{ normalizer: store.normalizer, hook: store.hook, model: store.model },
    manifest: { surrogate: key },
    split: (name) => inner.split(name),
    report,
  });
  return await whileRunning(signal, async () => {
    if (cache === false) {
      const rows = new MemoryRows(store);
      const report = await make(store, sae, options, (split, batch) => rows.add(split, batch));
      return view(memoryStore(store.dModel, rows.splits), report);
    }
    return await artefact<SurrogateStore>(
      { kind: "surrogate", config: key, ...typeof cache === "string" && { dir: cache } },
      {
        make: async (dir) => {
          const files = new StoreFiles(dir, store);
          const report = await make(
            store,
            sae,
            options,
            (split, batch, from) => files.add(split, batch, from),
          );
          await files.finish(seed);
          await writeFileAtomic(join(dir, REPORT), JSON.stringify(report, null, 2) + "\n");
        },
        load: async (dir) =>
          view(
            ActivationStore.open(dir),
            JSON.parse(await Deno.readTextFile(join(dir, REPORT))),
          ),
      },
    );
  });
}

/** Takes rows of a split from token `from` on. */
type Sink = (split: SplitName, rows: Float32Array, from: number) => void | Promise<void>;

async function make(
  store: ActivationReader,
  sae: Sae,
  { infer = {}, seed = 0, signal }: SurrogateStoreOptions,
  sink: Sink,
): Promise<SurrogateReport> {
  const inference = await SparseInference.of(sae.W_dec, infer);
  const report = await reportOn(store, sae, inference, infer, seed, signal);
  const d = store.dModel;
  const bias = (await sae.b_dec.data<"float32">()).slice();
  const counts = SPLITS.map((name) => store.split(name).tokens);
  const total = counts.reduce((sum, count) => sum + count, 0);
  const line = progress("Codes by optimisation", { total, unit: "tokens" });
  const codes = new Map<SplitName, PackedCodes[]>();
  const moments = new Moments(d);
  let done = 0;
  try {
    // The noise is that of all training tokens, so codes come first.
    for (const name of SPLITS) {
      const batches: PackedCodes[] = [];
      for await (const { x } of sequentialBatches(store.split(name), BATCH)) {
        signal?.throwIfAborted();
        const centred = tf.sub(x, sae.b_dec) as tf.Tensor2D;
        const found = await inference.pack(centred, report.l1);
        batches.push(found);
        if (name === "train") moments.add(centred, inference.decode(found));
        centred.dispose();
        line.update(done += x.shape[0]);
      }
      codes.set(name, batches);
    }
    const noise = await moments.noise();
    try {
      for (const name of SPLITS) {
        for (const [i, some] of codes.get(name)!.entries()) {
          signal?.throwIfAborted();
          const rows = inference.decode(some);
          const drawn = await noise.draw(rows.length / d, new Rng(seed, "surrogate", name, i));
          for (let at = 0; at < rows.length; at++) rows[at] += bias[at % d] + drawn[at];
          await sink(name, rows, i * BATCH);
        }
      }
    } finally {
      noise.dispose();
    }
  } catch (error) {
    line.stop(signal?.aborted ? "stopped" : "failed");
    throw error;
  } finally {
    moments.dispose();
  }
  line.finish();
  return report;
}

/** Chooses the penalty and measures codes by optimisation beside the dictionary's own. */
async function reportOn(
  store: ActivationReader,
  sae: Sae,
  inference: SparseInference,
  { l0, l1 }: { l0?: number; l1?: number },
  seed: number,
  signal?: AbortSignal,
): Promise<SurrogateReport> {
  const train = store.split("train");
  const size = Math.min(BATCH, train.tokens);
  const batches: tf.Tensor2D[] = [];
  try {
    for (let i = 0; i < Math.min(SAMPLE, Math.floor(train.tokens / size)); i++) {
      batches.push(await train.shuffledBatch(i, size, seed));
    }
    const x = tf.concat(batches, 0) as tf.Tensor2D;
    batches.push(x);
    const [active, variation, error] = tf.tidy(() => {
      const code = sae.encode(x);
      return [
        tf.mean(tf.sum(tf.cast(tf.notEqual(code, 0), "float32"), 1)),
        tf.sum(tf.square(tf.sub(x, tf.mean(x, 0)))),
        tf.sum(tf.square(tf.sub(x, sae.decode(code)))),
      ];
    });
    const [[own], [whole], [left]] = await Promise.all(
      [active, variation, error].map((one) => one.data()),
    );
    tf.dispose([active, variation, error]);
    const centred = batches.map((batch) => tf.sub(batch, sae.b_dec) as tf.Tensor2D);
    batches.push(...centred);
    const chosen = l1 ?? await penaltyFor(l0 ?? own, centred[0], sae.W_dec, inference, signal);
    const all = centred.at(-1)!;
    const found = await inference.pack(all, chosen);
    const values = await all.data<"float32">();
    const decoded = inference.decode(found);
    let squares = 0;
    for (let i = 0; i < values.length; i++) squares += (values[i] - decoded[i]) ** 2;
    return {
      l1: chosen,
      l0: activeIn(found) / x.shape[0],
      fvu: squares / whole,
      dictionary: { l0: own, fvu: left / whole },
      tokens: x.shape[0],
    };
  } finally {
    tf.dispose(batches);
  }
}

/** The penalty that leaves so many active features a token: fewer, the larger it is. */
async function penaltyFor(
  l0: number,
  x: tf.Tensor2D,
  W: tf.Tensor2D,
  inference: SparseInference,
  signal?: AbortSignal,
): Promise<number> {
  if (!(l0 > 0)) {
    throw new RangeError(`Cannot infer codes with ${l0} active features a token: expected above 0`);
  }
  const top = tf.tidy(() => tf.max(tf.matMul(x, W, false, true)));
  let high = Math.max((await top.data())[0], 1e-6);
  top.dispose();
  let low = high / 1000;
  for (let i = 0; i < HALVINGS; i++) {
    signal?.throwIfAborted();
    const middle = Math.sqrt(low * high);
    const active = activeIn(await inference.pack(x, middle)) / x.shape[0];
    if (active > l0) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

function activeIn({ values }: PackedCodes): number {
  let active = 0;
  for (const value of values) active += Number(value > 0);
  return active;
}

/** Mean and covariance of what codes leave, summed over batches on the device. */
class Moments {
  readonly #d: number;
  #tokens = 0;
  #sum: tf.Tensor1D;
  #products: tf.Tensor2D;

  constructor(d: number) {
    this.#d = d;
    this.#sum = tf.zeros([d]);
    this.#products = tf.zeros([d, d]);
  }

  add(x: tf.Tensor2D, explained: Float32Array): void {
    const [sum, products] = tf.tidy(() => {
      const left = tf.sub(x, tf.tensor2d(explained, x.shape)) as tf.Tensor2D;
      return [
        tf.add(this.#sum, tf.sum(left, 0)) as tf.Tensor1D,
        tf.add(this.#products, tf.matMul(left, left, true)) as tf.Tensor2D,
      ] as const;
    });
    this.dispose();
    [this.#sum, this.#products] = [sum, products];
    this.#tokens += x.shape[0];
  }

  /** Normal noise of these moments. */
  async noise(): Promise<{
    draw(tokens: number, rng: Rng): Promise<Float32Array>;
    dispose(): void;
  }> {
    const d = this.#d;
    const [mean, covariance] = tf.tidy(() => {
      const mean = tf.div(this.#sum, this.#tokens) as tf.Tensor1D;
      const square = tf.matMul(tf.reshape(mean, [d, 1]), tf.reshape(mean, [1, d]));
      return [mean, tf.sub(tf.div(this.#products, this.#tokens), square)] as const;
    });
    const L = tf.tensor2d(choleskyFactor(await covariance.data(), d), [d, d]);
    covariance.dispose();
    return {
      draw: async (tokens, rng) => {
        const noise = tf.tidy(() => {
          const normal = tf.tensor2d(rng.normals(tokens * d, 1), [tokens, d]);
          return tf.add(tf.matMul(normal, L, false, true), mean);
        });
        const values = await noise.data<"float32">();
        noise.dispose();
        return values;
      },
      dispose: () => tf.dispose([mean, L]),
    };
  }

  dispose(): void {
    tf.dispose([this.#sum, this.#products]);
  }
}

/** The rows of all splits in memory. */
class MemoryRows {
  readonly splits: Record<SplitName, MemorySplit>;
  readonly #filled: Record<string, number> = {};

  constructor(store: ActivationReader) {
    this.splits = Object.fromEntries(SPLITS.map((name) => {
      const { tokens, document } = store.split(name);
      return [name, {
        rows: new Float32Array(tokens * store.dModel),
        document: Int32Array.from({ length: tokens }, (_, i) => document[i]),
      }];
    })) as Record<SplitName, MemorySplit>;
  }

  add(split: SplitName, rows: Float32Array): void {
    this.splits[split].rows.set(rows, this.#filled[split] ?? 0);
    this.#filled[split] = (this.#filled[split] ?? 0) + rows.length;
  }
}

/** The rows of all splits as files of an activation store. */
class StoreFiles {
  readonly #dir: string;
  readonly #store: ActivationReader;
  readonly #writers: Record<SplitName, ShardWriter>;

  constructor(dir: string, store: ActivationReader) {
    this.#dir = dir;
    this.#store = store;
    const { dModel } = store;
    this.#writers = Object.fromEntries(
      SPLITS.map((name) => [name, new ShardWriter(dir, name, dModel, defaultShardTokens(dModel))]),
    ) as Record<SplitName, ShardWriter>;
  }

  async add(split: SplitName, rows: Float32Array, from: number): Promise<void> {
    const { dModel } = this.#store;
    const { document, tokenIds } = this.#store.split(split);
    const writer = this.#writers[split];
    for (let t = 0; t < rows.length / dModel; t++) {
      if (writer.full) await writer.flush();
      const row = rows.subarray(t * dModel, (t + 1) * dModel);
      writer.add(row, tokenIds?.[from + t] ?? 0, document[from + t], 0);
    }
  }

  /** Writes the last files, the manifest, and a normaliser that changes nothing. */
  async finish(seed: number): Promise<void> {
    const splits: Record<string, unknown> = {};
    for (const name of SPLITS) {
      const writer = this.#writers[name];
      await writer.flush();
      const { tokens, document } = this.#store.split(name);
      let last = -1;
      for (let i = 0; i < tokens; i++) last = Math.max(last, document[i]);
      splits[name] = {
        ...{ tokens, sinks: 0, sequences: 0, shards: writer.shards },
        documents: Array.from({ length: last + 1 }, (_, i) => `${i}`),
      };
    }
    const { dModel, hook = "", model = { name: "", hash: "" } } = this.#store;
    const manifest = {
      ...{ format: 1, model, hook, dModel, contextLength: 0, maskedTokens: [], maxNorm: null },
      ...{ seed, normalizer: { clipSigma: null, scale: false }, splits },
    };
    await writeFileAtomic(join(this.#dir, MANIFEST), JSON.stringify(manifest, null, 1) + "\n");
    await new Normalizer().save(this.#dir);
  }
}
