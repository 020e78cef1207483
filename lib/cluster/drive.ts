/**
 * The work of the driver: from units to jobs to records.
 *
 * Nothing is kept that could be lost with the process. Whether a unit is done stands in the storage,
 * whether it is under way is known to the engine, and a job's id follows from its unit and from what
 * runs it: a driver that starts again, or a second one, finds the same jobs. A look at the world that
 * fails is done again.
 *
 * @module
 */
import { loadStimuli } from "../corpus/mod.ts";
import { canonicalJson, configHash } from "../files/mod.ts";
import type { Storage } from "../storage/mod.ts";
import { concurrently } from "./concurrently.ts";
import { DoneUnits } from "./done_units.ts";
import type { Engine, Job, JobState } from "./engine.ts";
import { jobId, threadEnvironment } from "./job.ts";
import { fractionIn, readableTail } from "./job_log.ts";
import { Outage } from "./outage.ts";
import { requireUnit } from "./parse_unit.ts";
import { recordKey } from "./record.ts";
import { type FailedUnit, RunReport, type SkippedUnit } from "./run_report.ts";
import { dependencies, type Unit, unitHash, unitName } from "./unit.ts";
import { UnitSource } from "./unit_source.ts";

/** Time as the driver sees it, in seconds. */
export interface Clock {
  now(): number;
  /** Waits, or less if the signal says so. */
  sleep(seconds: number, signal?: AbortSignal): Promise<void>;
}

/** What a run says while it goes. */
export interface Voice {
  /** How far it is. `done` counts parts of units too. */
  progress(done: number, total: number, values: Record<string, number>): void;
  /** Something that the reader should know. */
  say(text: string, detail?: string): void;
}

/** Everything that a run needs. */
export interface DriveSettings {
  engine: Engine;
  storage: Storage;
  clock: Clock;
  voice: Voice;
  command(unit: Unit): readonly string[];
  resources(unit: Unit): Job["resources"];
  /** What tells the project that jobs run from another version of it. */
  project(): Promise<unknown>;
  inFlight: number;
  retries: number;
  patience: number;
  total?: number;
  signal?: AbortSignal;
}

/** A unit that has neither its result nor failed. */
interface Task {
  readonly unit: Unit;
  readonly hash: string;
  /** Units that it waits for. */
  readonly missing: Set<string>;
  /** From 0. */
  attempt: number;
  /** Nodes on which it failed. */
  readonly nodes: string[];
  /** Not before this time. */
  notBefore: number;
  /** How often its job was lost or stopped by others. */
  lost: number;
  /** Hash of what runs it; known once it is handed in. */
  work?: string;
  /** Whether jobs of other drivers were looked for. */
  adopted?: boolean;
  /** Since when its job runs. */
  running?: number;
  /** When its log was last asked for. */
  asked: number;
  fraction: number;
  /** Since when its job has ended well without a record. */
  unrecorded?: number;
}

/** Units that may wait for others at once, so that memory does not grow with a sweep. */
const LOOK_AHEAD = 1000;
/** Seconds between two looks at the jobs, where the engine says nothing else. */
const INTERVAL = 0.25;
/** Seconds after which the record of a job that ended well is missed: shared folders are late. */
const RECORD_GRACE = 15;
/** Least seconds between two looks at a job's log. */
const LOG_INTERVAL = 5;
/** A job of an hour is looked at every three minutes. */
const LOG_SHARE = 0.05;
const PROGRESS_BYTES = 2048;
const TAIL_BYTES = 16_384;
const TAIL_LINES = 20;
/** Failed units whose log is printed, and kept. */
const [LOGS_SHOWN, LOGS_KEPT] = [3, 100];
/** Seconds that a job waits until it is asked whether anything can run it. */
const WAIT_QUIETLY = 10;
/** How often a job may be lost or stopped by others. */
const LOSSES = 20;
/** Seconds that jobs have to end after a stop. */
const STOP_PATIENCE = 40;

