/**
 * Values with gradients, by parameter name.
 *
 * @module
 */
import * as tf from "@tensorflow/tfjs-core";
import type { Gradient } from "./adam.ts";

/** A loss, and whatever else a step wants to report. */
export interface LossTensors {
  /** What is minimised. */
  loss: tf.Scalar;
  [name: string]: tf.Tensor;
}

/**
 * Evaluates a loss and its gradient with respect to each named parameter.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, tf, valueAndGrads } from "interlens";
 *
 * await openDevice();
 * const { loss, grads } = valueAndGrads(
 *   { w: tf.tensor1d([3]) },
 *   ({ w }) => ({ loss: tf.sum(tf.square(w)) as tf.Scalar }),
 * );
 * assertEquals([...await loss.data(), ...await grads.w.data()], [9, 6]);
 * ```
 *
 * @param params Tensors by name.
 * @param fn Returns the scalar loss and, if wanted, more tensors (returned as `extras`).
 * @returns All tensors in it belong to the caller.
 */
export function valueAndGrads(
  params: Record<string, tf.Tensor>,
  fn: (params: Record<string, tf.Tensor>) => LossTensors,
): {
  loss: tf.Scalar;
  grads: Record<string, tf.Tensor>;
  extras: Record<string, tf.Tensor>;
} {
  const names = Object.keys(params);
  let extras: Record<string, tf.Tensor> = {};
  const result = tf.tidy(() => {
    const f = (...tensors: tf.Tensor[]) => {
      const { loss, ...rest } = fn(
        Object.fromEntries(names.map((name, i) => [name, tensors[i]])),
      );
      extras = rest;
      for (const tensor of Object.values(rest)) tf.keep(tensor);
      return loss;
    };
    return tf.valueAndGrads(f)(names.map((name) => params[name]));
  });
  const grads = Object.fromEntries(
    names.map((name, i) => [name, result.grads[i]]),
  );
  return { loss: result.value as tf.Scalar, grads, extras };
}

/**
 * Scales gradients so that their joint Euclidean norm is at most `maxNorm`; of gradients of rows,
 * the values.
 *
 * Disposes of the gradients that it is given and returns new ones, with the norm before clipping
 * as a tensor (no read-back).
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { clipByGlobalNorm, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const { grads, norm } = clipByGlobalNorm({ w: tf.tensor1d([3]), b: tf.tensor1d([4]) }, 1);
 * assertAlmostEquals((await norm.data())[0], 5, 1e-5);
 * assertAlmostEquals((await grads.b.data())[0], 0.8, 1e-5);
 * ```
 */
export function clipByGlobalNorm<G extends Gradient>(
  grads: Record<string, G>,
  maxNorm: number,
): { grads: Record<string, G>; norm: tf.Scalar } {
  const names = Object.keys(grads);
  const values = names.map((name) => {
    const grad: Gradient = grads[name];
    return grad instanceof tf.Tensor ? grad : grad.values;
  });
  const { clipped, norm } = tf.tidy(() => {
    const norm = tf.sqrt(tf.addN(values.map((grad) => tf.sum(tf.square(grad)))));
    const factor = tf.minimum(1, tf.div(maxNorm, tf.add(norm, 1e-12)));
    return { clipped: values.map((grad) => tf.mul(grad, factor)), norm };
  });
  tf.dispose(values);
  const withValues = (grad: Gradient, values: tf.Tensor) =>
    (grad instanceof tf.Tensor ? values : { rows: grad.rows, values }) as G;
  return {
    grads: Object.fromEntries(names.map((name, i) => [name, withValues(grads[name], clipped[i])])),
    norm: norm as tf.Scalar,
  };
}
