/**
 * What a factorization machine makes of the codes of stimuli: its terms, and one number a text for
 * each.
 *
 * The numbers are signed. An absolute value folds what changes its sign, and so makes an interaction
 * out of two effects that add: |a − b| is a crossover where a = b.
 *
 * @module
 */
import type { Sae } from "../dictionary/mod.ts";
import type { Nfm } from "../interaction/mod.ts";
import { pooledToOutput } from "../interaction/nfm_terms.ts";
import { keepLargest, tf } from "../tensor/mod.ts";
import type { StimulusCodes } from "./measure.ts";

/** Defects of the study that rows can repeat; see {@linkcode NfmRowsOptions}. */
export type NfmRowDefect = "B1" | "B21" | "B27";

/** How rows are made. */
export interface NfmRowsOptions {
  /** Dimensions of the rows "top K" and "random K". */
  k: { readonly top: number; readonly random: number };
  /**
   * Directions, `[dOut]`, along which the two terms are one number each; their length does not matter.
   * Default: the mean over the outputs.
   */
  along?: { readonly linear?: ArrayLike<number>; readonly interaction?: ArrayLike<number> };
  /** Features that B21 leaves. */
  pair?: readonly number[];
  /**
   * Defects of the study to repeat.
   *
   * - `"B1"`: no product of features. The sum `x·E` takes the place of the pooled products, in the
   *   K rows and as input of the head; and every number is absolute, `|x·E[:,k]|`, the mean over K of
   *   them, and the mean over the outputs of the terms' absolute values.
   * - `"B21"`: all features but those of `pair` are 0.
   * - `"B27"`: biases are part of the rows: of the linear one `b`, of the interaction one what the
   *   head makes of no products.
   */
  faithful?: readonly NfmRowDefect[];
}

/** The terms of each text. */
export interface NfmRows {
  /** `f W`, `[texts, dOut]`, in the units of the residual. */
  readonly linear: Float32Array;
  /** What the head makes of the pooled products beyond what it makes of none, `[texts, dOut]`. */
  readonly interaction: Float32Array;
  /** Pooled products, `[texts, K]`. */
  readonly pooled: Float32Array;
  readonly dOut: number;
  readonly K: number;
  /** One number a text, `[texts]`. */
  readonly summaries: {
    /** The linear term along its direction. */
    readonly linear: Float64Array;
    /** The interaction term along its direction. */
    readonly interaction: Float64Array;
    /** The pooled product of the top K. */
    readonly topK: Float64Array;
    /** The mean of all pooled products. */
    readonly allK: Float64Array;
    /** That of a K drawn at random. */
    readonly randomK: Float64Array;
  };
}

/** Rows at once. */
const BATCH = 64;
/** Texts at once, each of some tokens. */
const BATCH_TEXTS = 32;

/**
 * The terms of a machine for given codes.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { Nfm, nfmRows, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "both", dSae: 2, dOut: 1, K: 1, head: "linear", topN: 2 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.tensor1d([7]),
 *   W: tf.tensor2d([[1], [-1]]),
 *   V: tf.tensor2d([[2], [-3]]),
 *   C: tf.tensor2d([[1]]),
 * });
 * const codes = Float32Array.of(0.5, 1); // one text
 * const k = { top: 0, random: 0 };
 * const { summaries } = await nfmRows(nfm, codes, { k });
 * assertEquals([summaries.linear[0], summaries.topK[0]], [-0.5, 0.5 * 1 * 2 * -3]);
 *
 * // The study's numbers have no product and no sign.
 * const study = await nfmRows(nfm, codes, { k, faithful: ["B1"] });
 * assertAlmostEquals(study.summaries.topK[0], Math.abs(0.5 * 2 - 1 * 3));
 * nfm.dispose();
 * ```
 *
 * @param nfm A machine with both terms.
 * @param codes Features of each text, `[texts, dSae]`, in the dictionary's units; the machine sees the
 * `topN` largest of a text.
 * @param options Which dimensions and directions.
 * @throws {RangeError} If the codes have another width, a dimension, direction or feature does not
 * exist, the machine lacks a term, or B21 has no `pair`.
 */
export async function nfmRows(
  nfm: Nfm,
  codes: Float32Array,
  options: NfmRowsOptions,
): Promise<NfmRows> {
  const { pair, faithful = [] } = options;
  const { dSae, dOut, K } = nfm.shape;
  requireRows(nfm, codes, options);
  const rows = emptyTerms(nfm, codes.length / dSae);
  const seen = faithful.includes("B21") ? twoHot(codes, dSae, pair!) : codes;
  for (let start = 0; start < codes.length / dSae; start += BATCH) {
    const batch = seen.subarray(start * dSae, (start + BATCH) * dSae);
    const terms = termsOf(nfm, tf.tensor2d(batch, [batch.length / dSae, dSae]), faithful);
    for (const name of ["linear", "interaction", "pooled"] as const) {
      const width = name === "pooled" ? K : dOut;
      rows[name].set(await terms[name].data<"float32">(), start * width);
      terms[name].dispose();
    }
  }
  return summarised(rows, nfm, options);
}