/** Runs units to their end. */
export function drive(
  units: Iterable<Unit> | AsyncIterable<Unit>,
  settings: DriveSettings,
): Promise<RunReport> {
  return new Drive(units, settings).run();
}

class Drive {
  readonly #settings: DriveSettings;
  readonly #source: UnitSource;
  readonly #outage: Outage;
  readonly #known: DoneUnits;
  /** Units that are under way, by hash: waiting, ready or in flight. */
  readonly #tasks = new Map<string, Task>();
  readonly #flying = new Set<Task>();
  /** In the order in which they are handed in. */
  #ready: Task[] = [];
  /** By the hash that they wait for. */
  readonly #waiting = new Map<string, Task[]>();
  /** Failed and skipped units, and the name of the failed one. */
  readonly #broken = new Map<string, string>();
  /** Units that were not given yet and run because another one needs them. */
  readonly #added = new Set<string>();
  readonly #failed: FailedUnit[] = [];
  readonly #skipped: SkippedUnit[] = [];
  readonly #start: number;
  /** Taken from the source and not yet seen to. */
  #pulled: Unit | undefined;
  #ended = false;
  #checked = false;
  /** Resources of which it was asked whether anything has them. */
  readonly #weighed = new Set<string>();
  #given = 0;
  #done = 0;
  #loaded = 0;
  #retried = 0;
  #rested: number;

  constructor(units: Iterable<Unit> | AsyncIterable<Unit>, settings: DriveSettings) {
    this.#settings = settings;
    this.#source = new UnitSource(units, () => settings.clock.sleep(0));
    this.#outage = new Outage(settings);
    this.#known = new DoneUnits(settings.storage);
    this.#start = this.#rested = settings.clock.now();
  }

