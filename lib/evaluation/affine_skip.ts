/**
 * What of a reconstruction's error is an affine map of the activation itself.
 *
 *     min over A, c of Σ‖x − x̂ − x A − c‖² + λ Σ‖A_i‖²
 *
 * The codes of a dictionary cannot say it, so it bounds what a model of them is owed (J. Engels and
 * others, "Decomposing the dark matter of sparse autoencoders", 2024, predict the error so). One of the
 * models of rung R5.
 *
 * @module
 */
import { type ActivationReader, sequentialBatches } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { tf } from "../tensor/mod.ts";
import { conjugateGradients } from "./conjugate_gradients.ts";

/** An affine map; the caller disposes of both. */
export interface AffineSkip {
  /** `[dModel, dModel]`. */
  readonly A: tf.Tensor2D;
  /** `[dModel]`. */
  readonly c: tf.Tensor1D;
}

/** How to fit. */
export interface AffineSkipOptions {
  /** λ as a share of each column's variation. Default 1e-3. */
  ridge?: number;
  /** Training tokens that are used, from the first. Default 100,000. */
  maxTokens?: number;
}

/**
 * Fits it on the training split, in closed form.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { affineSkip, memoryStore, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3, 4), document: Int32Array.of(0, 0, 0, 0) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * // A reconstruction that shrinks x to half and adds 1.
 * const shrunk = (x: tf.Tensor2D) => tf.add(tf.mul(x, 0.5), 1) as tf.Tensor2D;
 * const { A, c } = await affineSkip(store, shrunk, { ridge: 0 });
 * assertAlmostEquals((await A.data())[0], 0.5, 1e-4);
 * assertAlmostEquals((await c.data())[0], -1, 1e-4);
 * tf.dispose([A, c]);
 * ```
 *
 * @param store Activations.
 * @param reconstruct What is there already; runs inside `tf.tidy`.
 * @param options How to fit.
 * @throws {RangeError} If the ridge is below 0.
 */
export async function affineSkip(
  store: ActivationReader,
  reconstruct: (x: tf.Tensor2D) => tf.Tensor2D,
  { ridge = 1e-3, maxTokens = 100_000 }: AffineSkipOptions = {},
): Promise<AffineSkip> {
  if (!(ridge >= 0 && Number.isFinite(ridge))) {
    throw new RangeError(`Cannot fit a skip with a ridge of ${ridge}: expected 0 or more`);
  }
  const d = store.dModel;
  const [gram, right] = [new Float64Array(d * d), new Float64Array(d * d)];
  const [sumX, sumR] = [new Float64Array(d), new Float64Array(d)];
  const split = store.split("train");
  const total = Math.min(split.tokens, maxTokens);
  const line = progress("Affine skip", { total, unit: "tokens" });
  let tokens = 0;
  // Sums of squares are taken around the mean of the first tokens: in float32 they would lose the
  // variation of a column whose mean is large.
  let origin: tf.Tensor | undefined;
  for await (const { x } of sequentialBatches(split, 4096, maxTokens)) {
    origin ??= tf.tidy(() => tf.mean(x, 0));
    const sums = tf.tidy(() => {
      const r = tf.sub(x, reconstruct(x)) as tf.Tensor2D;
      const away = tf.sub(x, origin!) as tf.Tensor2D;
      return [tf.matMul(away, away, true), tf.matMul(away, r, true), tf.sum(away, 0), tf.sum(r, 0)];
    });
    for (const [i, into] of [gram, right, sumX, sumR].entries()) {
      (await sums[i].data()).forEach((value, at) => into[at] += value);
    }
    tf.dispose(sums);
    line.update(tokens += x.shape[0]);
  }
  line.finish();
  // From the origin to the means, and columns to a variation of 1.
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      gram[i * d + j] -= sumX[i] * sumX[j] / tokens;
      right[i * d + j] -= sumX[i] * sumR[j] / tokens;
    }
  }
  const scale = Float64Array.from({ length: d }, (_, i) => 1 / Math.sqrt(gram[i * d + i] || 1));
  const matrix = Float32Array.from(gram, (value, at) => {
    const [i, j] = [Math.floor(at / d), at % d];
    return value * scale[i] * scale[j] + (i === j ? ridge : 0);
  });
  const G = tf.tensor2d(matrix, [d, d]);
  const B = tf.tensor2d(
    Float32Array.from(right, (value, at) => value * scale[Math.floor(at / d)]),
    [d, d],
  );
  const scaled = await conjugateGradients(G, B);
  const skip = tf.tidy(() => {
    const A = tf.mul(scaled, tf.tensor2d(Float32Array.from(scale), [d, 1])) as tf.Tensor2D;
    const away = tf.tensor2d(Float32Array.from(sumX, (sum) => sum / tokens), [1, d]);
    const meanX = tf.add(away, origin!) as tf.Tensor2D;
    const meanR = tf.tensor1d(Float32Array.from(sumR, (sum) => sum / tokens));
    const c = tf.sub(meanR, tf.reshape(tf.matMul(meanX, A), [d])) as tf.Tensor1D;
    return { A, c };
  });
  tf.dispose([G, B, scaled, origin!]);
  return skip;
}
