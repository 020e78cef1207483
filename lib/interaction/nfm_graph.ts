/**
 * A step of a factorization machine as one TensorFlow graph, on a CPU. The portable twin, which says
 * what is computed, is in `nfm_terms.ts`; a test compares the two in value and gradient.
 *
 * Codes are a compressed sparse matrix, and TensorFlow multiplies it with a dense one row by row, on
 * all cores, without a copy of a row: nothing is of shape `[tokens, dSae]` or `[tokens, n, K]`. In
 * the gradient of V,
 *
 *     ∂L/∂v_i = Σ_b f_bi (g_b ⊙ S_b) − v_i ⊙ Σ_b f_bi² g_b
 *
 * both sums are products of the transposed codes with matrices of `[tokens, K]`, which stay in the
 * cache. Of the forward pass only S is needed, and the rows of V in use.
 *
 * @module
 */
import type { SparseCodes, tf } from "../tensor/mod.ts";
import { type CompiledGraph, Graph, type GraphTensor } from "../tensor/graph.ts";
import type { NfmWeights } from "./nfm.ts";

/** What a step of a graph gives; owned by the caller. */
export interface GraphStep {
  loss: tf.Scalar;
  /** By parameter name. */
  grads: Record<string, tf.Tensor>;
}

/**
 * Loss and gradients.
 *
 * @param weights Parameters; of `W` and `V`, the rows in use.
 * @param codes Entries, their indices numbers of these rows.
 */
export function runStepGraph(
  weights: NfmWeights,
  { indices, values }: SparseCodes,
  target: tf.Tensor2D,
  keep?: tf.Tensor2D,
): GraphStep {
  const given = { ...weights, indices, values, target, keep };
  const { graph, loss, grads } = cached("step", given, buildStep);
  const names = Object.keys(grads);
  const [value, ...found] = graph.run(given, [loss, ...names.map((name) => grads[name])]);
  return {
    loss: value as tf.Scalar,
    grads: Object.fromEntries(names.map((name, i) => [name, found[i]])),
  };
}

/** `p = ½(S² − Q)` and `S`, both `[tokens, K]`. */
export function runPoolingGraph(
  codes: SparseCodes,
  V: tf.Tensor2D,
): { pooled: tf.Tensor2D; S: tf.Tensor2D } {
  const given = { ...codes, V };
  const { graph, pooled, S } = cached("pooling", given, buildPooling);
  const [p, s] = graph.run(given, [pooled, S]);
  return { pooled: p as tf.Tensor2D, S: s as tf.Tensor2D };
}

type Given = Partial<Record<string, tf.Tensor>>;

/** Graphs by the inputs that they were built for: they hold no weights and no sizes. */
const graphs = new Map<string, unknown>();

function cached<T>(kind: string, given: Given, build: (given: Given) => T): T {
  const key = [kind, ...Object.keys(given).filter((name) => given[name])].join();
  let graph = graphs.get(key) as T | undefined;
  if (!graph) graphs.set(key, graph = build(given));
  return graph;
}

function buildStep(given: Given) {
  const b = new Builder();
  const { g } = b;
  const input = (name: string) => given[name] && g.input(name);
  const [W, V, C, W1, b1, W2, keep] = ["W", "V", "C", "W1", "b1", "W2", "keep"].map(input);
  const target = g.input("target");
  const count = b.rowCount((W ?? V)!, "float32");
  const codes = b.codes(g.input("indices", "int32"), g.input("values"), count);
  const transposed = b.transposeSparse(codes.matrix);

  let prediction = b.add(g.op("ZerosLike", [target]), g.input("b"));
  if (W) prediction = b.add(prediction, b.sparseMatMul(codes.matrix, W));
  const pairs = V && b.pooling(codes, V);
  const pooled = pairs && (keep ? b.mul(pairs.pooled, keep) : pairs.pooled);
  const hidden = W1 && g.op("Relu", [b.add(b.matMul(pooled!, W1), b1!)]);
  if (pooled) prediction = b.add(prediction, b.matMul(hidden ?? pooled, (W2 ?? C)!));
  const error = b.sub(prediction, target);
  const loss = b.mean(g.op("Square", [error]));
  const error2 = b.mul(error, b.overSize(error, 2)); // ∂L/∂prediction

  const grads: Record<string, GraphTensor> = { b: b.sumRows(error2) };
  if (W) grads.W = b.sparseMatMul(transposed, error2);
  if (pairs) {
    let gPooled = b.matMul(error2, (W2 ?? C)!, false, true);
    if (hidden) {
      grads.W2 = b.matMul(hidden, error2, true);
      const gHidden = g.op("ReluGrad", [gPooled, hidden]);
      grads.W1 = b.matMul(pooled!, gHidden, true);
      grads.b1 = b.sumRows(gHidden);
      gPooled = b.matMul(gHidden, W1!, false, true);
    } else grads.C = b.matMul(pooled!, error2, true);
    if (keep) gPooled = b.mul(gPooled, keep);
    const own = b.mul(pairs.V, b.sparseMatMul(b.transposeSparse(codes.squares), gPooled));
    grads.V = b.sub(b.sparseMatMul(transposed, b.mul(gPooled, pairs.S)), own);
  }
  return { graph: g.compile() as CompiledGraph, loss, grads };
}

function buildPooling() {
  const b = new Builder();
  const { g } = b;
  const indices = g.input("indices", "int32");
  const rows = g.op("Unique", [b.flatten(indices, "int32")], { T: "int32", out_idx: "int32" });
  const count = b.rowCount(rows, "int32");
  const codes = b.codes(`${rows}:1`, g.input("values"), count, indices);
  const { pooled, S } = b.pooling(codes, b.gather(g.input("V"), rows));
  return { graph: g.compile(), pooled, S };
}

