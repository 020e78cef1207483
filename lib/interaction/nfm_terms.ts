/**
 * The terms of a factorization machine on sparse codes, forward and backward.
 *
 * Each term has two ways to the same numbers. With few features for each active one,
 * dense rows with zeros `[tokens, dSae]` turn everything into matrix products:
 *
 *     S = f V,  Q = f² V²,  ∂L/∂V = fᵀ(g ⊙ S) − V ⊙ (f²)ᵀ g
 *
 * With many, the rows of the active features are gathered, `[tokens, n, K]`, and memory
 * and time do not depend on dSae. Nothing is ever of shape `[tokens, dSae, K]`.
 *
 * @module
 */
import { embeddingBag, scatterAddRows, scatterRows, type SparseCodes, tf } from "../tensor/mod.ts";
import type { NfmWeights } from "./nfm.ts";

/**
 * Above this many features for each active one, gathered rows beat dense products with zeros:
 * measured on two cores with 576 columns of W and 64 to 150 of V.
 */
const SPARSE_FROM = { linear: 80, pooled: 40 };

/** Dense rows or gathered ones. */
export type Path = "dense" | "sparse";

/** The faster way for codes of `[tokens, n]` and `dSae` features. */
function fasterPath(codes: SparseCodes, dSae: number, term: "linear" | "pooled"): Path {
  return dSae > SPARSE_FROM[term] * codes.indices.shape[1] ? "sparse" : "dense";
}

/** `f W`, `[tokens, dOut]`. */
export function linearTerm(
  codes: SparseCodes,
  W: tf.Tensor2D,
  path: Path = fasterPath(codes, W.shape[0], "linear"),
): tf.Tensor2D {
  return path === "sparse"
    ? embeddingBag(codes, W)
    : tf.tidy(() => tf.matMul(scatterRows(codes, W.shape[0]), W));
}

/** `∂L/∂W` of `f W` for the gradient `g` of its result, `[dSae, dOut]`. */
export function linearTermGrad(
  codes: SparseCodes,
  g: tf.Tensor2D,
  dSae: number,
  path: Path = fasterPath(codes, dSae, "linear"),
): tf.Tensor2D {
  return tf.tidy(() => {
    if (path === "dense") return tf.matMul(scatterRows(codes, dSae), g, true);
    const [tokens, n] = codes.indices.shape;
    const outer = tf.mul(
      tf.reshape(codes.values, [tokens, n, 1]),
      tf.reshape(g, [tokens, 1, g.shape[1]]),
    );
    return scatterAddRows(codes.indices, outer, dSae);
  });
}

/** `p = ½(S² − Q)` and the `S` that its gradient needs, both `[tokens, K]`. */
export function pooledProducts(
  codes: SparseCodes,
  V: tf.Tensor2D,
  path: Path = fasterPath(codes, V.shape[0], "pooled"),
): { pooled: tf.Tensor2D; S: tf.Tensor2D } {
  return tf.tidy(() => {
    let S: tf.Tensor;
    let Q: tf.Tensor;
    if (path === "dense") {
      const f = scatterRows(codes, V.shape[0]);
      S = tf.matMul(f, V);
      Q = tf.matMul(tf.square(f), tf.square(V));
    } else {
      const terms = weightedRows(codes, V);
      S = tf.sum(terms, 1);
      Q = tf.sum(tf.square(terms), 1);
    }
    const pooled = tf.mul(0.5, tf.sub(tf.square(S), Q));
    return { pooled: pooled as tf.Tensor2D, S: S as tf.Tensor2D };
  });
}

/** `∂L/∂V` of the pooled products for their gradient `g`, `[dSae, K]`. */
export function pooledProductsGrad(
  codes: SparseCodes,
  V: tf.Tensor2D,
  S: tf.Tensor2D,
  g: tf.Tensor2D,
  path: Path = fasterPath(codes, V.shape[0], "pooled"),
): tf.Tensor2D {
  const [tokens, n] = codes.indices.shape;
  const [dSae, K] = V.shape;
  return tf.tidy(() => {
    if (path === "dense") {
      const f = scatterRows(codes, dSae);
      return tf.sub(
        tf.matMul(f, tf.mul(g, S), true),
        tf.mul(V, tf.matMul(tf.square(f), g, true)),
      ) as tf.Tensor2D;
    }
    // ∂p_k/∂v_ik = f_i (S_k − f_i v_ik).
    const others = tf.sub(tf.reshape(S, [tokens, 1, K]), weightedRows(codes, V));
    const rows = tf.mul(
      tf.mul(others, tf.reshape(g, [tokens, 1, K])),
      tf.reshape(codes.values, [tokens, n, 1]),
    );
    return scatterAddRows(codes.indices, rows, dSae);
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