  async run(): Promise<RunReport> {
    const { clock, engine, signal } = this.#settings;
    try {
      while (!signal?.aborted) {
        let pause = Math.max(engine.interval ?? INTERVAL, 0.002 * this.#flying.size);
        try {
          await this.#look();
          await this.#fill();
          this.#outage.over();
          await this.#readProgress();
          await this.#tellObstacles();
        } catch (error) {
          if (signal?.aborted) break;
          pause = this.#outage.bear(error);
        }
        this.#show();
        if (this.#ended && this.#tasks.size === 0 && !this.#pulled) break;
        await clock.sleep(pause, signal);
      }
      if (signal?.aborted) await this.#stop();
    } finally {
      await this.#source.close();
    }
    return new RunReport({
      done: this.#done,
      loaded: this.#loaded,
      failed: this.#failed,
      skipped: this.#skipped,
      stopped: signal?.aborted === true && !(this.#ended && this.#tasks.size === 0),
      seconds: clock.now() - this.#start,
    });
  }

  /** Hands in as many units as may be in flight. */
  async #fill(): Promise<void> {
    const { inFlight, signal } = this.#settings;
    while (!signal?.aborted) {
      const launched = await this.#next(inFlight - this.#flying.size);
      if (launched.length === 0) return;
      try {
        await this.#check();
        await concurrently(launched, (task) => this.#submit(task));
      } finally {
        this.#ready.unshift(...launched.filter((task) => !this.#flying.has(task)));
      }
    }
  }

  /** Up to `count` units that can be handed in now. */
  async #next(count: number): Promise<Task[]> {
    const { clock, signal } = this.#settings;
    const found: Task[] = [];
    const takeReady = () => {
      const now = clock.now();
      this.#ready = this.#ready.filter((task) => {
        if (found.length >= count || task.notBefore > now) return true;
        found.push(task);
        return false;
      });
    };
    try {
      takeReady();
      while (found.length < count && !signal?.aborted && await this.#pull()) takeReady();
    } catch (error) {
      this.#ready.unshift(...found);
      throw error;
    }
    return found;
  }

  /** Takes one unit from the source; false if there is none, or none may be taken now. */
  async #pull(): Promise<boolean> {
    if (!this.#pulled) {
      if (this.#ended || this.#tasks.size >= LOOK_AHEAD + this.#settings.inFlight) return false;
      const next = await this.#source.next();
      if (!next) return false;
      if (next.done) {
        this.#ended = true;
        return false;
      }
      requireUnit(next.value);
      if (next.value.kind === "measure") await loadStimuli(next.value.design);
      this.#pulled = next.value;
    }
    await this.#admit(this.#pulled, true);
    this.#pulled = undefined;
    // Thousands of units may be loaded in a row: signals and displays need a turn.
    const now = this.#settings.clock.now();
    if (now - this.#rested > 0.1) {
      this.#rested = now;
      this.#show();
      await this.#settings.clock.sleep(0);
    }
    return true;
  }

  /** Takes a unit in, after those that it needs. */
  async #admit(unit: Unit, given: boolean): Promise<void> {
    const hash = unitHash(unit);
    if (this.#tasks.has(hash) || this.#broken.has(hash)) {
      if (given) this.#added.delete(hash);
      return;
    }
    if (given) {
      if (this.#added.delete(hash)) return;
      if ((await this.#outage.ask(() => this.#known.among([hash]))).length > 0) {
        this.#given++;
        this.#loaded++;
        return;
      }
    }
    const needs = new Map(dependencies(unit).map((need) => [unitHash(need), need]));
    const unknown = [...needs.keys()].filter((h) => !this.#tasks.has(h) && !this.#broken.has(h));
    for (const done of await this.#outage.ask(() => this.#known.among(unknown))) needs.delete(done);
    for (const [h, need] of needs) {
      if (this.#tasks.has(h) || this.#broken.has(h)) continue;
      this.#added.add(h);
      await this.#admit(need, false);
    }
    this.#given++;
    const broken = [...needs.keys()].find((h) => this.#broken.has(h));
    if (broken !== undefined) return this.#skip(unit, hash, this.#broken.get(broken)!);
    const task: Task = {
      ...{ unit, hash, missing: new Set(needs.keys()), nodes: [] },
      ...{ attempt: 0, notBefore: 0, lost: 0, asked: 0, fraction: 0 },
    };
    this.#tasks.set(hash, task);
    for (const need of task.missing) {
      const others = this.#waiting.get(need);
      if (others) others.push(task);
      else this.#waiting.set(need, [task]);
    }
    if (task.missing.size === 0) this.#ready.push(task);
  }

  async #check(): Promise<void> {
    if (this.#checked) return;
    const { engine, signal } = this.#settings;
    await unlessAborted(engine.check(signal), signal);
    this.#checked = true;
  }

  async #submit(task: Task): Promise<void> {
    const { engine, command: commandOf, resources, project, clock } = this.#settings;
    const needed = resources(task.unit);
    const command = commandOf(task.unit);
    task.work ??= configHash({ project: await project(), command, resources: needed });
    if (!task.adopted) await this.#adopt(task);
    task.adopted = true;
    await engine.submit({
      id: this.#id(task),
      command,
      env: { INTERLENS_PROGRESS: "json", ...threadEnvironment(needed) },
      resources: needed,
      avoid: [...new Set(task.nodes)],
    });
    task.running = undefined;
    task.unrecorded = undefined;
    task.fraction = 0;
    task.asked = clock.now();
    this.#flying.add(task);
  }

  #id(task: Task, attempt = task.attempt): string {
    return jobId(task.hash, this.#settings.storage.url, task.work, attempt);
  }

  /** Finds the attempt that another driver makes now; what failed in an earlier run is dropped. */
  async #adopt(task: Task): Promise<void> {
    const { engine, retries } = this.#settings;
    const failed: string[] = [];
    for (let attempt = 0; attempt <= retries; attempt++) {
      const id = this.#id(task, attempt);
      const { state } = await engine.state(id);
      if (state === "unknown") break;
      if (state !== "failed") return void (task.attempt = attempt);
      failed.push(id);
    }
    for (const id of failed) await engine.forget(id);
  }

  /** Looks at every job. */
  async #look(): Promise<void> {
    const { engine, clock } = this.#settings;
    await concurrently(this.#flying, async (task) => {
      const state = await engine.state(this.#id(task));
      if (state.state === "running") task.running ??= clock.now();
      if (state.state !== "running" && state.state !== "pending") await this.#judge(task, state);
    });
  }

  /** Decides about a unit whose job has ended, or is not known. */
  async #judge(task: Task, { state, node, message }: JobState): Promise<void> {
    const { engine, storage, clock } = this.#settings;
    // Whatever became of the job: what counts is the record, which another driver's job may have
    // written too.
    if (await this.#outage.ask(() => storage.stat(recordKey(task.hash)))) {
      return await this.#finish(task);
    }
    if (state === "succeeded") {
      task.unrecorded ??= clock.now();
      if (clock.now() - task.unrecorded < RECORD_GRACE) return;
      return await this.#fail(
        task,
        node,
        `It ended well, but there is no "${recordKey(task.hash)}" in "${storage.url}": does this ` +
          `address lead every node to the same place`,
      );
    }
    if (state === "failed") return await this.#fail(task, node, message ?? "No reason is known");
    if (++task.lost > LOSSES) {
      return await this.#fail(task, node, `Its job was lost or stopped ${LOSSES} times`);
    }
    if (state !== "unknown") await engine.forget(this.#id(task));
    task.notBefore = clock.now() + (task.lost - 1) / 2;
    this.#flying.delete(task);
    this.#ready.unshift(task);
  }

  async #fail(task: Task, node: string | undefined, reason: string): Promise<void> {
    const { engine, clock, retries, voice } = this.#settings;
    const log = await engine.log(this.#id(task), TAIL_BYTES).catch(() => "");
    const tail = readableTail(log, TAIL_LINES);
    this.#flying.delete(task);
    if (node !== undefined) task.nodes.push(node);
    if (task.attempt < retries) {
      task.notBefore = clock.now() + 2 ** task.attempt++;
      this.#retried++;
      this.#ready.unshift(task);
      return;
    }
    const name = unitName(task.unit);
    const last = tail.split("\n").at(-1)!.slice(0, 200);
    const message = reason.split("\n")[0] + (last ? ` (its last line: "${last}")` : "");
    const attempts = task.attempt + 1;
    this.#failed.push({
      ...{ unit: task.unit, name, attempts, message, nodes: task.nodes },
      log: this.#failed.length < LOGS_KEPT ? tail : "",
    });
    if (this.#failed.length <= LOGS_SHOWN) {
      const times = attempts === 1 ? "" : ` ${attempts} times, at last`;
      const where = node === undefined ? "" : ` on ${node.slice(0, 40)}`;
      voice.say(`"${name}" failed${times}${where}: ${reason.split("\n")[0]}`, tail);
    } else if (this.#failed.length === LOGS_SHOWN + 1) {
      voice.say("More units failed: the report says which and why");
    }
    this.#break(task, name);
    await this.#forget(task);
  }

