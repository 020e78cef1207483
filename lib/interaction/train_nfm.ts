/**
 * Training of factorization machines on what a dictionary leaves behind.
 *
 * @module
 */
import { join } from "node:path";
import {
  type ActivationReader,
  fingerprint,
  requireSameSource,
  type Sae,
  type TrainOptions,
} from "../dictionary/mod.ts";
import { configHash, writeFileAtomic } from "../files/mod.ts";
import type { Codes, ReconstructionSummary } from "../metrics/mod.ts";
import { type SparseCodes, tf, topK } from "../tensor/mod.ts";
import { cachedRun, type HistoryRow } from "../training/mod.ts";
import { fitNfm, measureOnResidual, type NfmData } from "./fit_nfm.ts";
import { Nfm } from "./nfm.ts";
import { type NfmConfig, type NfmShape, resolveNfmConfig } from "./nfm_config.ts";

/** A trained model with how it came about. */
export interface NfmResult {
  /** The model; the caller disposes of it. */
  nfm: Nfm;
  /** Numbers by step. */
  history: HistoryRow[];
  /** Of `sae(x) + nfm(codes)` against x, on the validation split. */
  metrics: ReconstructionSummary;
  /** True if the run was stopped before its end. */
  stopped: boolean;
}

/**
 * Trains a model of the residual `x − sae(x)` on the codes of x, or loads the one that this
 * configuration gave before.
 *
 * `parts: "linear"` is the baseline of every comparison: it refits the dictionary's decoder on the
 * same codes, and only what `"both"` explains beyond it is owed to pairs of features.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, Sae, tf, trainNfm } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a·b), and the dictionary knows a and b.
 * const rng = new Rng(0);
 * const rows = Array.from({ length: 400 }, () => {
 *   const [a, b] = [1 + rng.uniform(), 1 + rng.uniform()];
 *   return [a, b, a * b];
 * });
 * const split = { rows: Float32Array.from(rows.flat()), document: new Int32Array(400) };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const W_dec = tf.tensor2d([[1, 0, 0], [0, 1, 0]]);
 * const sae = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([2]),
 *   W_dec,
 *   b_dec: tf.zeros([3]),
 * });
 * const config = { K: 4, steps: 300, batchSize: 100, learningRate: 3e-2, cache: false };
 * const both = await trainNfm(store, sae, config);
 * const linear = await trainNfm(store, sae, { ...config, parts: "linear" });
 * assert(both.metrics.fvu < 0.2 * linear.metrics.fvu);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary, which stays as it is.
 * @param config What to train, and how to watch and keep it.
 * @throws {RangeError} If the configuration is impossible, or the store is not what the dictionary
 * was trained on; before any work.
 * @throws {Error} If activations or loss are not finite, naming the step.
 */
export async function trainNfm(
  store: ActivationReader,
  sae: Sae,
  config: NfmConfig & TrainOptions,
): Promise<NfmResult> {
  const { signal, cache, onStep, ...training } = config;
  requireSameSource(store, sae);
  const { dSae, dIn: dOut, k } = sae.config;
  const onCodes = (config.input ?? "codes") === "codes";
  const resolved = resolveNfmConfig(
    training,
    store,
    onCodes ? { dSae, dOut, k } : {
      dSae: dOut,
      dOut,
    },
  );
  const { parts, K, head, topN } = resolved;
  const shape: NfmShape = { parts, K, head, topN, dSae: onCodes ? dSae : dOut, dOut };
  const view = (x: tf.Tensor2D) => {
    const { codes, residual } = codesAndResidual(sae, x, onCodes ? topN : 1);
    if (onCodes) return { codes, residual };
    tf.dispose([codes.indices, codes.values]);
    return { codes: tf.clone(x), residual };
  };
  const key = { ...resolved, store: configHash(store.manifest), sae: await fingerprint(sae) };
  return await cachedRun<NfmResult>({ kind: "nfm", config: key, cache }, {
    train: async (checkpoint) => {
      const run = { checkpoint, signal, onStep, metadata: { training: key } };
      const data = { store, view: resolved.shuffle ? shuffled(view) : view };
      const { nfm, history, stopped } = await fitNfm(data, resolved, shape, run);
      const metrics = await measureOnResidual({ store, view }, nfm);
      return { nfm, history, metrics, stopped };
    },
    save: async ({ nfm, history, metrics }, dir) => {
      await nfm.save(dir);
      await writeFileAtomic(join(dir, "training.json"), JSON.stringify({ metrics, history }));
    },
    load: async (dir) => {
      const { metrics, history } = JSON.parse(await Deno.readTextFile(join(dir, "training.json")));
      return { nfm: await Nfm.load(dir), metrics, history, stopped: false };
    },
    dispose: ({ nfm }) => nfm.dispose(),
  });
}

