/**
 * Files of a store that lies in a storage, brought to a folder of this machine by another thread
 * when they are read or will be.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import {
  ABSENT,
  type FetchedFiles,
  FetchStates,
  type FileSource,
  READY,
  WANTED,
} from "./fetch_states.ts";
import type { FetchMessage, FetchThreadData } from "./fetch_thread.ts";
import { fetcherName, ShardCache } from "./shard_cache.ts";

/** Milliseconds between two looks at files that are waited for while the thread goes on. */
const LOOK_MS = 10;
/** Times that it is waited until several files are there at once; who then reads waits for each. */
const ROUNDS = 5;

/** Where the files come from and go to. */
export type FetchPlace = Omit<FetchThreadData, "shared" | "name">;

/** Fetches files; the thread starts when one is first needed and does not keep the process alive. */
export class StoreFetcher {
  /** Where files come from and go to. */
  readonly place: FetchPlace;
  readonly #states: FetchStates;
  #worker: Worker | undefined;
  #name = "";

  constructor(place: FetchPlace) {
    this.place = place;
    this.#states = new FetchStates(place.files.length);
  }

  /** The files of one reader. */
  of(reader: string, first: number): SplitFetcher {
    return new SplitFetcher(this, this.#states, reader, first);
  }

  /** Tells the thread what is needed. */
  tell(message: FetchMessage): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(message);
  }

  /**
   * True if the file is there.
   *
   * @param stalled Tells whether the thread has been silent for too long.
   * @throws {Error} If it cannot be had.
   */
  check(file: number, stalled: () => boolean): boolean {
    if (this.#states.get(file) === READY) return true;
    let reason = this.#states.takeError(file);
    if (reason === undefined) {
      if (!stalled()) return false;
      this.close();
      reason = "the thread that fetches has not answered for a minute";
    }
    const { url, key, files } = this.place;
    throw new Error(
      `Cannot fetch "${files[file].file}" of the activation store "${url}/${key}": ${reason}`,
    );
  }

  /** Ends the thread; the next file that is needed starts it again. */
  close(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    void worker?.terminate();
    // What it was fetching is of no use to anybody.
    if (worker) removeFolder(ShardCache.folderOf(this.place.dir, this.#name));
    for (let file = 0; file < this.#states.count; file++) this.#states.set(file, ABSENT);
  }

  #start(): Worker {
    this.#name = fetcherName();
    const workerData: FetchThreadData = {
      ...this.place,
      shared: this.#states.shared,
      name: this.#name,
    };
    const worker = new Worker(new URL("./fetch_thread.ts", import.meta.url), { workerData });
    worker.on("error", ({ message }) => {
      if (worker !== this.#worker) return;
      this.#worker = undefined;
      for (let file = 0; file < this.#states.count; file++) {
        if (this.#states.get(file) === WANTED) this.#states.fail(file, message);
      }
    });
    worker.unref();
    return worker;
  }
}

/** The files of one split, as its reader asks for them. */
export class SplitFetcher implements FileSource {
  readonly #fetcher: StoreFetcher;
  readonly #states: FetchStates;
  readonly #reader: string;
  readonly #first: number;
  #expected = "";

  constructor(fetcher: StoreFetcher, states: FetchStates, reader: string, first: number) {
    this.#fetcher = fetcher;
    this.#states = states;
    this.#reader = reader;
    this.#first = first;
  }

  /** What another thread needs to wait for the same files. */
  get shared(): FetchedFiles {
    return { shared: this.#states.shared, first: this.#first };
  }

  has(file: number): boolean {
    return this.#states.get(this.#first + file) === READY;
  }

  require(file: number, lost = false): void {
    const number = this.#first + file;
    if (lost) this.#states.change(number, READY, ABSENT);
    const stalled = this.#states.watch();
    for (let asked = false; !this.#fetcher.check(number, stalled); asked = true) {
      if (!asked || this.#states.get(number) === ABSENT) this.#ask([number]);
      this.#states.wait(number);
    }
  }

  /**
   * Waits until files are on disk, while this thread goes on.
   *
   * @throws {Error} If one cannot be had, saying why.
   */
  async ready(files: readonly number[]): Promise<void> {
    // Again if one had to go while others came: the first ones may no longer be there.
    for (let round = 0; round < ROUNDS; round++) {
      const missing = files.filter((file) => !this.has(file)).map((file) => this.#first + file);
      if (missing.length === 0) return;
      this.#ask(missing);
      for (const file of missing) {
        const stalled = this.#states.watch();
        while (!this.#fetcher.check(file, stalled)) {
          if (this.#states.get(file) === ABSENT) this.#ask([file]);
          await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        }
      }
    }
  }

  expect(files: readonly number[]): void {
    const name = files.join();
    if (name === this.#expected) return;
    this.#expected = name;
    const expect = files.map((file) => this.#first + file);
    for (const file of expect) this.#states.change(file, ABSENT, WANTED);
    this.#fetcher.tell({ reader: this.#reader, expect });
  }

  used(file: number): void {
    this.#states.used(this.#first + file);
  }

  #ask(files: readonly number[]): void {
    for (const file of files) this.#states.change(file, ABSENT, WANTED);
    this.#fetcher.tell({ require: files });
  }
}

function removeFolder(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch {
    // It was never made; or what is left is removed by the next who makes room.
  }
}
