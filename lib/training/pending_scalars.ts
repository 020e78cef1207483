/**
 * Numbers of several steps, read from the device together.
 *
 * A read waits until the device has done all that was asked of it, so one at every step keeps a GPU
 * from working ahead.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { HistoryRow } from "./checkpoint.ts";

/** Scalars that were computed and not yet read. */
export class PendingScalars {
  #rows: { step: number; names: string[]; values: tf.Tensor1D }[] = [];

  /** Steps that wait, and tensors that they hold. */
  get size(): number {
    return this.#rows.length;
  }

  /**
   * @param step Number of the step, from 1.
   * @param scalars What it computed; they are disposed of.
   */
  add(step: number, scalars: Record<string, tf.Scalar>): void {
    const tensors = Object.values(scalars);
    this.#rows.push({
      step,
      names: Object.keys(scalars),
      values: tf.keep(tf.stack(tensors) as tf.Tensor1D),
    });
    tf.dispose(tensors);
  }

  /** The rows of all steps that wait, in order, in one transfer. */
  async read(): Promise<HistoryRow[]> {
    const rows = this.#rows;
    if (rows.length === 0) return [];
    const all = tf.concat1d(rows.map(({ values }) => values));
    this.dispose();
    const values = await all.data();
    all.dispose();
    let at = 0;
    return rows.map(({ step, names }) => {
      const row: HistoryRow = { step };
      for (const name of names) row[name] = values[at++];
      return row;
    });
  }

  /** Forgets what waits. */
  dispose(): void {
    tf.dispose(this.#rows.map(({ values }) => values));
    this.#rows = [];
  }
}
