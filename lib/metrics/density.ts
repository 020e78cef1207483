/**
 * How often each feature fires: firing densities, L0 and the dead fraction.
 *
 * A feature fires on a token if its activation is not 0. L0 is the mean number of
 * features that fire on a token. A feature is dead here if it fired on no token
 * that was measured, so the fraction depends on how many were: it is always given
 * with the number of tokens.
 *
 * @module
 */
import { type SparseCodes, tf } from "../tensor/mod.ts";

/** Activations of features: dense `[tokens, dSae]`, or index and value pairs `[tokens, k]`. */
export type Codes = tf.Tensor2D | SparseCodes;

/**
 * Counts firings over any number of batches.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { DensityMeter, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const meter = new DensityMeter(3);
 * await meter.update(tf.tensor2d([[0.5, 0, 0], [2, 1, 0]]));
 * assertEquals([...meter.densities()], [1, 0.5, 0]);
 * assertEquals([meter.l0(), meter.deadFraction()], [1.5, 1 / 3]);
 * ```
 */
export class DensityMeter {
  /** Tokens seen so far. */
  tokens = 0;
  /** Number of tokens on which each feature fired, `[dSae]`. */
  readonly counts: Float64Array;

  /** @param dSae Number of features. */
  constructor(dSae: number) {
    this.counts = new Float64Array(dSae);
  }

  /**
   * Adds a batch.
   *
   * @param codes Dense `[tokens, dSae]`, or sparse pairs `[tokens, k]`.
   * @throws {RangeError} If dense codes are not `dSae` wide.
   */
  async update(codes: Codes): Promise<void> {
    if (codes instanceof tf.Tensor) {
      if (codes.shape[1] !== this.counts.length) {
        throw new RangeError(
          `Cannot count codes of shape [${codes.shape}]: expected [tokens, ${this.counts.length}]`,
        );
      }
      const fired = tf.tidy(() => tf.sum(tf.cast(tf.notEqual(codes, 0), "float32"), 0));
      const batch = await fired.data();
      fired.dispose();
      batch.forEach((count, i) => this.counts[i] += count);
      this.tokens += codes.shape[0];
    } else {
      const [indices, values] = await Promise.all([codes.indices.data(), codes.values.data()]);
      for (let i = 0; i < indices.length; i++) {
        if (values[i] !== 0) this.counts[indices[i]]++;
      }
      this.tokens += codes.indices.shape[0];
    }
  }

  /** Share of tokens on which each feature fired, 0 to 1, `[dSae]`. */
  densities(): Float64Array {
    return this.counts.map((count) => count / this.tokens);
  }

  /** Mean number of features that fire on a token. */
  l0(): number {
    return this.counts.reduce((total, count) => total + count, 0) / this.tokens;
  }

  /** Share of features that never fired, 0 to 1. */
  deadFraction(): number {
    return this.counts.filter((count) => count === 0).length / this.counts.length;
  }
}
