/**
 * What each feature does on the tokens that are measured: how often it fires, on how many tokens of
 * the sequences in which it fires at all, and how strongly.
 *
 * The second number tells a feature of a topic, on in a whole sequence, from a feature of a token.
 * SAEBench calls it the consistent activation heuristic.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { Codes } from "./density.ts";

/**
 * Counts by feature over any number of batches; 32 bytes a feature.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { FeatureActivityMeter, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const meter = new FeatureActivityMeter(2);
 * // Feature 0 fires on all of sequence 7 and not in sequence 8; feature 1 never.
 * await meter.update(tf.tensor2d([[1, 0], [2, 0], [0, 0], [0, 0]]), { sequence: [7, 7, 8, 8] });
 * assertEquals([...meter.densities()], [0.5, 0]);
 * assertEquals([...meter.tokensPerSequence()], [2, NaN]);
 * assertEquals([...meter.meanActivations()], [1.5, NaN]);
 * ```
 */
export class FeatureActivityMeter {
  /** Tokens seen so far. */
  tokens = 0;
  /** Number of tokens on which each feature fired, `[dSae]`. */
  readonly counts: Float64Array;
  /** Number of sequences in which each feature fired, `[dSae]`. */
  readonly sequences: Float64Array;
  /** Sum of each feature's activations, `[dSae]`. */
  readonly #sums: Float64Array;
  /** Index of the sequence in which each feature fired last, from 1. */
  readonly #lastFired: Int32Array;
  #index = 0;
  #sequence: number | undefined;

  /** @param dSae Number of features. */
  constructor(dSae: number) {
    this.counts = new Float64Array(dSae);
    this.sequences = new Float64Array(dSae);
    this.#sums = new Float64Array(dSae);
    this.#lastFired = new Int32Array(dSae);
  }

  /**
   * Adds a batch.
   *
   * @param codes Dense `[tokens, dSae]`, or sparse pairs `[tokens, k]`.
   * @param options `sequence`: a number for each token's sequence, or document. The tokens of one
   * follow each other; it may go on in the next batch. Default: all are one.
   * @throws {RangeError} If dense codes are not `dSae` wide, or a token has no sequence.
   */
  async update(codes: Codes, options: { sequence?: ArrayLike<number> } = {}): Promise<void> {
    const dense = codes instanceof tf.Tensor;
    const [tokens, width] = dense ? codes.shape : codes.indices.shape;
    const { sequence = new Int32Array(tokens) } = options;
    if (sequence.length !== tokens || (dense && width !== this.counts.length)) {
      throw new RangeError(
        `Cannot count codes of shape [${tokens}, ${width}] in ${sequence.length} tokens' sequences: ` +
          `expected a sequence for each token${dense ? ` and ${this.counts.length} features` : ""}`,
      );
    }
    const index = Int32Array.from(sequence, (number) => {
      if (number !== this.#sequence) this.#index++;
      this.#sequence = number;
      return this.#index;
    });
    if (dense) await this.#addDense(codes, index);
    else await this.#addSparse(codes.indices, codes.values, index);
    this.tokens += tokens;
  }

  async #addSparse(indices: tf.Tensor, values: tf.Tensor, index: Int32Array): Promise<void> {
    const k = indices.shape[1]!;
    const [features, activations] = await Promise.all([indices.data(), values.data()]);
    for (let i = 0; i < features.length; i++) {
      if (activations[i] === 0) continue;
      this.#add(features[i], index[Math.floor(i / k)], 1, activations[i]);
    }
  }

  /** Dense codes are added up by sequence where they are: reading them would cost more. */
  async #addDense(codes: tf.Tensor2D, index: Int32Array): Promise<void> {
    const first = index[0] ?? 0;
    const present = index.length > 0 ? index[index.length - 1] - first + 1 : 0;
    if (present === 0) return;
    const sums = tf.tidy(() => {
      const place = tf.tensor2d(index.map((i) => i - first), [1, index.length], "int32");
      const member = tf.cast(
        tf.equal(place, tf.reshape(tf.range(0, present, 1, "int32"), [present, 1])),
        "float32",
      ); // [sequences, tokens]
      const fired = tf.cast(tf.notEqual(codes, 0), "float32");
      return tf.stack([tf.matMul(member, fired), tf.matMul(member, codes)]);
    });
    const values = await sums.data();
    sums.dispose();
    const dSae = this.counts.length;
    for (let s = 0; s < present; s++) {
      for (let f = 0; f < dSae; f++) {
        const count = values[s * dSae + f];
        if (count > 0) this.#add(f, first + s, count, values[(present + s) * dSae + f]);
      }
    }
  }

  #add(feature: number, sequence: number, count: number, sum: number): void {
    this.counts[feature] += count;
    this.#sums[feature] += sum;
    if (this.#lastFired[feature] === sequence) return;
    this.#lastFired[feature] = sequence;
    this.sequences[feature]++;
  }

  /** Share of tokens on which each feature fired, 0 to 1, `[dSae]`. */
  densities(): Float64Array {
    return this.counts.map((count) => count / this.tokens);
  }

  /** Tokens on which each feature fires in a sequence in which it fires, `[dSae]`; NaN if in none. */
  tokensPerSequence(): Float64Array {
    return this.counts.map((count, i) => count / this.sequences[i]);
  }

  /** Mean activation of each feature where it fires, `[dSae]`; NaN if it never does. */
  meanActivations(): Float64Array {
    return this.#sums.map((sum, i) => sum / this.counts[i]);
  }
}
