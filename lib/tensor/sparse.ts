/**
 * Products with sparse codes: k index and value pairs a token instead of a row of
 * d_sae numbers.
 *
 * An entry that is not used is index 0 with value 0. No function here makes a
 * tensor of shape `[tokens, k, d_sae]` or `[tokens, d_sae, K]`, and the gradients
 * are the closed forms, so that memory is `[tokens, k, columns]` at most.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import { int64, isNative, isOnGpu, rawOp } from "./native.ts";

/** The active features of each token. */
export interface SparseCodes {
  /** Feature numbers, int32 `[tokens, k]`. */
  readonly indices: tf.Tensor2D;
  /** Their activations, float32 `[tokens, k]`. */
  readonly values: tf.Tensor2D;
}

/** What a sparse product is differentiated by. */
export interface SparseOptions {
  /** True where the codes come from a frozen dictionary: their gradient is not computed. Default false. */
  frozenCodes?: boolean;
}

/**
 * The `k` largest entries of each row, largest first.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, topK } from "interlens";
 *
 * await openDevice();
 * const { indices, values } = topK(tf.tensor2d([[1, 5, 3]]), 2);
 * assertEquals([[...await indices.data()], [...await values.data()]], [[1, 2], [5, 3]]);
 * ```
 *
 * @param x `[tokens, features]`.
 * @param k How many to keep.
 * @throws {RangeError} If `k` is not in 1…features.
 */
export function topK(x: tf.Tensor2D, k: number): SparseCodes {
  const features = x.shape[1];
  if (!Number.isInteger(k) || k < 1 || k > features) {
    throw new RangeError(
      `Cannot take the top ${k} of ${features} features: k must be in 1…${features}`,
    );
  }
  const { values, indices } = tf.topk(x, k);
  return { values, indices: indices as tf.Tensor2D };
}

/**
 * The `k` largest entries of each row, in their places; the others become 0. Its gradient passes to
 * the entries that are kept and not 0.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { keepLargest, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * assertEquals([...await keepLargest(tf.tensor2d([[3, 0, 5, 4]]), 2).data()], [0, 0, 5, 4]);
 * ```
 *
 * @param x At least 0, `[…, features]`.
 * @param k How many to keep.
 * @returns The same shape.
 * @throws {RangeError} If `k` is not in 1…features.
 */
export function keepLargest<T extends tf.Tensor>(x: T, k: number): T {
  const features = x.shape.at(-1)!;
  // The selection has no gradient in tfjs.
  return tf.customGrad((_, save) => {
    const rows = tf.reshape(x, [-1, features]) as tf.Tensor2D;
    const value = tf.reshape(scatterRows(topK(rows, k), features), x.shape);
    (save as unknown as (tensors: tf.Tensor[]) => void)([value]);
    return {
      value,
      gradFunc: (dy: tf.Tensor, [value]: tf.Tensor[]) => tf.mul(dy, tf.step(value)),
    };
  })(x) as T;
}

/**
 * Dense rows from sparse codes; entries with one index are added.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, scatterRows, tf } from "interlens";
 *
 * await openDevice();
 * const codes = { indices: tf.tensor2d([[2, 0]], [1, 2], "int32"), values: tf.tensor2d([[5, 7]]) };
 * assertEquals([...await scatterRows(codes, 4).data()], [7, 0, 5, 0]);
 * ```
 *
 * @returns `[tokens, features]`.
 */
export function scatterRows(codes: SparseCodes, features: number): tf.Tensor2D {
  return tf.tidy(() => {
    const [tokens, k] = codes.indices.shape;
    const token = tf.tile(
      tf.reshape(tf.range(0, tokens, 1, "int32"), [tokens, 1]),
      [1, k],
    );
    const where = tf.stack([token, codes.indices], 2);
    return tf.scatterND(
      tf.reshape(where, [tokens * k, 2]),
      tf.reshape(codes.values, [tokens * k]),
      [tokens, features],
    ) as tf.Tensor2D;
  });
}

