/**
 * The order in which training reads tokens that are not all within reach: files in a random order,
 * and tokens shuffled within a window of files.
 *
 * @module
 */
import { Permutation, requireBatch } from "./order.ts";
import { segmentOf } from "./segments.ts";

/** What decides the tokens of a training step. */
export interface StepOfOrder {
  /** Number of the batch, from 0. */
  readonly step: number;
  /** Tokens, at most those of an epoch. */
  readonly batchSize: number;
  /** Decides the order. */
  readonly seed: number;
}

/** Files of an epoch in their order, cut into windows. */
interface Epoch {
  readonly name: string;
  readonly files: Int32Array;
  /** First place of each window in the epoch, and the end of the last one. */
  readonly starts: Float64Array;
}

/** Tokens of a window in their order. */
interface Window {
  readonly name: string;
  readonly order: Permutation;
  readonly files: Int32Array;
  /** Tokens of the files before each one, and of all of them. */
  readonly starts: Float64Array;
}

/**
 * An endless stream of training steps over tokens in files: every epoch the files come in a new
 * random order, cut into windows of some files each, and the tokens of a window are shuffled. So a
 * step needs the files of one window, or of two where it ends, and still mixes tokens of all of them;
 * every token comes once an epoch, and a batch at the end of an epoch goes on into the next one.
 *
 * The same (seed, step, batch size) give the same tokens whatever was read before, so a resumed run
 * goes on exactly. Memory grows with the number of files, not of tokens.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { WindowedOrder } from "interlens";
 *
 * // Three files of 4, 4 and 2 tokens, two of them at a time.
 * const order = new WindowedOrder([0, 4, 8, 10], 2);
 * const steps = [0, 1, 2, 3, 4].map((step) => ({ step, batchSize: 2, seed: 0 }));
 * const epoch = steps.flatMap((step) => [...order.indices(step)]);
 * assertEquals(epoch.toSorted((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
 * assertEquals(order.files(steps[0]).now.length, 2);
 * ```
 */
export class WindowedOrder {
  /** Tokens of an epoch. */
  readonly tokens: number;
  /** Files of a window. */
  readonly window: number;
  readonly #starts: readonly number[];
  #epoch: Epoch | undefined;
  #window: Window | undefined;

  /**
   * @param starts First token of each file, and the number of tokens at the end.
   * @param window Files of a window, from 1 on; the last window of an epoch may have fewer.
   * @throws {RangeError} If the window is another number, or there are more than 2³¹ − 1 tokens.
   */
  constructor(starts: readonly number[], window: number) {
    this.tokens = starts.at(-1)!;
    this.window = window;
    this.#starts = starts;
    if (!(Number.isInteger(window) && window >= 1)) {
      throw new RangeError(
        `Cannot shuffle in windows of ${window} files: expected an integer from 1 on`,
      );
    }
    if (this.tokens >= 2 ** 31) {
      throw new RangeError(
        `Cannot shuffle ${this.tokens} tokens: an epoch has at most 2^31 - 1, train on fewer of them`,
      );
    }
  }

  /**
   * Numbers of the tokens of a step.
   *
   * @throws {RangeError} If an argument is out of range.
   */
  indices({ step, batchSize, seed }: StepOfOrder): Int32Array {
    const { tokens } = this;
    requireBatch(tokens, { step, batchSize });
    const indices = new Int32Array(batchSize);
    for (let i = 0; i < batchSize;) {
      const { number, place } = this.#placeOf(step * batchSize + i);
      const epoch = this.#epochOf(seed, number);
      const w = segmentOf(epoch.starts, place);
      const window = this.#windowOf(seed, number, epoch, w);
      const end = Math.min(batchSize, i + epoch.starts[w + 1] - place);
      for (let at = place - epoch.starts[w]; i < end; i++, at++) {
        const token = window.order.at(at);
        const f = segmentOf(window.starts, token);
        indices[i] = this.#starts[window.files[f]] + token - window.starts[f];
      }
    }
    return indices;
  }

  /**
   * Files that a step may read, and those that will be read next.
   *
   * @returns `now`: those of the step's windows; `next`: those of the window after them. A file may be
   * in both where an epoch ends.
   * @throws {RangeError} If an argument is out of range.
   */
  files({ step, batchSize, seed }: StepOfOrder): { now: number[]; next: number[] } {
    requireBatch(this.tokens, { step, batchSize });
    const now: number[] = [];
    let at = step * batchSize;
    while (at < (step + 1) * batchSize) {
      const window = this.#filesAt(at, seed);
      now.push(...window.files);
      at = window.end;
    }
    return { now: [...new Set(now)], next: [...this.#filesAt(at, seed).files] };
  }

  #filesAt(at: number, seed: number): { files: Int32Array; end: number } {
    const { number, place } = this.#placeOf(at);
    const { files, starts } = this.#epochOf(seed, number);
    const w = segmentOf(starts, place);
    return {
      files: files.subarray(w * this.window, (w + 1) * this.window),
      end: at - place + starts[w + 1],
    };
  }

  #placeOf(at: number): { number: number; place: number } {
    const number = Math.floor(at / this.tokens);
    return { number, place: at - number * this.tokens };
  }

  #epochOf(seed: number, number: number): Epoch {
    const name = `${seed}/${number}`;
    if (this.#epoch?.name === name) return this.#epoch;
    const count = this.#starts.length - 1;
    const order = new Permutation(count, seed, "files", number);
    const files = Int32Array.from({ length: count }, (_, i) => order.at(i));
    const starts = new Float64Array(Math.ceil(count / this.window) + 1);
    for (let w = 0; w + 1 < starts.length; w++) {
      starts[w + 1] = starts[w] + this.#ends(this.#filesOf(files, w)).at(-1)!;
    }
    return this.#epoch = { name, files, starts };
  }

  #windowOf(seed: number, number: number, epoch: Epoch, w: number): Window {
    const name = `${epoch.name}/${w}`;
    if (this.#window?.name === name) return this.#window;
    const files = this.#filesOf(epoch.files, w);
    const starts = this.#ends(files);
    const order = new Permutation(starts.at(-1)!, seed, "window", number, w);
    return this.#window = { name, order, files, starts };
  }

  #filesOf(files: Int32Array, w: number): Int32Array {
    return files.subarray(w * this.window, (w + 1) * this.window);
  }

  /** Tokens before each of some files, and of all of them. */
  #ends(files: Int32Array): Float64Array {
    const starts = new Float64Array(files.length + 1);
    for (const [i, file] of files.entries()) {
      starts[i + 1] = starts[i] + this.#starts[file + 1] - this.#starts[file];
    }
    return starts;
  }
}
