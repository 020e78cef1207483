/**
 * The choice of BatchTopK (Bussmann et al., "BatchTopK sparse autoencoders", 2024): the k · tokens
 * largest activations of a batch stay, so that a token takes as many features as it needs. One
 * token alone has no batch: a dictionary in use takes a fixed threshold, the running mean of the
 * least activation that stayed in training.
 *
 * @module
 */
import { type StoredTensor, tf } from "../tensor/mod.ts";
import type { TrainerState } from "../training/mod.ts";

/**
 * Keeps the `count` largest entries that are above 0; equal ones at the border all stay.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { keepBatchTopK, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const { f, least } = keepBatchTopK(tf.tensor2d([[3, 0, 5], [4, 1, 0]]), 3);
 * assertEquals([...await f.data()], [3, 0, 5, 4, 0, 0]);
 * assertEquals([...await least.data()], [3]);
 * ```
 *
 * @param positive At least 0, of any shape.
 * @param count How many to keep, at most as many as there are.
 * @returns `f`: the same shape. `least`: the least entry that stayed, infinite if none did.
 */
export function keepBatchTopK(
  positive: tf.Tensor2D,
  count: number,
): { f: tf.Tensor2D; least: tf.Scalar } {
  return tf.tidy(() => {
    const { values } = tf.topk(tf.reshape(positive, [-1]), Math.min(count, positive.size));
    const least = tf.min(tf.where(tf.greater(values, 0), values, Infinity)) as tf.Scalar;
    const stays = tf.cast(tf.greaterEqual(positive, least), "float32");
    return { f: tf.mul(positive, stays) as tf.Tensor2D, least };
  });
}

/** Weight of a step in the running threshold. */
const RATE = 0.01;

/** The running mean of the least activation that stays; part of a run's checkpoint. */
export class RunningThreshold implements TrainerState {
  #mean = 0;
  /** Share of the mean that steps have contributed: without it the first steps would count as 0. */
  #weight = 0;

  /** The threshold; 0 before the first step. */
  get value(): number {
    return this.#weight > 0 ? this.#mean / this.#weight : 0;
  }

  /** Takes note of a step; a batch without an active feature says nothing. */
  update(least: number): void {
    if (!Number.isFinite(least)) return;
    this.#mean += RATE * (least - this.#mean);
    this.#weight += RATE * (1 - this.#weight);
  }

  /** For a checkpoint. */
  save(): Record<string, StoredTensor> {
    // Float64 in two parts: a resumed run goes on with the same bits.
    const data = new Float32Array(new Float64Array([this.#mean, this.#weight]).buffer);
    return { runningThreshold: { dtype: "F32", shape: [4], data } };
  }

  /** From a checkpoint. */
  restore({ runningThreshold }: Record<string, StoredTensor>): void {
    const { buffer } = Float32Array.from(runningThreshold.data);
    [this.#mean, this.#weight] = new Float64Array(buffer);
  }
}
