/**
 * The thread behind `StoreFetcher`: brings files of a store into a folder of this machine, those that
 * a reader waits for first, then those that will be read next.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { openStorage, type Storage, type StorageOptions } from "../storage/mod.ts";
import { ABSENT, FetchStates, READY, WANTED } from "./fetch_states.ts";
import { type Room, ShardCache } from "./shard_cache.ts";

/** A file of the store. */
export interface StoredFile {
  /** Name in the store's folder. */
  readonly file: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of its content. */
  readonly sha256: string;
}

/** What the thread is given. */
export interface FetchThreadData {
  /** Address of the storage. */
  readonly url: string;
  readonly storage?: StorageOptions;
  /** Folder of the store in it. */
  readonly key: string;
  readonly dir: string;
  readonly cacheBytes: number;
  readonly files: readonly StoredFile[];
  readonly shared: SharedArrayBuffer;
  /** Names the thread, and its process, in the folder. */
  readonly name: string;
}

/** What the thread is told: files that a reader waits for, or those that it will read next. */
export type FetchMessage =
  | { readonly require: readonly number[] }
  | { readonly reader: string; readonly expect: readonly number[] };

/** Files that are fetched at a time; twice as many if somebody waits for them. */
const AT_ONCE = 4;
/** Milliseconds after which a file is given up, whatever the storage still tries. */
const FILE_MS = 600_000;
const TOO_SLOW = `it did not come within ${FILE_MS / 60_000} minutes`;
const NO_ROOM =
  `others who share its folder left no room for it within ${
    FILE_MS / 60_000
  } minutes: give a larger ` +
  `cacheBytes, or another dir`;
const BEAT_MS = 500;
/** Milliseconds until it is looked again for room, or for what another process fetches. */
const RETRY_MS = 50;

class Fetching {
  readonly #data: FetchThreadData;
  readonly #storage: Storage;
  readonly #states: FetchStates;
  readonly #cache: ShardCache;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #written: number[];
  /** Files that somebody waits for, first come first, and since when. */
  readonly #required = new Map<number, number>();
  /** What readers will read, the one that spoke last at the end. */
  readonly #expected = new Map<string, readonly number[]>();
  readonly #busy = new Set<number>();
  #pumping = false;
  /** Number of things that happened: what was found out before may no longer hold. */
  #turn = 0;

  constructor(data: FetchThreadData) {
    this.#data = data;
    this.#storage = openStorage(data.url, data.storage);
    this.#states = new FetchStates(data.shared);
    const sizes = new Map(data.files.map(({ file, size }) => [file, size]));
    this.#cache = new ShardCache(data.dir, sizes, data.cacheBytes, data.name);
    this.#numbers = new Map(data.files.map(({ file }, i) => [file, i]));
    this.#written = data.files.map(() => 0);
  }

