import type { Clock, Voice } from "../../lib/cluster/drive.ts";
import { type Engine, EngineUnavailable, type Job, type JobState } from "../../lib/cluster/mod.ts";
import { recordKey } from "../../lib/cluster/record.ts";
import type { Storage } from "../../lib/storage/mod.ts";

/** Time that passes only when everybody sleeps. */
export class FakeClock implements Clock {
  time = 0;
  /** How often somebody slept. */
  sleeps = 0;
  #sleepers: { time: number; wake: () => void }[] = [];
  #running = false;

  now(): number {
    return this.time;
  }

  sleep(seconds: number, signal?: AbortSignal): Promise<void> {
    this.sleeps++;
    return new Promise((resolve) => {
      const sleeper = { time: this.time + seconds, wake: resolve };
      const wakeNow = () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        resolve();
      };
      if (signal?.aborted) return resolve();
      signal?.addEventListener("abort", wakeNow, { once: true });
      sleeper.wake = () => {
        signal?.removeEventListener("abort", wakeNow);
        resolve();
      };
      this.#sleepers.push(sleeper);
      void this.#run();
    });
  }

  /** Does something at a time. */
  at(time: number, action: () => void): void {
    void this.sleep(time - this.time).then(action);
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    while (this.#sleepers.length > 0) {
      // Everything that is not asleep goes on until it is: nothing here waits for the system.
      await new Promise((resolve) => setImmediate(resolve));
      this.#sleepers.sort((a, b) => a.time - b.time);
      const next = this.#sleepers.shift();
      if (!next) break;
      this.time = Math.max(this.time, next.time);
      next.wake();
    }
    this.#running = false;
  }
}

/** A storage that knows which records there are, in memory that does not grow, and counts. */
export class FakeStorage implements Storage {
  readonly url = "memory://fake";
  /** Requests that were answered. */
  readonly requests = { stat: 0, list: 0 };
  /** Whether requests fail, and how. */
  broken = false;
  error = new Error("500 Internal Server Error");
  readonly #slots: BigUint64Array;
  #count = 0;

  constructor(records = 1 << 15) {
    this.#slots = new BigUint64Array(2 * records);
  }

  get size(): number {
    return this.#count;
  }

  #slot(hash: bigint): number {
    let slot = Number(hash % BigInt(this.#slots.length));
    while (this.#slots[slot] !== 0n && this.#slots[slot] !== hash) {
      slot = (slot + 1) % this.#slots.length;
    }
    return slot;
  }

  /** Leaves the record of a unit. */
  record(hash: string): void {
    const slot = this.#slot(BigInt(`0x${hash}`));
    if (this.#slots[slot] === 0n) this.#count++;
    this.#slots[slot] = BigInt(`0x${hash}`);
  }

  has(hash: string): boolean {
    return this.#slots[this.#slot(BigInt(`0x${hash}`))] !== 0n;
  }

  stat(key: string): Promise<{ size: number } | undefined> {
    if (this.broken) return Promise.reject(this.error);
    this.requests.stat++;
    const [, hash] = /^units\/([0-9a-f]{16})\.json$/.exec(key)!;
    return Promise.resolve(this.has(hash) ? { size: 2 } : undefined);
  }

  async *list(prefix: string): AsyncIterable<{ key: string; size: number }> {
    if (this.broken) throw this.error;
    this.requests.list++;
    for (const hash of this.#slots.toSorted()) {
      const key = recordKey(hash.toString(16).padStart(16, "0"));
      if (hash !== 0n && key.startsWith(prefix)) yield await Promise.resolve({ key, size: 2 });
    }
  }

  read = () => Promise.reject(new Error("Nothing is read"));
  write = () => Promise.reject(new Error("Nothing is written"));
  upload = this.write;
  download = this.read;
  remove = () => Promise.resolve();
}

/** What a job does. */
export interface Behaviour {
  /** How long it takes. Default 10. */
  seconds?: number;
  /** Default: it ends well and leaves its record. */
  ends?: "well" | "badly" | "without a record";
  message?: string;
  log?: string;
}

interface FakeJob extends JobState {
  job: Job;
  behaviour: Behaviour;
  ends?: number;
}

/** An engine with nodes of one slot each, in virtual time. */
export class FakeEngine implements Engine {
  readonly name = "The fake engine";
  readonly jobs = new Map<string, FakeJob>();
  /** Jobs that began to work, in their order, with the nodes; kept if `keep`. */
  readonly began: { id: string; node: string }[] = [];
  keep = true;
  /** Jobs that were pending or running at once, at most. */
  most = 0;
  /** Whether it answers. */
  down = false;
  checks = 0;
  /** As of an engine; by default it knows none. */
  obstacle?: Engine["obstacle"];

  constructor(
    readonly clock: FakeClock,
    readonly storage: FakeStorage,
    public nodes: string[],
    readonly behave: (id: string, node: string) => Behaviour = () => ({}),
  ) {}

  check(): Promise<void> {
    return this.#answer(() => void this.checks++);
  }

  submit(job: Job): Promise<void> {
    return this.#answer(() => {
      if (this.jobs.has(job.id)) return;
      this.jobs.set(job.id, { job, state: "pending", behaviour: {} });
      const live = [...this.jobs.values()].filter(({ state }) => isLive(state));
      this.most = Math.max(this.most, live.length);
    });
  }

