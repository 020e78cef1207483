/**
 * The normal equations of an affine map from codes, solved without their matrix.
 *
 * With G = Σ [f, 1]ᵀ [f, 1], a product G P is a pass over the codes: `Σ [f, 1]ᵀ ([f, 1] P)`. It costs
 * `2 · topN · dOut` multiplications a token and direction, whatever the number of features; G itself
 * would have `dSae²` elements. The codes stay in memory, as index and value pairs.
 *
 * @module
 */
import { type ActivationReader, type Sae, sequentialBatches } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { codesAndResidual } from "../interaction/mod.ts";
import { linearTermGrad } from "../interaction/nfm_terms.ts";
import { embeddingBag, type SparseCodes, tf } from "../tensor/mod.ts";
import { conjugateGradients } from "./conjugate_gradients.ts";

/** Elements of the rows that are gathered at once: 64 MiB. */
const GATHERED = 1 << 24;

/** Sums over many tokens are in float32 here, so a smaller rest than this is rounding. */
const TOLERANCE = 1e-4;

/** Index and value pairs of a piece of the training split, on the CPU. */
interface Piece {
  readonly indices: Int32Array;
  readonly values: Float32Array;
  readonly tokens: number;
}

/**
 * Solves `(G + λ) X = Σ [f, 1]ᵀ r`.
 *
 * @returns `[dSae + 1, dOut]`, the constant last; the caller's.
 */
export async function solveByCodes(
  store: ActivationReader,
  sae: Sae,
  { topN, maxTokens, ridge }: { topN: number; maxTokens?: number; ridge: number },
): Promise<tf.Tensor2D> {
  const { dSae, dIn: dOut } = sae.config;
  const pieces: Piece[] = [];
  const diagonal = new Float64Array(dSae + 1);
  let right = tf.zeros<tf.Rank.R2>([dSae + 1, dOut]);
  const split = store.split("train");
  const size = Math.max(1, Math.floor(GATHERED / (topN * dOut)));
  const total = Math.min(split.tokens, maxTokens ?? Infinity);
  const line = progress("Affine refit, codes", { total, unit: "tokens" });
  let tokens = 0;
  for await (const { x } of sequentialBatches(split, size, maxTokens)) {
    const { codes, residual } = codesAndResidual(sae, x, topN);
    const [indices, values] = await Promise.all([
      codes.indices.data<"int32">(),
      codes.values.data<"float32">(),
    ]);
    for (let i = 0; i < indices.length; i++) diagonal[indices[i]] += values[i] ** 2;
    diagonal[dSae] += x.shape[0];
    right = added(right, () => transposed(codes, residual, dSae));
    tf.dispose([codes.indices, codes.values, residual]);
    pieces.push({ indices, values, tokens: x.shape[0] });
    line.update(tokens += x.shape[0]);
  }
  line.finish();

  const { scale, penalty } = unitDiagonal(diagonal, ridge);
  const S = tf.tensor2d(Float32Array.from(scale), [dSae + 1, 1]);
  // 0 for the constant.
  const ridges = tf.tensor2d(new Float32Array(dSae + 1).fill(penalty, 0, dSae), [dSae + 1, 1]);
  const B = tf.mul(right, S) as tf.Tensor2D;
  right.dispose();
  const scaled = await conjugateGradients(
    async (P) => {
      const unscaled = tf.mul(P, S) as tf.Tensor2D;
      const product = await gramTimes(unscaled, pieces, topN);
      const result = tf.tidy(() => tf.mul(tf.add(product, tf.mul(unscaled, ridges)), S));
      tf.dispose([unscaled, product]);
      return result as tf.Tensor2D;
    },
    B,
    { tolerance: TOLERANCE },
  );
  const solution = tf.mul(scaled, S) as tf.Tensor2D;
  tf.dispose([scaled, S, ridges, B]);
  return solution;
}

/** `G P` by passes over the codes, `[dSae + 1, dOut]`. */
async function gramTimes(
  P: tf.Tensor2D,
  pieces: readonly Piece[],
  topN: number,
): Promise<tf.Tensor2D> {
  const [size, dOut] = P.shape;
  const features = size - 1;
  const [rows, constant] = tf.tidy(() => [
    tf.slice(P, [0, 0], [features, dOut]),
    tf.slice(P, [features, 0], [1, dOut]),
  ]);
  let sum = tf.zeros<tf.Rank.R2>([size, dOut]);
  for (const { indices, values, tokens } of pieces) {
    sum = added(sum, () => {
      const codes = {
        indices: tf.tensor2d(indices, [tokens, topN], "int32"),
        values: tf.tensor2d(values, [tokens, topN]),
      };
      const y = tf.add(embeddingBag(codes, rows), constant) as tf.Tensor2D;
      return transposed(codes, y, features);
    });
    // Lets the Stop button through.
    await new Promise((resolve) => setTimeout(resolve));
  }
  tf.dispose([rows, constant]);
  return sum;
}

/** `[f, 1]ᵀ y`, `[features + 1, dOut]`. */
function transposed(codes: SparseCodes, y: tf.Tensor2D, features: number): tf.Tensor2D {
  return tf.tidy(() =>
    tf.concat([linearTermGrad(codes, y, features, "sparse"), tf.sum(y, 0, true)]) as tf.Tensor2D
  );
}

function added(sum: tf.Tensor2D, term: () => tf.Tensor2D): tf.Tensor2D {
  const next = tf.tidy(() => tf.add(sum, term()) as tf.Tensor2D);
  sum.dispose();
  return next;
}

/**
 * Factors that give the matrix with its ridge a unit diagonal: features fire on a share of tokens that
 * varies a thousandfold. Features that never fire get 0.
 *
 * @param diagonal Σ f_i² of each feature, and the tokens last.
 * @param ridge As a share of the mean of those that fire.
 */
export function unitDiagonal(
  diagonal: Float64Array,
  ridge: number,
): { scale: Float64Array; penalty: number } {
  const dSae = diagonal.length - 1;
  const live = diagonal.subarray(0, dSae).filter((squares) => squares > 0);
  const penalty = live.length > 0
    ? ridge * live.reduce((sum, squares) => sum + squares, 0) / live.length
    : 0;
  const scale = diagonal.map((squares, i) => {
    const all = squares + (i < dSae ? penalty : 0);
    return all > 0 ? 1 / Math.sqrt(all) : 0;
  });
  return { scale, penalty };
}
