/**
 * The best affine map from codes to residual, in closed form: rung R1 of every ladder.
 *
 * A dictionary's decoder is one linear map of its codes; refitting it by least squares
 * removes shrinkage, a missing bias and unfinished training. What is left afterwards is
 * orthogonal to the codes on the training tokens, so a model with pairs that improves on
 * it found something that is not linear in the features. It is also what the linear-only
 * factorization machine converges to, and checks its optimiser.
 *
 *     min over W, b of Σ‖r − f W − b‖² + λ Σ‖W_i‖²
 *
 * Conjugate gradients, scaled to a unit diagonal, solve the normal equations for all output columns
 * at once. Up to 8192 features their matrix is summed over the training tokens in float64, on index
 * and value pairs; beyond, it is not made, and each product with it is a pass over the codes.
 *
 * @module
 */
import { type ActivationReader, type Sae, sequentialBatches } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { codesAndResidual, Nfm } from "../interaction/mod.ts";
import { tf } from "../tensor/mod.ts";
import { conjugateGradients } from "./conjugate_gradients.ts";
import { solveByCodes, unitDiagonal } from "./solve_by_codes.ts";

/** How to fit. */
export interface AffineRefitOptions {
  /** Largest active features of a token that are used. Default: k for TopK, 256 for ReLU. */
  topN?: number;
  /** λ as a share of the mean Σ f_i² of the features that fire. Default 1e-3. */
  ridge?: number;
  /** Training tokens that are used, from the first. Default: all. */
  maxTokens?: number;
  /**
   * `"matrix"`: `8 · dSae²` bytes. `"codes"`: `8 · topN` bytes a token, and a pass over them for each
   * iteration. Default: the matrix up to 8192 features, where it takes half a gigabyte.
   */
  method?: "matrix" | "codes";
}

/** Above this the matrix of the normal equations alone takes more than half a gigabyte. */
const MATRIX_FEATURES = 8192;

/**
 * Fits it on the training split.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { affineRefit, memoryStore, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * // The second element is 3 times the first, and the dictionary reconstructs the first only.
 * const split = { rows: Float32Array.of(1, 3, 2, 6, 4, 12), document: Int32Array.of(0, 0, 0) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const sae = new Sae({ architecture: "topk", dIn: 2, dSae: 1, k: 1 }, {
 *   W_enc: tf.tensor2d([[1], [0]]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.tensor2d([[1, 0]]),
 *   b_dec: tf.zeros([2]),
 * });
 * const refit = await affineRefit(store, sae, { ridge: 0 });
 * assertAlmostEquals((await refit.weights.W!.data())[1], 3, 1e-4);
 * refit.dispose();
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @param options How to fit.
 * @returns A linear model of the residual, used like a trained one; the caller disposes of it.
 * @throws {RangeError} If the ridge is below 0.
 */
export async function affineRefit(
  store: ActivationReader,
  sae: Sae,
  options: AffineRefitOptions = {},
): Promise<Nfm> {
  const { dSae, dIn: dOut, k } = sae.config;
  const { topN = k ?? Math.min(256, dSae), ridge = 1e-3, maxTokens } = options;
  const { method = dSae <= MATRIX_FEATURES ? "matrix" : "codes" } = options;
  if (!(ridge >= 0 && Number.isFinite(ridge))) {
    throw new RangeError(`Cannot refit with a ridge of ${ridge}: expected 0 or more`);
  }
  const solution = method === "matrix"
    ? await solve(await sumNormalEquations(store, sae, { topN, maxTokens }), dSae, dOut, ridge)
    : await solveByCodes(store, sae, { topN, maxTokens, ridge });
  const shape = { parts: "linear", dSae, dOut, K: 0, head: "linear", topN } as const;
  const weights = tf.tidy(() => ({
    W: tf.slice(solution, [0, 0], [dSae, dOut]) as tf.Tensor2D,
    b: tf.reshape(tf.slice(solution, [dSae, 0], [1, dOut]), [dOut]) as tf.Tensor1D,
  }));
  solution.dispose();
  return new Nfm(shape, weights, { metadata: { affineRefit: { ridge, topN } } });
}

/** `[f, 1]ᵀ[f, 1]` and `[f, 1]ᵀ r`; the constant is the last row. */
interface NormalEquations {
  readonly gram: Float64Array;
  readonly right: Float64Array;
  readonly tokens: number;
}

async function sumNormalEquations(
  store: ActivationReader,
  sae: Sae,
  { topN, maxTokens }: { topN: number; maxTokens?: number },
): Promise<NormalEquations> {
  const { dSae, dIn: dOut } = sae.config;
  const size = dSae + 1;
  const gram = new Float64Array(size * size);
  const right = new Float64Array(size * dOut);
  const split = store.split("train");
  const total = Math.min(split.tokens, maxTokens ?? Infinity);
  const line = progress("Affine refit", { total, unit: "tokens" });
  let tokens = 0;
  for await (const { x } of sequentialBatches(split, 1024, maxTokens)) {
    const { codes, residual } = codesAndResidual(sae, x, topN);
    const [indices, values, r] = await Promise.all([
      codes.indices.data<"int32">(),
      codes.values.data<"float32">(),
      residual.data<"float32">(),
    ]);
    tf.dispose([codes.indices, codes.values, residual]);
    const batch = x.shape[0];
    for (let t = 0; t < batch; t++) {
      for (let a = 0; a <= topN; a++) {
        // The pair after the last is the constant 1.
        const value = a < topN ? values[t * topN + a] : 1;
        if (value === 0) continue;
        const feature = a < topN ? indices[t * topN + a] : dSae;
        const row = feature * size;
        for (let c = 0; c < topN; c++) {
          gram[row + indices[t * topN + c]] += value * values[t * topN + c];
        }
        gram[row + dSae] += value;
        const out = feature * dOut;
        for (let d = 0; d < dOut; d++) right[out + d] += value * r[t * dOut + d];
      }
    }
    line.update(tokens += batch);
  }
  line.finish();
  return { gram, right, tokens };
}

async function solve(
  { gram, right }: NormalEquations,
  dSae: number,
  dOut: number,
  ridge: number,
): Promise<tf.Tensor2D> {
  const size = dSae + 1;
  const diagonal = Float64Array.from({ length: size }, (_, i) => gram[i * size + i]);
  const { scale } = unitDiagonal(diagonal, ridge);
  const matrix = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      matrix[i * size + j] = i === j ? 1 : gram[i * size + j] * scale[i] * scale[j];
    }
  }
  const target = Float32Array.from(right, (value, i) => value * scale[Math.floor(i / dOut)]);
  const [A, B, S] = [
    tf.tensor2d(matrix, [size, size]),
    tf.tensor2d(target, [size, dOut]),
    tf.tensor2d(Float32Array.from(scale), [size, 1]),
  ];
  const scaled = await conjugateGradients(A, B);
  const solution = tf.mul(scaled, S) as tf.Tensor2D;
  tf.dispose([A, B, S, scaled]);
  return solution;
}
