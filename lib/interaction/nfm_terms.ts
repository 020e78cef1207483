/**
 * The terms of a factorization machine on sparse codes, forward and backward.
 *
 * Each term has two ways to the same numbers. With few features for each active one,
 * dense rows with zeros `[tokens, dSae]` turn everything into matrix products:
 *
 *     S = f V,  Q = f² V²,  ∂L/∂V = fᵀ(g ⊙ S) − V ⊙ (f²)ᵀ g
 *
 * With many, the rows of the active features are gathered, `[tokens, n, K]`, and memory
 * and time do not depend on dSae. Nothing is ever of shape `[tokens, dSae, K]`. Where TensorFlow runs
 * on a CPU, `nfm_graph.ts` does the same without copies of rows.
 *
 * @module
 */
import type { Codes } from "../metrics/mod.ts";
import { embeddingBag, scatterAddRows, scatterRows, type SparseCodes, tf } from "../tensor/mod.ts";
import { canRunGraphs } from "../tensor/graph.ts";
import type { NfmWeights } from "./nfm.ts";
import { runPoolingGraph } from "./nfm_graph.ts";

/**
 * Above this many features for each active one, gathered rows beat dense products with zeros:
 * measured on two cores with 576 columns of W and 64 to 150 of V.
 */
const SPARSE_FROM = 40;

/** Dense rows or gathered ones. */
export type Path = "dense" | "sparse";

/** The faster way for codes of `n` pairs a token and `dSae` features. */
export function fasterPath(n: number, dSae: number): Path {
  return dSae > SPARSE_FROM * n ? "sparse" : "dense";
}

/** The features that a batch uses, and where each of its entries finds its feature among them. */
export interface UsedRows {
  /** Their numbers, each once, int32 `[used]`. */
  readonly rows: tf.Tensor1D;
  /** The place in `rows` of each entry's feature, int32 `[tokens, n]`; 0 where the value is 0. */
  readonly slots: tf.Tensor2D;
}

/**
 * Finds them, in the order of their first use. What has the value 0 is not used.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, usedRows } from "interlens";
 *
 * await openDevice();
 * const codes = {
 *   indices: tf.tensor2d([[7, 3], [3, 0]], [2, 2], "int32"),
 *   values: tf.tensor2d([[1, 2], [3, 0]]),
 * };
 * const { rows, slots } = await usedRows(codes, 9);
 * assertEquals([...await rows.data()], [7, 3]);
 * assertEquals([...await slots.data()], [0, 1, 1, 0]);
 * ```
 *
 * @param codes Index and value pairs, `[tokens, n]`.
 * @param dSae Number of features.
 * @returns The caller's.
 */
export async function usedRows(codes: SparseCodes, dSae: number): Promise<UsedRows> {
  const [indices, values] = await Promise.all([
    codes.indices.data<"int32">(),
    codes.values.data<"float32">(),
  ]);
  const place = new Int32Array(dSae); // counted from 1
  const slots = new Int32Array(indices.length);
  const rows = new Int32Array(Math.min(dSae, indices.length));
  let used = 0;
  for (let i = 0; i < indices.length; i++) {
    if (values[i] === 0) continue;
    const feature = indices[i];
    if (place[feature] === 0) {
      rows[used] = feature;
      place[feature] = ++used;
    }
    slots[i] = place[feature] - 1;
  }
  // A batch without any active feature still needs a row for its slots to name.
  const found = rows.slice(0, Math.max(1, used));
  return {
    rows: tf.tensor1d(found, "int32"),
    slots: tf.tensor2d(slots, codes.indices.shape, "int32"),
  };
}

/** The faster way for these codes. Dense ones, such as activations themselves, have one. */
function pathOf(codes: Codes, dSae: number): Path {
  return codes instanceof tf.Tensor ? "dense" : fasterPath(codes.indices.shape[1], dSae);
}

/** `f`, `[tokens, dSae]`. */
const denseRows = (codes: Codes, dSae: number) =>
  codes instanceof tf.Tensor ? codes : scatterRows(codes, dSae);

/** Index and value pairs; dense codes never get here. */
const pairsOf = (codes: Codes) => codes as SparseCodes;