  tell(message: FetchMessage): void {
    if ("require" in message) {
      for (const file of message.require) {
        this.#want(file);
        // It may have come meanwhile; then nothing would end the wish for it.
        if (this.#states.get(file) === READY) continue;
        if (!this.#required.has(file)) this.#required.set(file, Date.now());
      }
    } else {
      const before = this.#expected.get(message.reader) ?? [];
      this.#expected.delete(message.reader);
      this.#expected.set(message.reader, message.expect);
      for (const file of message.expect) this.#want(file);
      // What nobody will fetch now must not be waited for.
      const all = new Set(this.#inOrder());
      for (const file of before) {
        if (!all.has(file) && !this.#busy.has(file)) this.#states.change(file, WANTED, ABSENT);
      }
    }
    void this.#pump();
  }

  /** Writes down when files were used, for other processes that share the folder. */
  async writeUses(): Promise<void> {
    for (const [i, { file }] of this.#data.files.entries()) {
      const use = this.#states.lastUse(i);
      if (use === this.#written[i]) continue;
      this.#written[i] = use;
      // A time that cannot be written makes another file go, which is fetched again.
      await this.#cache.touch(file, new Date(use)).catch(() => {});
    }
  }

  #want(file: number): void {
    const state = this.#states.get(file);
    if (state !== READY) this.#states.change(file, state, WANTED);
  }

  /** Files in the order in which they matter. */
  *#inOrder(): Generator<number> {
    yield* this.#required.keys();
    for (const files of [...this.#expected.values()].reverse()) yield* files;
  }

  /** Makes room for one file after another, so that none takes that of one that matters more. */
  async #pump(): Promise<void> {
    this.#turn++;
    if (this.#pumping) return;
    this.#pumping = true;
    for (let turn = -1; turn !== this.#turn;) {
      turn = this.#turn;
      for (const file of [...new Set(this.#inOrder())]) {
        const most = this.#required.has(file) ? 2 * AT_ONCE : AT_ONCE;
        if (this.#busy.size >= most || turn !== this.#turn) break;
        if (this.#busy.has(file) || this.#states.get(file) !== WANTED) continue;
        if (await this.#start(file) !== "full") continue;
        this.#giveUpUnrequired();
        break;
      }
    }
    this.#pumping = false;
  }

  /** Begins to fetch a file if there is room for it. */
  async #start(file: number): Promise<Room["state"] | "failed"> {
    const name = this.#data.files[file].file;
    const next = Array.from(this.#inOrder(), (other) => this.#data.files[other].file);
    try {
      await this.writeUses();
      const { state, path, present } = await this.#cache.reserve(name, next);
      this.#settle(present);
      const since = this.#required.get(file);
      if (state === "reserved") {
        this.#busy.add(file);
        void this.#bring(file, path).finally(() => {
          this.#busy.delete(file);
          void this.#pump();
        });
      } else if (state === "there") this.#end(file, READY);
      else if (state === "full" && since === undefined) return state;
      else if (since !== undefined && Date.now() - since > FILE_MS) throw new Error(NO_ROOM);
      else setTimeout(() => void this.#pump(), RETRY_MS);
      return state;
    } catch (error) {
      this.#fail(file, error);
      return "failed";
    }
  }

  async #bring(file: number, path: string): Promise<void> {
    const { file: name, sha256 } = this.#data.files[file];
    const signal = AbortSignal.timeout(FILE_MS);
    try {
      await this.#storage.download(`${this.#data.key}/${name}`, path, { sha256, signal });
      await this.#cache.commit(name);
      this.#end(file, READY);
    } catch (error) {
      await this.#cache.release(name);
      this.#fail(file, signal.aborted ? new Error(TOO_SLOW) : error);
    }
  }

  /** Where one has no room, those that matter less have none. */
  #giveUpUnrequired(): void {
    for (const file of this.#inOrder()) {
      if (this.#required.has(file) || this.#busy.has(file)) continue;
      this.#states.change(file, WANTED, ABSENT);
    }
  }

  #end(file: number, state: number): void {
    this.#required.delete(file);
    this.#states.set(file, state);
  }

  #fail(file: number, error: unknown): void {
    // Nobody waits for what was to be read later; whoever needs it asks again, and is told.
    if (!this.#required.has(file)) return this.#end(file, ABSENT);
    this.#required.delete(file);
    this.#states.fail(file, error instanceof Error ? error.message : String(error));
  }

  /** Takes over what is in the folder, whoever brought or removed it. */
  #settle(present: ReadonlySet<string>): void {
    for (const [name, file] of this.#numbers) {
      if (present.has(name)) {
        this.#required.delete(file);
        this.#states.change(file, ABSENT, READY);
        this.#states.change(file, WANTED, READY);
      } else this.#states.change(file, READY, ABSENT);
    }
  }
}

const data = workerData as FetchThreadData;
const fetching = new Fetching(data);
const states = new FetchStates(data.shared);
parentPort!.on("message", (message: FetchMessage) => fetching.tell(message));
states.beat();
setInterval(() => {
  states.beat();
  void fetching.writeUses();
}, BEAT_MS);