/**
 * The sum of a matrix' rows, weighted by sparse codes: `codes · W`.
 *
 *     out_b = Σ_j values_bj · W[indices_bj]
 *     ∂L/∂values_bj = ⟨g_b, W[indices_bj]⟩,  ∂L/∂W_i = Σ_{bj: indices_bj = i} values_bj · g_b
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { embeddingBag, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const W = tf.tensor2d([[1, 0], [0, 1], [1, 1]]);
 * const codes = { indices: tf.tensor2d([[0, 2]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * assertEquals([...await embeddingBag(codes, W).data()], [5, 3]);
 * ```
 *
 * @param codes Sparse codes of `[tokens, features]`.
 * @param W `[features, columns]`.
 * @returns `[tokens, columns]`. Differentiable in `W`, and in the values unless they are frozen.
 */
export function embeddingBag(
  codes: SparseCodes,
  W: tf.Tensor2D,
  options: SparseOptions = {},
): tf.Tensor2D {
  const [tokens, k] = codes.indices.shape;
  const [features, columns] = W.shape;
  return withGradients(codes, W, options, {
    forward: ({ indices, values, W }) => ({
      output: tf.reshape(
        tf.matMul(tf.reshape(values, [tokens, 1, k]), tf.gather(W, indices)),
        [tokens, columns],
      ),
      saved: [],
    }),
    valuesGradient: (g, { indices, W }) =>
      tf.reshape(
        tf.matMul(tf.gather(W, indices), tf.reshape(g, [tokens, columns, 1])),
        [tokens, k],
      ),
    weightsGradient: (g, { indices, values }) =>
      transposedProduct({ indices, values: values as tf.Tensor2D }, g as tf.Tensor2D, features),
  });
}

/**
 * Sparse codes, transposed, times a matrix: `out_i = Σ_{bj: indices_bj = i} values_bj · x_b`, as in the
 * gradient of an embedding bag. It has no gradient itself.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, transposedProduct } from "interlens";
 *
 * await openDevice();
 * const codes = { indices: tf.tensor2d([[0, 2]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * const product = transposedProduct(codes, tf.tensor2d([[1, 10]]), 3);
 * assertEquals([...await product.data()], [2, 20, 0, 0, 3, 30]);
 * ```
 *
 * @param codes Sparse codes of `[tokens, features]`.
 * @param x `[tokens, columns]`.
 * @param features Rows of the result.
 * @returns `[features, columns]`.
 */
export function transposedProduct(
  codes: SparseCodes,
  x: tf.Tensor2D,
  features: number,
): tf.Tensor2D {
  const { indices, values } = codes;
  const [tokens, k] = indices.shape;
  return tf.tidy(() => {
    if (!isNative() || isOnGpu()) {
      const rows = tf.mul(tf.expandDims(values, 2), tf.expandDims(x, 1));
      return scatterAddRows(indices, rows, features);
    }
    // On a CPU, TensorFlow's product is as fast as the sum of rows alone, and nothing of
    // [tokens, k, columns] has to be made for it.
    const token = tf.tile(tf.reshape(tf.range(0, tokens, 1, "int32"), [tokens, 1]), [1, k]);
    const where = tf.reshape(tf.stack([token, indices], 2), [tokens * k, 2]);
    return rawOp("SparseTensorDenseMatMul", {
      T: { dtype: "float32" },
      Tindices: { dtype: "int32" },
      adjoint_a: true,
      adjoint_b: false,
    }, [where, tf.reshape(values, [tokens * k]), int64([tokens, features]), x]) as tf.Tensor2D;
  });
}

/**
 * Bi-interaction pooling of a factorization machine (He & Chua, 2017, eq. 3-4):
 * the sum over all pairs of active features, `K` numbers a token.
 *
 *     p_k = Σ_{i<j} f_i f_j v_ik v_jk = ½(S_k² - Q_k),  S_k = Σ f_i v_ik,  Q_k = Σ (f_i v_ik)²
 *     ∂L/∂v_ik = f_i g_k (S_k - f_i v_ik),  ∂L/∂f_i = Σ_k g_k v_ik (S_k - f_i v_ik)
 *
 * One active feature gives 0. Only `S` is kept for the backward pass.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { bilinearPool, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const V = tf.tensor2d([[1, 2], [3, 4], [5, 6]]);
 * const codes = { indices: tf.tensor2d([[0, 2]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * assertEquals([...await bilinearPool(codes, V).data()], [2 * 3 * 1 * 5, 2 * 3 * 2 * 6]);
 * ```
 *
 * @param codes Sparse codes of `[tokens, features]`.
 * @param V Embeddings, `[features, K]`.
 * @returns `[tokens, K]`. Differentiable in `V`, and in the values unless they are frozen.
 */
