/**
 * Loss and gradients of a factorization machine: the mean squared error of the scaled
 * residual, with every gradient in closed form.
 *
 * @module
 */
import type { Codes } from "../metrics/mod.ts";
import { type Gradient, rowsOf, type SparseCodes, tf } from "../tensor/mod.ts";
import { canRunGraphs } from "../tensor/graph.ts";
import type { Params, StepResult } from "../training/mod.ts";
import type { NfmWeights } from "./nfm.ts";
import { runStepGraph } from "./nfm_graph.ts";
import {
  fasterPath,
  linearTerm,
  linearTermGrad,
  type Path,
  pooledProducts,
  pooledProductsGrad,
  type UsedRows,
} from "./nfm_terms.ts";

/**
 * One step.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nfmLoss, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const codes = { indices: tf.tensor2d([[0, 1]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * const weights = { b: tf.tensor1d([0]), V: tf.tensor2d([[1], [1]]), C: tf.tensor2d([[1]]) };
 * // The one pair has the product 6, and the target is 5.
 * const { scalars, grads } = nfmLoss(weights, codes, tf.tensor2d([[5]]));
 * assertEquals([...await scalars.loss.data(), ...await grads.C.data()], [1, 2 * 6]);
 * ```
 *
 * @param weights Parameters.
 * @param codes Scaled codes, index and value pairs `[tokens, n]` or dense `[tokens, dSae]`.
 * @param target Scaled residual, `[tokens, dOut]`.
 * @param options `keep`: what each pooled product is multiplied by, `[tokens, K]` (dropout);
 * `path`: how products with codes are computed, default the faster for each.
 * @returns Gradients by name, and the `loss`: the mean squared error an element, 1 for predicting 0.
 */
export function nfmLoss(
  weights: NfmWeights,
  codes: Codes,
  target: tf.Tensor2D,
  options: { keep?: tf.Tensor2D; path?: Path } = {},
): StepResult {
  const { b, W, V, C, W1, b1, W2 } = weights;
  const dSae = (W ?? V)!.shape[0];
  const { path, keep } = options;
  if (path === undefined && !(codes instanceof tf.Tensor) && canRunGraphs()) {
    const [, active] = codes.indices.shape;
    if (fasterPath(active, dSae) === "sparse") {
      const { loss, grads } = runStepGraph(weights, codes, target, keep);
      return { grads, scalars: { loss } };
    }
  }
  return tf.tidy(() => {
    let prediction = tf.zeros(target.shape) as tf.Tensor2D;
    if (W) prediction = linearTerm(codes, W, path);
    let pooled: tf.Tensor2D | undefined,
      S: tf.Tensor2D | undefined,
      hidden: tf.Tensor2D | undefined;
    if (V) {
      ({ pooled, S } = pooledProducts(codes, V, path));
      if (keep) pooled = tf.mul(pooled, keep) as tf.Tensor2D;
      if (W1) hidden = tf.relu(tf.add(tf.matMul(pooled, W1), b1!)) as tf.Tensor2D;
      prediction = tf.add(prediction, tf.matMul(hidden ?? pooled, (W2 ?? C)!));
    }
    const error = tf.sub(tf.add(prediction, b), target) as tf.Tensor2D;
    const loss = tf.mean(tf.square(error)) as tf.Scalar;
    const g = tf.mul(error, 2 / error.size) as tf.Tensor2D; // ∂L/∂prediction

    const grads: Params = { b: tf.sum(g, 0) };
    if (W) grads.W = linearTermGrad(codes, g, dSae, path);
    if (V) {
      let gPooled: tf.Tensor2D = tf.matMul(g, (W2 ?? C)!, false, true);
      if (hidden) {
        grads.W2 = tf.matMul(hidden, g, true);
        const gHidden = tf.mul(gPooled, tf.cast(tf.greater(hidden, 0), "float32")) as tf.Tensor2D;
        grads.W1 = tf.matMul(pooled!, gHidden, true);
        grads.b1 = tf.sum(gHidden, 0);
        gPooled = tf.matMul(gHidden, W1!, false, true);
      } else {
        grads.C = tf.matMul(pooled!, g, true);
      }
      if (keep) gPooled = tf.mul(gPooled, keep) as tf.Tensor2D;
      grads.V = pooledProductsGrad(codes, V, S!, gPooled, path);
    }
    return { grads, scalars: { loss } };
  });
}

/**
 * One step that costs what the batch uses, whatever the number of features: the gradients of `W` and
 * `V` are those of the rows in use.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { nfmRowLoss, openDevice, tf, usedRows } from "interlens";
 *
 * await openDevice();
 * const codes = { indices: tf.tensor2d([[6, 1]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * const weights = { b: tf.tensor1d([0]), V: tf.ones<tf.Rank.R2>([9, 1]), C: tf.tensor2d([[1]]) };
 * const used = await usedRows(codes, 9);
 * const { scalars, grads } = nfmRowLoss(weights, codes, tf.tensor2d([[5]]), { used });
 * assertEquals([...await scalars.loss.data()], [1]);
 * const { rows, values } = grads.V as { rows: tf.Tensor1D; values: tf.Tensor2D };
 * assertEquals([...await rows.data()], [6, 1]);
 * assertEquals([...await values.data()], [12, 12]); // 2 · f_i f_j v_j
 * ```
 *
 * @param weights Parameters, best the `values` of an `Adam`: no more than the rows in use is read.
 * @param codes Scaled codes, `[tokens, n]`.
 * @param target Scaled residual, `[tokens, dOut]`.
 * @param options `used`: the rows in use, of `usedRows`; they stay the caller's. `keep`: as for
 * `nfmLoss`.
 * @returns Gradients by name, and the loss.
 */
export function nfmRowLoss(
  weights: NfmWeights,
  codes: SparseCodes,
  target: tf.Tensor2D,
  { used, keep }: { used: UsedRows; keep?: tf.Tensor2D },
): StepResult<Gradient> {
  const { rows, slots } = used;
  const byRows = (grads: Params): Record<string, Gradient> =>
    Object.fromEntries(
      Object.entries(grads).map(([name, values]) => [
        name,
        // A reference of its own to the same rows: `fit` disposes of gradients.
        name === "W" || name === "V"
          ? { rows: tf.clone(rows), values: values as tf.Tensor2D }
          : values,
      ]),
    );
  return tf.tidy(() => {
    // The model of the used features alone, which have the numbers of their slots.
    const params = weights as unknown as Params;
    const few = Object.fromEntries(
      Object.keys(params).map((name) => [
        name,
        name === "W" || name === "V" ? rowsOf(params, name, rows) : params[name],
      ]),
    ) as unknown as NfmWeights;
    const numbered = { indices: slots, values: codes.values };
    if (canRunGraphs()) {
      const { loss, grads } = runStepGraph(few, numbered, target, keep);
      return { grads: byRows(grads), scalars: { loss } } as never;
    }
    const { grads, scalars } = nfmLoss(few, numbered, target, { keep, path: "sparse" });
    return { grads: byRows(grads), scalars } as never;
  });
}