/** Codes in a graph, `[tokens, columns]`, and their squares. */
interface GraphCodes {
  readonly matrix: GraphTensor;
  readonly squares: GraphTensor;
}

const INT = { T: "int32" } as const;

/** Ops of TensorFlow that a step is made of. */
class Builder {
  readonly g = new Graph();
  readonly #none = this.g.op("Slice", [0, 0, 0].map((n) => this.g.ints(n)), {
    ...INT,
    Index: "int32",
  });

  add = (x: GraphTensor, y: GraphTensor) => this.g.op("AddV2", [x, y]);
  sub = (x: GraphTensor, y: GraphTensor) => this.g.op("Sub", [x, y]);
  mul = (x: GraphTensor, y: GraphTensor) => this.g.op("Mul", [x, y]);

  matMul(x: GraphTensor, y: GraphTensor, transposeX = false, transposeY = false): GraphTensor {
    return this.g.op("MatMul", [x, y], {
      T: "float32",
      transpose_a: transposeX,
      transpose_b: transposeY,
    });
  }

  sumRows(x: GraphTensor): GraphTensor {
    const attributes = { T: "float32", Tidx: "int32", keep_dims: false } as const;
    return this.g.op("Sum", [x, this.g.ints(0)], attributes);
  }

  mean(x: GraphTensor): GraphTensor {
    const attributes = { T: "float32", Tidx: "int32", keep_dims: false } as const;
    return this.g.op("Mean", [x, this.g.ints(0, 1)], attributes);
  }

  /** `factor` over the number of elements, a scalar. */
  overSize(x: GraphTensor, factor: number): GraphTensor {
    const size = this.g.op("Size", [x], { T: "float32", out_type: "int32" });
    const cast = { SrcT: "int32", DstT: "float32", Truncate: false } as const;
    return this.g.op("RealDiv", [this.g.scalar(factor), this.g.op("Cast", [size], cast)]);
  }

  flatten(x: GraphTensor, type: "int32" | "float32"): GraphTensor {
    return this.g.op("Reshape", [x, this.g.ints(-1)], { T: type, Tshape: "int32" });
  }

  /** First dimension, int32 `[1]`. */
  rowCount(x: GraphTensor, type: "int32" | "float32"): GraphTensor {
    return this.g.slice(this.g.op("Shape", [x], { T: type, out_type: "int32" }), 0, 1);
  }

  gather(x: GraphTensor, rows: GraphTensor): GraphTensor {
    const types = { Tparams: "float32", Tindices: "int32", Taxis: "int32", batch_dims: 0 } as const;
    return this.g.op("GatherV2", [x, rows, this.#int(this.g.ints(0))], types);
  }

  /** `½(S² − Q)` of rows V that the codes name. */
  pooling(codes: GraphCodes, V: GraphTensor) {
    const S = this.sparseMatMul(codes.matrix, V);
    const Q = this.sparseMatMul(codes.squares, this.g.op("Square", [V]));
    const pooled = this.mul(this.g.scalar(0.5), this.sub(this.g.op("Square", [S]), Q));
    return { S, pooled, V };
  }

  /**
   * Index and value pairs as a compressed sparse matrix.
   *
   * @param slots Columns of the entries, int32, `[tokens, n]` or flat.
   * @param values `[tokens, n]`.
   * @param columns Number of columns, int32 `[1]`.
   * @param like A tensor of `[tokens, n]`.
   */
  codes(slots: GraphTensor, values: GraphTensor, columns: GraphTensor, like = slots): GraphCodes {
    const { g } = this;
    const tokens = this.rowCount(like, "int32");
    const zero = g.ints(0), one = g.ints(1);
    const count = [zero, tokens, one].map((x) => this.#int(x));
    const token = g.op("Range", count, { Tidx: "int32" });
    const column = g.op("Reshape", [token, g.ints(-1, 1)], { ...INT, Tshape: "int32" });
    const each = g.op("AddV2", [g.op("ZerosLike", [like], INT), column], INT);
    const places = [this.flatten(each, "int32"), this.flatten(slots, "int32")];
    const cast = { SrcT: "int32", DstT: "int64", Truncate: false } as const;
    const where = g.op("Cast", [g.op("Pack", places, { ...INT, N: 2, axis: 1 })], cast);
    const shape = g.op("Cast", [g.concat([tokens, columns], 0, "int32")], cast);
    const flat = this.flatten(values, "float32");
    const sparse = (values: GraphTensor) =>
      g.op("SparseTensorToCSRSparseMatrix", [where, values, shape]);
    return { matrix: sparse(flat), squares: sparse(g.op("Square", [flat])) };
  }

  transposeSparse(matrix: GraphTensor): GraphTensor {
    return this.g.op("SparseMatrixTranspose", [matrix], { conjugate: false, type: "float32" });
  }

  sparseMatMul(matrix: GraphTensor, dense: GraphTensor): GraphTensor {
    return this.g.op("SparseMatrixMatMul", [matrix, dense], {
      T: "float32",
      transpose_a: false,
      transpose_b: false,
      adjoint_a: false,
      adjoint_b: false,
      transpose_output: false,
      conjugate_output: false,
    });
  }

  /** A scalar of an int32 `[1]`. */
  #int(x: GraphTensor): GraphTensor {
    return this.g.op("Reshape", [x, this.#none], { ...INT, Tshape: "int32" });
  }
}