  /** Gives up a unit and, before long, everything that needs it. */
  #break(task: Task, because: string): void {
    const left = [task.hash];
    this.#broken.set(task.hash, because);
    this.#tasks.delete(task.hash);
    for (let hash = left.pop(); hash !== undefined; hash = left.pop()) {
      for (const other of this.#waiting.get(hash) ?? []) {
        if (!this.#tasks.delete(other.hash)) continue;
        this.#skip(other.unit, other.hash, because);
        left.push(other.hash);
      }
      this.#waiting.delete(hash);
    }
  }

  #skip(unit: Unit, hash: string, because: string): void {
    this.#broken.set(hash, because);
    this.#skipped.push({ unit, name: unitName(unit), because });
  }

  async #finish(task: Task): Promise<void> {
    this.#done++;
    this.#flying.delete(task);
    this.#tasks.delete(task.hash);
    for (const other of this.#waiting.get(task.hash) ?? []) {
      other.missing.delete(task.hash);
      if (other.missing.size === 0 && this.#tasks.has(other.hash)) this.#ready.push(other);
    }
    this.#waiting.delete(task.hash);
    await this.#forget(task);
  }

  /** Drops the jobs of a unit whose end is known, so that another run starts it from nothing. */
  async #forget(task: Task): Promise<void> {
    if (task.work === undefined) return;
    for (let attempt = task.attempt; attempt >= 0; attempt--) {
      await this.#settings.engine.forget(this.#id(task, attempt)).catch(() => {});
    }
  }

  /** Reads how far running jobs are, seldom. */
  async #readProgress(): Promise<void> {
    const { engine, clock } = this.#settings;
    const now = clock.now();
    const due = [...this.#flying].filter(({ running, asked }) =>
      running !== undefined && now - asked > Math.max(LOG_INTERVAL, LOG_SHARE * (now - running))
    ).sort((a, b) => a.asked - b.asked).slice(0, 16);
    await concurrently(due, async (task) => {
      task.asked = now;
      const log = await engine.log(this.#id(task), PROGRESS_BYTES).catch(() => "");
      task.fraction = fractionIn(log) ?? task.fraction;
    });
  }

  /** Says once of what waits for long if nothing can run it. */
  async #tellObstacles(): Promise<void> {
    const { engine, clock, resources, voice } = this.#settings;
    if (!engine.obstacle) return;
    for (const task of this.#flying) {
      if (task.running !== undefined || clock.now() - task.asked < WAIT_QUIETLY) continue;
      const needed = resources(task.unit);
      const key = canonicalJson(needed);
      if (this.#weighed.has(key)) continue;
      const reason = await engine.obstacle(needed);
      this.#weighed.add(key);
      if (reason !== undefined) voice.say(reason);
    }
  }

  #show(): void {
    const { total, voice } = this.#settings;
    const over = this.#done + this.#loaded + this.#failed.length + this.#skipped.length;
    let [running, parts] = [0, 0];
    for (const task of this.#flying) {
      if (task.running !== undefined) running++;
      parts += task.fraction;
    }
    const known = Math.max(total ?? 0, this.#given, 1);
    voice.progress(over + parts, this.#ended ? Math.max(this.#given, 1) : known, {
      ...running > 0 && { running },
      ...this.#retried > 0 && { retried: this.#retried },
      ...this.#failed.length > 0 && { failed: this.#failed.length },
    });
  }

  /** Ends all jobs, and counts those that ended well meanwhile. */
  async #stop(): Promise<void> {
    const { engine, clock, voice, storage } = this.#settings;
    const left = new Set(this.#flying);
    const until = clock.now() + STOP_PATIENCE;
    const asked = new Set<Task>();
    while (left.size > 0 && clock.now() < until) {
      await concurrently(left, async (task) => {
        const id = this.#id(task);
        if (!asked.has(task)) {
          await engine.stop(id);
          asked.add(task);
        }
        const { state } = await engine.state(id);
        if (state === "running" || state === "pending") return;
        if (await storage.stat(recordKey(task.hash))) await this.#finish(task);
        else await this.#forget(task);
        left.delete(task);
      }).catch(() => {});
      if (left.size > 0) await clock.sleep(engine.interval ?? INTERVAL);
    }
    // Jobs of earlier attempts would count against the next run.
    await concurrently(
      this.#ready.filter(({ attempt }) => attempt > 0),
      (task) => this.#forget(task),
    );
    if (left.size > 0) {
      voice.say(`${left.size} jobs could not be stopped on ${engine.name}: they may go on`);
    }
  }
}

/** What a promise gives, unless the signal comes first. */
async function unlessAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const end = () => reject(signal?.reason);
  if (signal?.aborted) end();
  signal?.addEventListener("abort", end);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal?.removeEventListener("abort", end);
  }
}