/** `f W`, `[tokens, dOut]`. */
export function linearTerm(
  codes: Codes,
  W: tf.Tensor2D,
  path: Path = pathOf(codes, W.shape[0]),
): tf.Tensor2D {
  return path === "sparse"
    ? embeddingBag(pairsOf(codes), W)
    : tf.tidy(() => tf.matMul(denseRows(codes, W.shape[0]), W));
}

/** `∂L/∂W` of `f W` for the gradient `g` of its result, `[dSae, dOut]`. */
export function linearTermGrad(
  codes: Codes,
  g: tf.Tensor2D,
  dSae: number,
  path: Path = pathOf(codes, dSae),
): tf.Tensor2D {
  return tf.tidy(() => {
    if (path === "dense") return tf.matMul(denseRows(codes, dSae), g, true);
    const { indices, values } = pairsOf(codes);
    const [tokens, n] = indices.shape;
    const outer = tf.mul(
      tf.reshape(values, [tokens, n, 1]),
      tf.reshape(g, [tokens, 1, g.shape[1]]),
    );
    return scatterAddRows(indices, outer, dSae);
  });
}

/** `p = ½(S² − Q)` and the `S` that its gradient needs, both `[tokens, K]`. */
export function pooledProducts(
  codes: Codes,
  V: tf.Tensor2D,
  path: Path = pathOf(codes, V.shape[0]),
): { pooled: tf.Tensor2D; S: tf.Tensor2D } {
  if (path === "sparse" && canRunGraphs()) return runPoolingGraph(pairsOf(codes), V);
  return tf.tidy(() => {
    let S: tf.Tensor;
    let Q: tf.Tensor;
    if (path === "dense") {
      const f = denseRows(codes, V.shape[0]);
      S = tf.matMul(f, V);
      Q = tf.matMul(tf.square(f), tf.square(V));
    } else {
      const terms = weightedRows(pairsOf(codes), V);
      S = tf.sum(terms, 1);
      Q = tf.sum(tf.square(terms), 1);
    }
    const pooled = tf.mul(0.5, tf.sub(tf.square(S), Q));
    return { pooled: pooled as tf.Tensor2D, S: S as tf.Tensor2D };
  });
}

/** `∂L/∂V` of the pooled products for their gradient `g`, `[dSae, K]`. */
export function pooledProductsGrad(
  codes: Codes,
  V: tf.Tensor2D,
  S: tf.Tensor2D,
  g: tf.Tensor2D,
  path: Path = pathOf(codes, V.shape[0]),
): tf.Tensor2D {
  const [dSae, K] = V.shape;
  return tf.tidy(() => {
    if (path === "dense") {
      const f = denseRows(codes, dSae);
      return tf.sub(
        tf.matMul(f, tf.mul(g, S), true),
        tf.mul(V, tf.matMul(tf.square(f), g, true)),
      ) as tf.Tensor2D;
    }
    const { indices, values } = pairsOf(codes);
    const [tokens, n] = indices.shape;
    // ∂p_k/∂v_ik = f_i (S_k − f_i v_ik).
    const others = tf.sub(tf.reshape(S, [tokens, 1, K]), weightedRows({ indices, values }, V));
    const rows = tf.mul(
      tf.mul(others, tf.reshape(g, [tokens, 1, K])),
      tf.reshape(values, [tokens, n, 1]),
    );
    return scatterAddRows(indices, rows, dSae);
  });
}

/** `f_i v_ik` of the active features, `[tokens, n, K]`. */
function weightedRows(codes: SparseCodes, V: tf.Tensor2D): tf.Tensor {
  const [tokens, n] = codes.indices.shape;
  return tf.mul(tf.gather(V, codes.indices), tf.reshape(codes.values, [tokens, n, 1]));
}

/** The head: `[tokens, K]` to `[tokens, dOut]`. */
export function pooledToOutput(weights: NfmWeights, pooled: tf.Tensor2D): tf.Tensor2D {
  const { C, W1, b1, W2 } = weights;
  if (C) return tf.matMul(pooled, C);
  return tf.tidy(() => tf.matMul(tf.relu(tf.add(tf.matMul(pooled, W1!), b1!)), W2!));
}