/**
 * The terms of a machine for the stimuli of a design: of the code at the target, or of the pooled code
 * where the maximum was measured. Where the mean was measured, the mean of the terms token by token:
 * products of features of one token, not of pooled features that never met.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import {
 *   CELLS,
 *   measureStimuli,
 *   Nfm,
 *   openDevice,
 *   randomModel,
 *   Sae,
 *   type StimulusDesign,
 *   stimulusRows,
 *   tf,
 * } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
 *   W_enc: tf.tensor2d([[1, 0], [0, 1], [1, 0], [0, 1]]),
 *   b_enc: tf.ones([2]),
 *   W_dec: tf.ones([2, 4]),
 *   b_dec: tf.zeros([4]),
 * });
 * const nfm = new Nfm({ parts: "both", dSae: 2, dOut: 4, K: 2, head: "linear", topN: 2 }, {
 *   b: tf.zeros([4]),
 *   W: tf.ones([2, 4]),
 *   V: tf.tensor2d([[2, 1], [-3, 1]]),
 *   C: tf.ones([2, 4]),
 * });
 * const frames = ["1", "2"];
 * const design: StimulusDesign = {
 *   name: "tiny",
 *   path: "tiny.csv",
 *   levels: { a: ["red", "dim"], b: ["sun", "sky"] },
 *   frames,
 *   stimuli: frames.flatMap((frame) =>
 *     CELLS.map(([a, b], row) => {
 *       const text = `${frame} ${a ? "red" : "dim"} ${b ? "sun" : "sky"} on`;
 *       return { design: "tiny", frame, a, b, text, targetSpan: "on", row };
 *     })
 *   ),
 * };
 * const hook = "blocks.0.hook_resid_post";
 * const codes = await measureStimuli(model, sae, design, { hook, at: "mean" });
 * const { interaction } = await stimulusRows({ sae, nfm }, codes, { k: { top: 1, random: 0 } });
 * assertEquals(interaction.length, 8 * 4); // stimuli × dOut
 * nfm.dispose();
 * sae.dispose();
 * ```
 *
 * @param subject The dictionary that the stimuli were measured with, and its machine.
 * @param codes What was measured.
 * @param options As for `nfmRows`.
 * @throws {RangeError} As `nfmRows`, and where B21 is asked of means, which have tokens.
 */
export async function stimulusRows(
  { sae, nfm }: { readonly sae: Sae; readonly nfm: Nfm },
  codes: StimulusCodes,
  options: NfmRowsOptions,
): Promise<NfmRows> {
  const { faithful = [] } = options;
  if (!codes.read) return await nfmRows(nfm, codes.features, options);
  requireRows(nfm, codes.features, options);
  if (faithful.includes("B21")) {
    throw new RangeError('Cannot repeat B21 at the mean, which has tokens: measure at "max"');
  }
  const { dOut, K } = nfm.shape;
  const { x, starts } = codes.read;
  const { dIn } = sae.config;
  const rows = emptyTerms(nfm, starts.length - 1);
  for (let text = 0; text + 1 < starts.length; text += BATCH_TEXTS) {
    const last = Math.min(text + BATCH_TEXTS, starts.length - 1);
    const [from, to] = [starts[text], starts[last]];
    if (from === to) continue;
    const codes = tf.tidy(() =>
      sae.encode(tf.tensor2d(x.subarray(from * dIn, to * dIn), [to - from, dIn]))
    );
    const terms = termsOf(nfm, codes, faithful);
    for (const name of ["linear", "interaction", "pooled"] as const) {
      const width = name === "pooled" ? K : dOut;
      const values = await terms[name].data<"float32">();
      terms[name].dispose();
      for (let t = text; t < last; t++) {
        const count = starts[t + 1] - starts[t];
        for (let i = (starts[t] - from) * width; i < (starts[t + 1] - from) * width; i++) {
          rows[name][t * width + i % width] += values[i] / count;
        }
      }
    }
  }
  return summarised(rows, nfm, options);
}

type Terms = Record<"linear" | "interaction" | "pooled", Float32Array>;

function emptyTerms({ shape: { dOut, K } }: Nfm, texts: number): Terms {
  return {
    linear: new Float32Array(texts * dOut),
    interaction: new Float32Array(texts * dOut),
    pooled: new Float32Array(texts * K),
  };
}

