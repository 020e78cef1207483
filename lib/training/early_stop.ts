/**
 * Ending a run when held-out documents no longer gain from it.
 *
 * What it knows is in the history, so a resumed run decides as one that was never stopped.
 *
 * @module
 */
import type { HistoryRow } from "./checkpoint.ts";

/** When to end a run before its last step. */
export interface EarlyStop {
  /** Number of the evaluation to watch, such as `"validation_fvu"`. */
  metric: string;
  /** Evaluations in a row without an improvement after which the run ends. */
  patience: number;
  /** Least change that counts as an improvement, in units of the metric. Default 0. */
  minDelta?: number;
  /** Whether it should fall (`"min"`, default) or rise (`"max"`). */
  goal?: "min" | "max";
  /**
   * Ends with the parameters of the best evaluation in place of the last ones, whether it ends early
   * or not; they take memory and checkpoint once more. Default false.
   */
  keepBest?: boolean;
}

/** The best evaluation of a run. */
export interface BestEvaluation {
  /** Updates that were done at it. */
  step: number;
  /** What the watched number was. */
  value: number;
}

/** Follows the watched number. */
export class EarlyStopper {
  /** The best evaluation so far. */
  best: BestEvaluation | undefined;
  #without = 0;
  readonly #options: EarlyStop;

  /** @throws {RangeError} If patience or minDelta are impossible. */
  constructor(options: EarlyStop) {
    const { patience, minDelta = 0 } = options;
    if (!Number.isInteger(patience) || patience < 1) {
      throw new RangeError(
        `Cannot stop after ${patience} evaluations: expected a patience of at least 1`,
      );
    }
    if (!(minDelta >= 0 && Number.isFinite(minDelta))) {
      throw new RangeError(`Cannot stop with minDelta = ${minDelta}: expected 0 or more`);
    }
    this.#options = options;
  }

  /** True once patience has run out. */
  get done(): boolean {
    return this.#without >= this.#options.patience;
  }

  /**
   * Takes note of an evaluation.
   *
   * @returns True if it is the best so far.
   * @throws {RangeError} If it has no such number, naming those that it has.
   */
  add(row: HistoryRow): boolean {
    const { metric, minDelta = 0, goal = "min" } = this.#options;
    const value = row[metric];
    if (value === undefined) {
      const names = Object.keys(row).filter((name) => name !== "step");
      throw new RangeError(
        `Cannot stop by "${metric}": an evaluation gives ${
          names.map((name) => `"${name}"`).join(", ")
        }`,
      );
    }
    const better = this.best === undefined ||
      (goal === "min" ? this.best.value - value : value - this.best.value) > minDelta;
    if (better) this.best = { step: row.step, value };
    this.#without = better ? 0 : this.#without + 1;
    return better;
  }
}