export function bilinearPool(
  codes: SparseCodes,
  V: tf.Tensor2D,
  options: SparseOptions = {},
): tf.Tensor2D {
  const [tokens, k] = codes.indices.shape;
  const [features, K] = V.shape;
  const terms = ({ indices, values, W }: Operands) =>
    tf.mul(tf.gather(W, indices), tf.reshape(values, [tokens, k, 1]));
  // g_k (S_k - f_i v_ik), the factor that both gradients share: [tokens, k, K].
  const shared = (g: tf.Tensor, S: tf.Tensor, given: Operands) =>
    tf.mul(
      tf.sub(tf.reshape(S, [tokens, 1, K]), terms(given)),
      tf.reshape(g, [tokens, 1, K]),
    );
  return withGradients(codes, V, options, {
    forward: (given) => {
      const products = terms(given);
      const S = tf.sum(products, 1);
      const output = tf.mul(0.5, tf.sub(tf.square(S), tf.sum(tf.square(products), 1)));
      return { output, saved: [S] };
    },
    valuesGradient: (g, given, [S]) =>
      tf.sum(tf.mul(shared(g, S, given), tf.gather(given.W, given.indices)), 2),
    weightsGradient: (g, given, [S]) =>
      scatterAddRows(
        given.indices,
        tf.mul(shared(g, S, given), tf.reshape(given.values, [tokens, k, 1])),
        features,
      ),
  });
}

/** What a sparse product is made of. */
interface Operands {
  readonly indices: tf.Tensor2D;
  readonly values: tf.Tensor;
  readonly W: tf.Tensor;
}

interface Differentiable {
  /** The product, and intermediate tensors that the gradients need again. */
  forward(given: Operands): { output: tf.Tensor; saved: tf.Tensor[] };
  valuesGradient(g: tf.Tensor, given: Operands, saved: tf.Tensor[]): tf.Tensor;
  weightsGradient(g: tf.Tensor, given: Operands, saved: tf.Tensor[]): tf.Tensor;
}

function withGradients(
  { indices, values }: SparseCodes,
  W: tf.Tensor2D,
  { frozenCodes = false }: SparseOptions,
  { forward, valuesGradient, weightsGradient }: Differentiable,
): tf.Tensor2D {
  const inputs = frozenCodes ? [W] : [values, W];
  const op = tf.customGrad((...args) => {
    const save = args.pop() as unknown as (tensors: tf.Tensor[]) => void;
    const { output, saved } = forward({ indices, values, W });
    // Saved, since codes that are computed in the same pass are gone when their gradient is.
    save([indices, values, W, ...saved]);
    return {
      value: output,
      gradFunc: (g: tf.Tensor, [indices, values, W, ...saved]: tf.Tensor[]) => {
        const given = { indices: indices as tf.Tensor2D, values, W };
        const gradient = weightsGradient(g, given, saved);
        return frozenCodes ? [gradient] : [valuesGradient(g, given, saved), gradient];
      },
    };
  });
  return op(...inputs) as tf.Tensor2D;
}

/**
 * Adds rows into a matrix of zeros: `out[indices_bj] += rows_bj`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, scatterAddRows, tf } from "interlens";
 *
 * await openDevice();
 * const sum = scatterAddRows(tf.tensor2d([[2, 2]], [1, 2], "int32"), tf.tensor3d([[[1], [4]]]), 3);
 * assertEquals([...await sum.data()], [0, 0, 5]);
 * ```
 *
 * @param indices int32 `[tokens, k]`.
 * @param rows `[tokens, k, columns]`.
 * @param features Rows of the result.
 * @returns `[features, columns]`.
 */
export function scatterAddRows(
  indices: tf.Tensor2D,
  rows: tf.Tensor,
  features: number,
): tf.Tensor2D {
  const [tokens, k, columns] = rows.shape;
  return tf.tidy(() => {
    const flat = tf.reshape(rows, [tokens * k, columns]);
    // TensorFlow's segment sum runs in parallel and its scatter does not; wasm only has the scatter.
    return (isNative()
      ? tf.unsortedSegmentSum(flat, tf.reshape(indices, [tokens * k]), features)
      : tf.scatterND(tf.reshape(indices, [tokens * k, 1]), flat, [
        features,
        columns,
      ])) as tf.Tensor2D;
  });
}