  state(id: string): Promise<JobState> {
    return this.#answer(() => {
      const { state, node, message } = this.jobs.get(id) ?? { state: "unknown" as const };
      return { state, node, message };
    });
  }

  log(id: string): Promise<string> {
    return this.#answer(() => this.jobs.get(id)?.behaviour.log ?? "");
  }

  stop(id: string): Promise<void> {
    return this.#answer(() => this.#set(id, { state: "stopped" }));
  }

  forget(id: string): Promise<void> {
    return this.#answer(() => {
      if (!isLive(this.jobs.get(id)?.state)) this.jobs.delete(id);
    });
  }

  [Symbol.asyncDispose] = () => Promise.resolve();

  /** The head starts again and knows nothing; its nodes have ended what they ran. */
  restart(): void {
    this.jobs.clear();
  }

  /** A node goes, and with it what it runs. */
  leave(node: string): void {
    this.#advance();
    this.nodes = this.nodes.filter((other) => other !== node);
    for (const [id, job] of this.jobs) {
      if (job.node === node && job.state === "running") {
        this.#set(id, { state: "lost" });
      }
    }
  }

  #set(id: string, change: Partial<FakeJob>): void {
    const job = this.jobs.get(id);
    if (job && isLive(job.state)) Object.assign(job, change);
  }

  #answer<T>(give: () => T): Promise<T> {
    if (this.down) return Promise.reject(new EngineUnavailable("connection refused"));
    this.#advance();
    const answer = give();
    this.#advance();
    return Promise.resolve(answer);
  }

  /** Ends and begins what should have ended and begun by now. */
  #advance(): void {
    for (;;) {
      const running = [...this.jobs.values()].filter(({ state }) => state === "running")
        .sort((a, b) => a.ends! - b.ends!);
      const busy = new Set(running.map(({ node }) => node));
      const free = this.nodes.filter((node) => !busy.has(node));
      for (const [id, job] of this.jobs) {
        if (job.state !== "pending" || free.length === 0) continue;
        const other = this.nodes.some((node) => !job.job.avoid.includes(node));
        const place = free.findIndex((node) => !other || !job.job.avoid.includes(node));
        if (place < 0) continue;
        const [node] = free.splice(place, 1);
        // A unit whose record is there loads it and does no work.
        const done = this.storage.has(hashOf(id));
        const behaviour = done ? { seconds: 0 } : this.behave(id, node);
        const ends = this.clock.now() + (behaviour.seconds ?? 10);
        Object.assign(job, { state: "running", node, behaviour, ends });
        if (this.keep && !done) this.began.push({ id, node });
      }
      const due = running.find(({ ends }) => ends! <= this.clock.now());
      if (!due) return;
      this.#end(due);
    }
  }

  #end(job: FakeJob): void {
    const { ends = "well", message } = job.behaviour;
    if (ends === "well") this.storage.record(hashOf(job.job.id));
    Object.assign(job, { state: ends === "badly" ? "failed" : "succeeded", message });
  }
}

/** Hash of the unit of a job. */
export function hashOf(id: string): string {
  return id.split("-")[1];
}

function isLive(state: JobState["state"] | undefined): boolean {
  return state === "pending" || state === "running";
}

/** Keeps what a run says. */
export class Listener implements Voice {
  readonly said: { text: string; detail?: string }[] = [];
  readonly shown: { done: number; total: number; values: Record<string, number> }[] = [];

  progress(done: number, total: number, values: Record<string, number>): void {
    this.shown.push({ done, total, values });
    if (this.shown.length > 10_000) this.shown.splice(0, 5000);
  }

  say(text: string, detail?: string): void {
    this.said.push({ text, detail });
  }
}