/** Terms with one number a text for each. */
function summarised(
  rows: Terms,
  { shape: { dOut, K } }: Nfm,
  { k, along = {}, faithful = [] }: NfmRowsOptions,
): NfmRows {
  const texts = rows.pooled.length / K;
  const absolute = faithful.includes("B1");
  const column = (at: number) =>
    each(texts, (i) => absolute ? Math.abs(rows.pooled[i * K + at]) : rows.pooled[i * K + at]);
  const average = { absolute, direction: undefined };
  const summary = (name: "linear" | "interaction") =>
    weighted(rows[name], dOut, absolute ? average : { absolute, direction: along[name] });
  return {
    ...rows,
    dOut,
    K,
    summaries: {
      linear: summary("linear"),
      interaction: summary("interaction"),
      topK: column(k.top),
      allK: weighted(rows.pooled, K, average),
      randomK: column(k.random),
    },
  };
}

/** The terms of some texts, the caller's. */
function termsOf(nfm: Nfm, dense: tf.Tensor2D, faithful: readonly NfmRowDefect[]) {
  const { weights: { b, W, V }, scales, shape: { topN, dSae, K } } = nfm;
  const withBias = faithful.includes("B27");
  return tf.tidy(() => {
    const kept = topN < dSae ? keepLargest(dense, topN) : dense;
    const f = tf.mul(kept, scales.code) as tf.Tensor2D;
    const products = tf.matMul(f, W!);
    const linear = tf.mul(withBias ? tf.add(products, b) : products, scales.target);
    const sum = tf.matMul(f, V!);
    const pooled = faithful.includes("B1") ? sum : tf.mul(
      0.5,
      tf.sub(tf.square(sum), tf.matMul(tf.square(f), tf.square(V!))),
    );
    const out = pooledToOutput(nfm.weights, pooled as tf.Tensor2D);
    const constant = pooledToOutput(nfm.weights, tf.zeros([1, K]));
    const interaction = tf.mul(withBias ? out : tf.sub(out, constant), scales.target);
    dense.dispose();
    return { linear, interaction, pooled };
  });
}

/** Codes without the other features. */
function twoHot(codes: Float32Array, dSae: number, pair: readonly number[]): Float32Array {
  const kept = new Float32Array(codes.length);
  for (let row = 0; row < codes.length; row += dSae) {
    for (const feature of pair) kept[row + feature] = codes[row + feature];
  }
  return kept;
}

/** One number a row: along a direction of length 1, or the mean. */
function weighted(
  matrix: Float32Array,
  width: number,
  { direction, absolute }: { direction?: ArrayLike<number>; absolute: boolean },
): Float64Array {
  const length = direction && Math.sqrt(Array.from(direction).reduce((sum, x) => sum + x * x, 0));
  return each(matrix.length / width, (row) => {
    let sum = 0;
    for (let i = 0; i < width; i++) {
      const value = matrix[row * width + i];
      const weight = direction ? direction[i] / (length || 1) : 1 / width;
      sum += weight * (absolute ? Math.abs(value) : value);
    }
    return sum;
  });
}

const each = (count: number, f: (i: number) => number) =>
  Float64Array.from({ length: count }, (_, i) => f(i));

function requireRows(
  { shape: { parts, dSae, dOut, K } }: Nfm,
  codes: Float32Array,
  { k, along = {}, pair, faithful = [] }: NfmRowsOptions,
): void {
  if (parts !== "both") {
    throw new RangeError(
      `Cannot compare the terms of a model of parts "${parts}": expected one of parts "both"`,
    );
  }
  if (codes.length === 0 || codes.length % dSae !== 0) {
    throw new RangeError(
      `Cannot read ${codes.length} numbers as codes: expected rows of ${dSae}, a number a feature`,
    );
  }
  for (const [name, at] of Object.entries(k)) {
    if (!Number.isInteger(at) || at < 0 || at >= K) {
      throw new RangeError(`Cannot use ${name} K = ${at}: expected an integer in 0…${K - 1}`);
    }
  }
  for (const [name, direction] of Object.entries(along)) {
    if (direction !== undefined && direction.length !== dOut) {
      throw new RangeError(
        `Cannot project the ${name} term on ${direction.length} elements: expected ${dOut}`,
      );
    }
  }
  if (faithful.includes("B21")) {
    const known = (feature: number) => Number.isInteger(feature) && feature >= 0 && feature < dSae;
    if (!pair || pair.length === 0 || !pair.every(known)) {
      throw new RangeError(
        `Cannot repeat B21 with the features ${pair ?? "undefined"}: give pair, numbers in ` +
          `0…${dSae - 1}`,
      );
    }
  }
}
