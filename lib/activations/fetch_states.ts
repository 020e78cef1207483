/**
 * What threads know together about the files of a store that is fetched: which are there, which are
 * wanted, which cannot be had and why. Imports no tensors.
 *
 * @module
 */

/** Files that a reader of one split may not find on disk. */
export interface FetchedFiles {
  /** Memory of the `FetchStates` of all files of the store. */
  readonly shared: SharedArrayBuffer;
  /** Number of the split's first file among them. */
  readonly first: number;
}

/** Whether the files that a reader needs are there, and a way to wait for them. */
export interface FileSource {
  /** True if it is on disk, as far as this process knows. */
  has(file: number): boolean;
  /**
   * Waits until a file is on disk. The thread stands still meanwhile.
   *
   * @param file Number in its split.
   * @param lost It was said to be there and is not.
   * @throws {Error} If it cannot be had, saying why.
   */
  require(file: number, lost?: boolean): void;
  /** Says which files will be read, in that order. */
  expect(files: readonly number[]): void;
  /** Says that a file was read. */
  used(file: number): void;
}

/** Where a file is; below {@linkcode WANTED} stands which error it has. */
export const ABSENT = 0;
export const WANTED = -1;
export const READY = 1;

const ERRORS = 16;
const ERROR_BYTES = 2048;
/** Beats of the thread, and the number of errors. */
const HEAD = 2;
const STALLED_MS = 60_000;

/** States of files in memory that threads share. */
export class FetchStates {
  /** The memory. */
  readonly shared: SharedArrayBuffer;
  /** Number of files. */
  readonly count: number;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  /** Milliseconds since 1970 of the last use of each file. */
  readonly #uses: BigInt64Array<SharedArrayBuffer>;
  readonly #errors: Uint8Array<SharedArrayBuffer>;

  /** @param filesOrShared Number of files, or the memory that another thread made. */
  constructor(filesOrShared: number | SharedArrayBuffer) {
    const errors = ERRORS * ERROR_BYTES;
    this.shared = typeof filesOrShared === "number"
      ? new SharedArrayBuffer(errors + 4 * HEAD + 12 * filesOrShared)
      : filesOrShared;
    this.count = (this.shared.byteLength - errors - 4 * HEAD) / 12;
    this.#errors = new Uint8Array(this.shared, 0, errors);
    this.#uses = new BigInt64Array(this.shared, errors, this.count);
    this.#cells = new Int32Array(this.shared, errors + 8 * this.count);
  }

  /** Where a file is. */
  get(file: number): number {
    return Atomics.load(this.#cells, HEAD + file);
  }

  /** Where a file is from now on; wakes up who waits for it. */
  set(file: number, state: number): void {
    Atomics.store(this.#cells, HEAD + file, state);
    Atomics.notify(this.#cells, HEAD + file);
  }

  /** Changes a state if it is still what it was. */
  change(file: number, from: number, to: number): void {
    if (Atomics.compareExchange(this.#cells, HEAD + file, from, to) === from) {
      Atomics.notify(this.#cells, HEAD + file);
    }
  }

  /** Says why a file cannot be had. */
  fail(file: number, message: string): void {
    const slot = Atomics.add(this.#cells, 1, 1) % ERRORS;
    const bytes = new TextEncoder().encode(message).subarray(0, ERROR_BYTES - 1);
    const target = this.#errors.subarray(slot * ERROR_BYTES, (slot + 1) * ERROR_BYTES);
    target.set(bytes);
    target[bytes.length] = 0;
    this.set(file, WANTED - 1 - slot);
  }

  /** Why a file cannot be had; undefined if that was not said. The next one who wants it may ask again. */
  takeError(file: number): string | undefined {
    const state = this.get(file);
    if (state >= WANTED) return undefined;
    const slot = WANTED - 1 - state;
    const bytes = this.#errors.slice(slot * ERROR_BYTES, (slot + 1) * ERROR_BYTES);
    this.change(file, state, ABSENT);
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  /** Blocks for up to a second while a file is wanted. */
  wait(file: number): void {
    Atomics.wait(this.#cells, HEAD + file, WANTED, 1000);
  }

  /** Says that the thread that fetches is alive. */
  beat(): void {
    Atomics.add(this.#cells, 0, 1);
  }

  /** Tells whether the thread that fetches has been silent for a minute, each time it is called. */
  watch(): () => boolean {
    let last = -1;
    let since = 0;
    return () => {
      const beats = Atomics.load(this.#cells, 0);
      if (beats !== last) [last, since] = [beats, performance.now()];
      return performance.now() - since > STALLED_MS;
    };
  }

  /** Says that a file was used now. */
  used(file: number): void {
    Atomics.store(this.#uses, file, BigInt(Date.now()));
  }

  /** When a file was last used, in milliseconds since 1970; 0 if not yet. */
  lastUse(file: number): number {
    return Number(Atomics.load(this.#uses, file));
  }
}

/** The files of a split, for a thread that can wait for them and not ask. */
export class AwaitedFiles implements FileSource {
  readonly #states: FetchStates;
  readonly #first: number;

  constructor({ shared, first }: FetchedFiles) {
    this.#states = new FetchStates(shared);
    this.#first = first;
  }

  has(file: number): boolean {
    return this.#states.get(this.#first + file) === READY;
  }

  require(file: number, lost = false): void {
    const number = this.#first + file;
    const stalled = this.#states.watch();
    while (!lost && this.#states.get(number) === WANTED && !stalled()) this.#states.wait(number);
    if (lost || this.#states.get(number) !== READY) throw new Error(`File ${number} is not there`);
  }

  expect(): void {}

  used(file: number): void {
    this.#states.used(this.#first + file);
  }
}
