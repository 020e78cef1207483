/**
 * Rows of a split by number, from its files. Imports no tensors: a thread that reads ahead uses it
 * too.
 *
 * @module
 */
import { openSafetensors, type SafetensorsFile } from "../files/safetensors.ts";
import { segmentOf } from "../training/segments.ts";
import { AwaitedFiles, type FetchedFiles, type FileSource } from "./fetch_states.ts";

/** Files that stay open between batches: opening one costs as much as reading ten rows. */
const OPEN_FILES = 256;
/** Files that are fetched ahead of one that is read in order. */
const FILES_AHEAD = 2;
/** Times that a file is fetched for one reading while another process removes it each time. */
const FETCHES = 10;

/** The files of a split. */
export interface RowFilesOptions {
  /** Paths in order. */
  readonly paths: readonly string[];
  /** First token of each file, and the number of tokens at the end. */
  readonly starts: readonly number[];
  /** Elements of a row. */
  readonly width: number;
  /** Present if files may have to be fetched first. */
  readonly fetched?: FetchedFiles;
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
  readonly #source: FileSource | undefined;
  /** Open files by number, the one used last at the end. */
  readonly #open = new Map<number, SafetensorsFile>();

  /**
   * @param options The files.
   * @param source Brings those that are not there. Default: whoever asks waits for another thread to
   * bring them.
   */
  constructor({ paths, starts, width, fetched }: RowFilesOptions, source?: FileSource) {
    this.#paths = paths;
    this.#starts = starts;
    this.#width = width;
    this.#source = source ?? (fetched && new AwaitedFiles(fetched));
  }

  /** The file that has a token. */
  fileOf(token: number): number {
    return segmentOf(this.#starts, token);
  }

  /** The files that have some tokens, ascending. */
  filesOf(numbers: Int32Array): number[] {
    return [...new Set(Array.from(numbers, (number) => this.fileOf(number)))].sort((a, b) => a - b);
  }

  /** Consecutive rows as they are on disk, `[count, width]`. */
  read(start: number, count: number): Float32Array {
    const values = new Float32Array(count * this.#width);
    for (let done = 0; done < count;) {
      const number = this.fileOf(start + done);
      this.#expectFrom(number);
      const first = start + done - this.#starts[number];
      const many = Math.min(count - done, this.#starts[number + 1] - start - done);
      const rows = this.#file(number).readRows("activations", first, many);
      values.set(rows, done * this.#width);
      done += many;
    }
    this.#closeRemoved();
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
    if (this.#source) this.#expectMissing(this.filesOf(numbers));
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
    this.#closeRemoved();
    return values;
  }

  /**
   * Column of ids of the first tokens.
   *
   * @param from What is added to the ids of each file.
   */
  column(name: "token" | "document" | "position", tokens: number, from?: readonly number[]) {
    const values = new Int32Array(tokens);
    for (let number = 0; number < this.#paths.length; number++) {
      this.#expectFrom(number);
      const start = this.#starts[number];
      const { data } = this.#file(number).read(name);
      const added = from?.[number] ?? 0;
      const some = data.subarray(0, tokens - start) as Int32Array;
      values.set(added > 0 ? some.map((id) => id + added) : some, start);
    }
    return values;
  }

  /** Closes its files; reading opens them again. */
  close(): void {
    for (const file of this.#open.values()) file.close();
    this.#open.clear();
  }

  #file(number: number): SafetensorsFile {
    const file = this.#open.get(number) ?? this.#opened(number);
    this.#source?.used(number);
    this.#open.delete(number);
    this.#open.set(number, file);
    if (this.#open.size > OPEN_FILES) {
      const [[oldest, unused]] = this.#open;
      unused.close();
      this.#open.delete(oldest);
    }
    return file;
  }

  #opened(number: number): SafetensorsFile {
    this.#closeRemoved();
    for (let fetches = 0;; fetches++) {
      // Again if it was removed after it was brought: another process needed the room.
      this.#source?.require(number, fetches > 0);
      try {
        return openSafetensors(this.#paths[number]);
      } catch (error) {
        const gone = error instanceof Error && error.cause instanceof Deno.errors.NotFound;
        if (!this.#source || !gone || fetches === FETCHES) throw error;
      }
    }
  }

  #expectFrom(number: number): void {
    const last = Math.min(number + FILES_AHEAD, this.#paths.length - 1);
    if (!this.#source || this.#source.has(last)) return;
    this.#source.expect(Array.from({ length: last - number + 1 }, (_, i) => number + i));
  }

  #expectMissing(files: readonly number[]): void {
    if (!files.every((file) => this.#source!.has(file))) this.#source!.expect(files);
  }

  /** A removed file takes room on the disk as long as it is open. */
  #closeRemoved(): void {
    if (!this.#source) return;
    for (const [number, file] of this.#open) {
      if (this.#source.has(number)) continue;
      file.close();
      this.#open.delete(number);
    }
  }
}
