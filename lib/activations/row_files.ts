/**
 * Rows of a split by number, from its files. Imports no tensors: a thread that reads ahead uses it
 * too.
 *
 * @module
 */
import { openSafetensors, type SafetensorsFile } from "../files/safetensors.ts";

/** Files that stay open between batches: opening one costs as much as reading ten rows. */
const OPEN_FILES = 256;

/** The files of a split. */
export interface RowFilesOptions {
  /** Paths in order. */
  readonly paths: readonly string[];
  /** First token of each file, and the number of tokens at the end. */
  readonly starts: readonly number[];
  /** Elements of a row. */
  readonly width: number;
}

/** What every row goes through: `scale · min(max(x, low), high)`. */
export interface Scaling {
  readonly scale: number;
  readonly clip: { readonly low: number; readonly high: number } | null;
}

/** Scales and clamps elements in place. */
export function scaleInPlace(values: Float32Array, { scale, clip }: Scaling): void {
  const low = clip?.low ?? -Infinity;
  const high = clip?.high ?? Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    values[i] = scale * (value < low ? low : value > high ? high : value);
  }
}

/** Reads rows. Keeps up to 256 files open; `close` closes them. */
export class RowFiles {
  readonly #paths: readonly string[];
  readonly #starts: readonly number[];
  readonly #width: number;
  /** Open files by number, the one used last at the end. */
  readonly #open = new Map<number, SafetensorsFile>();

  constructor({ paths, starts, width }: RowFilesOptions) {
    this.#paths = paths;
    this.#starts = starts;
    this.#width = width;
  }

  /** The file that has a token. */
  fileOf(token: number): number {
    let low = 0;
    let high = this.#paths.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle] <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Consecutive rows as they are on disk, `[count, width]`. */
  read(start: number, count: number): Float32Array {
    const values = new Float32Array(count * this.#width);
    for (let done = 0; done < count;) {
      const number = this.fileOf(start + done);
      const first = start + done - this.#starts[number];
      const many = Math.min(count - done, this.#starts[number + 1] - start - done);
      const rows = this.#file(number).readRows("activations", first, many);
      values.set(rows, done * this.#width);
      done += many;
    }
    return values;
  }

  /** Rows by number, read in the order of the disk, `[numbers.length, width]` in the order asked for. */
  gather(numbers: Int32Array): Float32Array<ArrayBuffer> {
    const count = numbers.length;
    const d = this.#width;
    const values = new Float32Array(count * d);
    // Number and place in one, so that typed arrays sort both at native speed.
    const keys = Float64Array.from(numbers, (number, i) => number * count + i).sort();
    const numberOf = (key: number) => Math.floor(key / count);
    for (let i = 0; i < count;) {
      const file = this.fileOf(numberOf(keys[i]));
      let last = i;
      while (last < count && numberOf(keys[last]) < this.#starts[file + 1]) last++;
      const rows = Float64Array.from(
        keys.subarray(i, last),
        (key) => numberOf(key) - this.#starts[file],
      );
      const found = new Float32Array(rows.length * d);
      this.#file(file).gatherRows("activations", rows, found);
      for (let j = i; j < last; j++) {
        const from = (j - i) * d;
        values.set(found.subarray(from, from + d), (keys[j] % count) * d);
      }
      i = last;
    }
    return values;
  }

  /** Closes its files; reading opens them again. */
  close(): void {
    for (const file of this.#open.values()) file.close();
    this.#open.clear();
  }

  #file(number: number): SafetensorsFile {
    const file = this.#open.get(number) ?? openSafetensors(this.#paths[number]);
    this.#open.delete(number);
    this.#open.set(number, file);
    if (this.#open.size > OPEN_FILES) {
      const [[oldest, unused]] = this.#open;
      unused.close();
      this.#open.delete(oldest);
    }
    return file;
  }
}
