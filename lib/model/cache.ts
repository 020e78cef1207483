/**
 * Activations that a run kept, by the name of their hook point.
 *
 * @module
 */
import type { tf } from "../tensor/mod.ts";
import { nearest } from "./names.ts";

/** Which hook points to keep: names, a pattern, or a test of a name. */
export type NameFilter = string | readonly string[] | RegExp | ((name: string) => boolean);

/**
 * Activations of one run. It owns its tensors: dispose of it when done, or hold it with `using`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ dModel: 8, nLayers: 2 }, 0);
 * const { cache } = await model.runWithCache([[1, 2, 3]], {
 *   names: /hook_resid_post$/,
 *   stopAtLayer: 1,
 * });
 * assertEquals(cache.names(), ["blocks.0.hook_resid_post"]);
 * assertEquals(cache.get("blocks.0.hook_resid_post").shape, [1, 3, 8]); // [batch, pos, d_model]
 * cache.dispose();
 * ```
 */
export class ActivationCache implements Disposable {
  readonly #tensors = new Map<string, tf.Tensor>();

  /** Takes a tensor over. */
  set(name: string, tensor: tf.Tensor): void {
    this.#tensors.get(name)?.dispose();
    this.#tensors.set(name, tensor);
  }

  /**
   * The activation of a hook point. It belongs to the cache: do not dispose of it.
   *
   * @throws {RangeError} If it was not kept, naming those that are nearest.
   */
  get(name: string): tf.Tensor {
    const tensor = this.#tensors.get(name);
    if (!tensor) {
      const near = nearest(name, this.names()).map((n) => `"${n}"`).join(", ");
      throw new RangeError(
        `The cache has no "${name}": ${near ? `it holds ${near}` : "it is empty"}; ` +
          `pass the name in "names" to keep it`,
      );
    }
    return tensor;
  }

  /** True if the activation was kept. */
  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Names of what was kept, in the order in which the run reached them. */
  names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Disposes of every tensor. */
  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
    this.#tensors.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** `names` as a test of a name. */
export function nameTest(names: NameFilter | undefined): (name: string) => boolean {
  if (names === undefined) return () => true;
  if (typeof names === "function") return names;
  // A pattern with the flag g or y remembers where it stopped.
  if (names instanceof RegExp) return (name) => name.search(names) >= 0;
  const wanted = new Set(typeof names === "string" ? [names] : names);
  return (name) => wanted.has(name);
}
