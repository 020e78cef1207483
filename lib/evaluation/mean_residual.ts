/**
 * The cheapest second model: what the dictionary gets wrong on average.
 *
 * @module
 */
import { type ActivationReader, type Sae, sequentialBatches } from "../dictionary/mod.ts";
import { tf } from "../tensor/mod.ts";

/**
 * Mean of `x − sae(x)` over the training tokens. Any second model with a bias learns at least this,
 * so its gain belongs to none of them.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { meanResidual, memoryStore, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 5, 3, 5), document: Int32Array.of(0, 0) };
 * const store = memoryStore(2, { train: split, validation: split, test: split });
 * const sees = new Sae({ architecture: "standard", dIn: 2, dSae: 1 }, {
 *   W_enc: tf.tensor2d([[1], [0]]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.tensor2d([[1, 0]]),
 *   b_dec: tf.zeros([2]),
 * }); // reconstructs the first element and not the second
 * assertEquals([...await (await meanResidual(store, sees)).data()], [0, 5]);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param sae The dictionary.
 * @returns `[dModel]`; the caller disposes of it.
 */
export async function meanResidual(store: ActivationReader, sae: Sae): Promise<tf.Tensor1D> {
  const sum = new Float64Array(store.dModel);
  const split = store.split("train");
  for await (const { x } of sequentialBatches(split, 1024)) {
    const batch = tf.tidy(() => tf.sum(tf.sub(x, sae.reconstruct(x)), 0));
    (await batch.data()).forEach((value, d) => sum[d] += value);
    batch.dispose();
  }
  return tf.tensor1d(Float32Array.from(sum, (value) => value / split.tokens));
}
