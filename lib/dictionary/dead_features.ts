/**
 * Which features have not fired for how many tokens.
 *
 * @module
 */
import type { SparseCodes, StoredTensor, tf } from "../tensor/mod.ts";
import type { TrainerState } from "../training/mod.ts";

/** Counts tokens since each feature last fired; part of a run's checkpoint. */
export class DeadFeatures implements TrainerState {
  /** Tokens since each feature fired, `[dSae]`. Float32 counts exactly up to 16 million. */
  #since: Float32Array;
  readonly #after: number;

  /**
   * @param dSae Number of features.
   * @param after Tokens without firing after which a feature is dead.
   */
  constructor(dSae: number, after: number) {
    this.#since = new Float32Array(dSae);
    this.#after = after;
  }

  /** Numbers of the dead features, ascending. */
  dead(): Int32Array {
    const dead: number[] = [];
    this.#since.forEach((tokens, feature) => tokens >= this.#after && dead.push(feature));
    return Int32Array.from(dead);
  }

  /** Takes note of a batch by its codes. */
  async update(codes: SparseCodes): Promise<void> {
    const [indices, values] = await Promise.all([codes.indices.data(), codes.values.data()]);
    this.#age(codes.indices.shape[0]);
    for (let i = 0; i < indices.length; i++) if (values[i] > 0) this.#since[indices[i]] = 0;
  }

  /** Takes note of a batch by the number of times that each feature fired, `[dSae]`. */
  async updateBy(fired: tf.Tensor1D, tokens: number): Promise<void> {
    const counts = await fired.data();
    this.#age(tokens);
    for (let i = 0; i < counts.length; i++) if (counts[i] > 0) this.#since[i] = 0;
  }

  #age(tokens: number): void {
    for (let i = 0; i < this.#since.length; i++) {
      this.#since[i] = Math.min(this.#since[i] + tokens, this.#after);
    }
  }

  /** For a checkpoint. */
  save(): Record<string, StoredTensor> {
    const shape = [this.#since.length];
    return { tokensSinceFired: { dtype: "F32", shape, data: this.#since.slice() } };
  }

  /** From a checkpoint. */
  restore(stored: Record<string, StoredTensor>): void {
    this.#since = Float32Array.from(stored.tokensSinceFired.data);
  }
}
