/**
 * Dead features by a window of tokens: a feature is dead if it has not fired on the last `window`
 * tokens. Windows in steps, as some trainers have them, depend on the batch size.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { Codes } from "./density.ts";

/**
 * Watches which features fire; tokens come in the order in which they are given.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { DeadMeter, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const meter = new DeadMeter(3, { window: 2 });
 * await meter.update(tf.tensor2d([[1, 1, 0]]));
 * assertThrows(() => meter.fraction(), RangeError, "1 token");
 * await meter.update(tf.tensor2d([[0, 1, 0], [0, 0, 0]]));
 * assertEquals([...meter.dead()], [0, 2]); // 1 fired on the last token but one
 * assertEquals(meter.fraction(), 2 / 3);
 * ```
 */
export class DeadMeter {
  /** Tokens seen so far. */
  tokens = 0;
  /** Tokens without firing that make a feature dead. */
  readonly window: number;
  /** Number of the token, from 1, on which each feature fired last; 0 if on none. */
  readonly #lastFired: Float64Array;

  /**
   * @param dSae Number of features.
   * @param options `window`: in tokens. Default 10 million, as most trainers have it.
   * @throws {RangeError} If the window is not an integer of at least 1.
   */
  constructor(dSae: number, options: { window?: number } = {}) {
    const { window = 10_000_000 } = options;
    if (!Number.isInteger(window) || window < 1) {
      throw new RangeError(
        `Cannot watch a window of ${window} tokens: expected an integer of at least 1`,
      );
    }
    this.window = window;
    this.#lastFired = new Float64Array(dSae);
  }

  /**
   * Adds a batch.
   *
   * @param codes Dense `[tokens, dSae]`, or sparse pairs `[tokens, k]`.
   * @throws {RangeError} If dense codes are not `dSae` wide.
   */
  async update(codes: Codes): Promise<void> {
    if (codes instanceof tf.Tensor) {
      const [tokens, width] = codes.shape;
      if (width !== this.#lastFired.length) {
        throw new RangeError(
          `Cannot watch codes of shape [${codes.shape}]: expected [tokens, ${this.#lastFired.length}]`,
        );
      }
      const last = tf.tidy(() => {
        const number = tf.reshape(tf.range(1, tokens + 1), [tokens, 1]);
        return tf.max(tf.mul(tf.cast(tf.notEqual(codes, 0), "float32"), number), 0);
      });
      (await last.data()).forEach((number, i) => {
        if (number > 0) this.#lastFired[i] = this.tokens + number;
      });
      last.dispose();
      this.tokens += tokens;
      return;
    }
    const [tokens, k] = codes.indices.shape;
    const [indices, values] = await Promise.all([codes.indices.data(), codes.values.data()]);
    for (let i = 0; i < indices.length; i++) {
      if (values[i] !== 0) this.#lastFired[indices[i]] = this.tokens + Math.floor(i / k) + 1;
    }
    this.tokens += tokens;
  }

  /**
   * Numbers of the dead features, ascending.
   *
   * @throws {RangeError} If fewer tokens than the window were seen: nothing can be called dead yet.
   */
  dead(): Int32Array {
    if (this.tokens < this.window) {
      throw new RangeError(
        `Cannot call features dead after ${this.tokens} token${
          this.tokens === 1 ? "" : "s"
        }: the ` +
          `window is ${this.window}; measure more, or give a smaller window`,
      );
    }
    const before = this.tokens - this.window;
    return Int32Array.from(
      [...this.#lastFired.keys()].filter((feature) => this.#lastFired[feature] <= before),
    );
  }

  /**
   * Share of the features that are dead, 0 to 1.
   *
   * @throws {RangeError} If fewer tokens than the window were seen.
   */
  fraction(): number {
    return this.dead().length / this.#lastFired.length;
  }
}