/** s3: the residual of the token with the next number of active features, in a circle. */
function shuffled(view: NfmData["view"]): NfmData["view"] {
  return (x) =>
    tf.tidy(() => {
      const { codes, residual } = view(x);
      const values = codes instanceof tf.Tensor ? codes : codes.values;
      const active = tf.sum(tf.cast(tf.notEqual(values, 0), "float32"), 1);
      const tokens = active.shape[0]!;
      // By number, then by place in the batch, which is random in training.
      const order = tf.topk(active, tokens).indices as tf.Tensor1D;
      const next = tf.concat([tf.slice(order, [1], [tokens - 1]), tf.slice(order, [0], [1])]);
      const place = tf.reshape(order, [tokens, 1]);
      const moved = tf.scatterND(place, tf.gather(residual, next), residual.shape);
      return { codes, residual: moved } as never;
    }) as { codes: Codes; residual: tf.Tensor2D };
}

/**
 * The codes that a model of `topN` features sees, and what the dictionary leaves of x. The residual
 * is that of the whole code, whatever `topN` is.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { codesAndResidual, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const sae = new Sae({ architecture: "standard", dIn: 1, dSae: 2 }, {
 *   W_enc: tf.tensor2d([[1, 0.5]]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.tensor2d([[1], [1]]),
 *   b_dec: tf.zeros([1]),
 * });
 * const { codes, residual } = codesAndResidual(sae, tf.tensor2d([[2]]), 1);
 * assertEquals([...await codes.values.data()], [2]); // the largest of 2 and 1
 * assertEquals([...await residual.data()], [2 - 3]); // of the whole code
 * ```
 */
export function codesAndResidual(
  sae: Sae,
  x: tf.Tensor2D,
  topN: number,
): { codes: SparseCodes; residual: tf.Tensor2D } {
  return tf.tidy(() => {
    if (sae.config.architecture === "topk") {
      const all = sae.encodeSparse(x);
      // Largest first: the first columns are the largest.
      const codes = topN === sae.config.k ? all : {
        indices: tf.slice(all.indices, [0, 0], [-1, topN]),
        values: tf.slice(all.values, [0, 0], [-1, topN]),
      };
      return { codes: { ...codes }, residual: tf.sub(x, sae.decodeSparse(all)) };
    }
    const dense = sae.encode(x);
    return { codes: { ...topK(dense, topN) }, residual: tf.sub(x, sae.decode(dense)) };
  }) as { codes: SparseCodes; residual: tf.Tensor2D };
}

/**
 * Makes sure that a model was trained on the codes of this dictionary, weights and all; of a model that
 * was made by hand it cannot tell more than its widths.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { Nfm, openDevice, requireDictionary, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const sae = new Sae({ architecture: "standard", dIn: 1, dSae: 2 }, {
 *   W_enc: tf.ones([1, 2]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.ones([2, 1]),
 *   b_dec: tf.zeros([1]),
 * });
 * const shape = { parts: "linear", dSae: 2, dOut: 1, K: 0, head: "linear", topN: 1 } as const;
 * const metadata = { training: { sae: "0123456789abcdef" } };
 * const nfm = new Nfm(shape, { b: tf.tensor1d([0]), W: tf.tensor2d([[0], [0]]) }, { metadata });
 * await assertRejects(() => requireDictionary(nfm, sae), RangeError, "another dictionary");
 * ```
 *
 * @throws {RangeError} If it was trained on another dictionary.
 */
export async function requireDictionary(nfm: Nfm, sae: Sae): Promise<void> {
  const { training } = nfm.metadata as { training?: { sae?: string; input?: string } };
  const { dSae, dIn } = sae.config;
  const width = training?.input === "activations" ? dIn : dSae;
  const found = await fingerprint(sae);
  const other = training?.sae !== undefined && training.sae !== found;
  if (other || nfm.shape.dSae !== width || nfm.shape.dOut !== dIn) {
    throw new RangeError(
      `Cannot use this model on the codes of a dictionary of ${dSae} features, ${found}: it was ` +
        `trained on another dictionary, ${training?.sae ?? `of ${nfm.shape.dSae} features`}`,
    );
  }
}
