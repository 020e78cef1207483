/**
 * Owns the tensors of a computation that awaits, where `tf.tidy` cannot.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** Tensors that are disposed of together, unless they are released first. */
export class Scope implements Disposable {
  readonly #owned = new Set<tf.Tensor>();

  /** Computes inside `tf.tidy` and owns what comes out. */
  run<T extends tf.TensorContainer>(compute: () => T): T {
    const result = tf.tidy(compute);
    for (const t of [result].flat() as tf.Tensor[]) this.own(t);
    return result;
  }

  /** Takes a tensor over. */
  own<T extends tf.Tensor>(tensor: T): T {
    this.#owned.add(tensor);
    return tensor;
  }

  /** Disposes of some of its tensors now; leaves alone what it does not own. */
  free(...tensors: tf.Tensor[]): void {
    for (const tensor of tensors) {
      if (this.#owned.delete(tensor)) tensor.dispose();
    }
  }

  /** Hands a tensor to the caller. A tensor that belongs to somebody else is cloned. */
  release<T extends tf.Tensor>(tensor: T): T {
    return this.#owned.delete(tensor) ? tensor : tf.clone(tensor);
  }

  /** Hands everything to the caller. */
  releaseAll(): void {
    this.#owned.clear();
  }

  [Symbol.dispose](): void {
    this.free(...this.#owned);
  }
}
