/**
 * The driver: hands units to an engine, watches them, and knows when all are done.
 *
 * @module
 */
import { notice, type Progress, progress } from "../display/mod.ts";
import { openStorage, type Storage } from "../storage/mod.ts";
import { whileRunning } from "../training/mod.ts";
import { type Clock, drive, type Voice } from "./drive.ts";
import type { Engine, Job } from "./engine.ts";
import { localEngine } from "./local.ts";
import { rayEngine, type RayOptions } from "./ray.ts";
import { readRecord, type UnitResult } from "./record.ts";
import type { RunReport } from "./run_report.ts";
import { type Unit, unitCommand } from "./unit.ts";
import { readSources, type Versions, versionsWith } from "./versions.ts";

/** Where units run, and where their artefacts lie. */
export interface ClusterOptions extends RayOptions {
  /**
   * Where artefacts and records lie: a folder, `"s3://bucket/prefix"`, or an open storage. Every
   * node must reach it at the same address.
   */
  storage: string | Storage;
  /**
   * The dashboard of a Ray head, such as `"http://127.0.0.1:8265"`. Default: units run as processes
   * of this machine.
   */
  address?: string;
  /**
   * Processes at once where there is no address. Default: as many as there are processors. With a
   * graphics processor give the number of those: each process wants one for itself.
   */
  workers?: number;
  /** Runs the units in place of the two that `address` chooses from. */
  engine?: Engine;
  /** Program and arguments that run a unit. Default: `deno` with those of `unitCommand`. */
  command?: (unit: Unit, storage: string) => readonly string[];
  /** Seconds that the engine or the storage may not answer before a run gives up. Default 300. */
  patience?: number;
}

/** How units are run. */
export interface RunOptions {
  /**
   * What a unit needs: processors (default 1), GPUs (default 0), memory in bytes (default: not
   * said). A unit computes with as many threads as it has processors, because their number decides
   * the order in which TensorFlow adds up: with the same number the bytes are the same on every
   * machine of a kind, however many workers there are.
   */
  resources?: Job["resources"] | ((unit: Unit) => Job["resources"]);
  /** Units that are handed to the engine at once. Default: 64, or twice the local processes. */
  inFlight?: number;
  /** How often a unit that failed is tried again, on another node if there is one. Default 2. */
  retries?: number;
  /** Number of units for the progress bar, where `units` is no array and cannot tell. */
  total?: number;
  /** Stops the run and its jobs; see `stopSignal`. */
  signal?: AbortSignal;
}

/**
 * Runs units on an engine, and reads what came out; made by `cluster`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Cluster, cluster } from "interlens";
 *
 * const storage = await Deno.makeTempDir();
 * await using machines = await cluster({ storage, workers: 2 });
 * assertEquals(machines instanceof Cluster, true);
 * assertEquals((await machines.run([])).complete, true);
 * await Deno.remove(storage, { recursive: true });
 * ```
 */
export class Cluster implements AsyncDisposable {
  /** Where artefacts and records lie. */
  readonly storage: Storage;
  /** What runs the units. */
  readonly engine: Engine;
  readonly #options: Pick<ClusterOptions, "command" | "patience">;
  readonly #inFlight: number;
  #closed: Promise<void> | undefined;
  /** Of this process, read once. */
  #versions: Promise<Versions> | undefined;

  /**
   * @param engine What runs the units.
   * @param storage Where artefacts and records lie.
   * @param inFlight Units that are handed in at once where a run does not say.
   * @param options As `cluster` takes them.
   */
  constructor(
    engine: Engine,
    storage: Storage,
    inFlight: number,
    options: Pick<ClusterOptions, "command" | "patience">,
  ) {
    this.engine = engine;
    this.storage = storage;
    this.#inFlight = inFlight;
    this.#options = options;
  }

  /**
   * Runs units, after those that they need, and shows how far all of them are.
   *
   * A unit whose record is in the storage is loaded. The others are handed to the engine as soon as
   * what they need is there, and a unit that fails is tried again. Nothing of this is kept in this
   * process: after its death, or beside another driver, the same call of the same version finds the
   * same jobs and records. What has failed in one run is tried afresh in the next.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { cluster, studyConfig, type Unit, unitHash } from "interlens";
   *
   * const storage = await Deno.makeTempDir();
   * await using machines = await cluster({
   *   ...{ storage, workers: 2 },
   *   // In place of the real work: a program that only leaves the record.
   *   command: (unit) => {
   *     const record = JSON.stringify({ unit, hash: unitHash(unit), result: { tokens: 0 } });
   *     const script = "Deno.mkdirSync(Deno.args[0], { recursive: true }); " +
   *       "Deno.writeTextFileSync(`${Deno.args[0]}/${Deno.args[1]}.json`, Deno.args[2])";
   *     return ["deno", "eval", script, `${storage}/units`, unitHash(unit), record];
   *   },
   * });
   * const { model, text, seed, harvest } = studyConfig();
   * const data = { model, text, seed, harvest, shards: 2 };
   * // The parts that it needs come first by themselves.
   * const merge: Unit = { kind: "merge", data };
   * assertEquals((await machines.run([merge])).done, 3);
   * assertEquals((await machines.run([merge])).loaded, 1);
   * await Deno.remove(storage, { recursive: true });
   * ```
   *
   * @param units What to run, best with those first that others need. It is read as the work goes
   * on: memory does not grow with the number of units that succeed.
   * @returns What became of them. A unit that fails does not end the run.
   * @throws {Error} If versions of driver and nodes differ, or the engine or the storage does not
   * answer for longer than the patience; the jobs go on, and the same call takes them up again.
   * @throws {Error} If the cluster was closed, or the storage lets nobody in.
   * @throws {RangeError} If `inFlight` or `retries` is out of range, or something is no unit.
   */
  async run(
    units: Iterable<Unit> | AsyncIterable<Unit>,
    options: RunOptions = {},
  ): Promise<RunReport> {
    const { resources = {}, inFlight = this.#inFlight, retries = 2, signal } = options;
    if (!(Number.isInteger(inFlight) && inFlight >= 1)) {
      throw new RangeError(
        `Cannot have ${inFlight} units in flight: expected an integer from 1 on`,
      );
    }
    if (!(Number.isInteger(retries) && retries >= 0)) {
      throw new RangeError(
        `Cannot try a unit again ${retries} times: expected an integer from 0 on`,
      );
    }
    if (this.#closed) throw new Error("This cluster was closed: open it again");
    const { command = (unit, url) => ["deno", ...unitCommand(unit, url)] } = this.#options;
    const line = new RunLine();
    try {
      const report = await whileRunning(signal, () =>
        drive(units, {
          ...{ engine: this.engine, storage: this.storage, clock: CLOCK, voice: line },
          ...{ inFlight, retries, signal },
          patience: this.#options.patience ?? 300,
          project: () => this.#versions ??= readSources().then(versionsWith),
          total: options.total ?? (Array.isArray(units) ? units.length : undefined),
          command: (unit) => command(unit, this.storage.url),
          resources: (unit) => typeof resources === "function" ? resources(unit) : resources,
        }));
      line.end(report.toString().split("\n")[0]);
      return report;
    } catch (error) {
      line.end("ended early");
      throw error;
    }
  }

  /**
   * What came out of a unit; undefined if it is not done.
   *
   * @throws {Error} If the storage does not answer, or its record cannot be read.
   */
  async result<U extends Unit>(unit: U): Promise<UnitResult<U> | undefined> {
    return (await readRecord(this.storage, unit))?.result;
  }

  /** Lets go of the engine. Jobs on Ray go on; local processes are stopped. */
  close(): Promise<void> {
    return this.#closed ??= Promise.resolve(this.engine[Symbol.asyncDispose]());
  }

  /** Same as `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Opens a place where units run: a Ray cluster if there is an address, processes of this machine
 * otherwise.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cluster } from "interlens";
 *
 * const storage = await Deno.makeTempDir();
 * await using machine = await cluster({ storage, workers: 2 });
 * assertEquals((await machine.run([])).toString(), "0 units done in 0.0 s");
 * await Deno.remove(storage, { recursive: true });
 * ```
 *
 * @throws {Error} If the storage or the address is not of a known kind.
 */
export function cluster(options: ClusterOptions): Promise<Cluster> {
  return Promise.resolve().then(() => {
    const { address, workers = navigator.hardwareConcurrency, env } = options;
    const storage = typeof options.storage === "string"
      ? openStorage(options.storage)
      : options.storage;
    if (options.engine) return new Cluster(options.engine, storage, 64, options);
    if (address !== undefined) {
      return new Cluster(rayEngine(address, options), storage, 64, options);
    }
    return new Cluster(localEngine({ workers, env }), storage, 2 * workers, options);
  });
}

const CLOCK: Clock = {
  now: () => performance.now() / 1000,
  sleep: (seconds, signal) =>
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, 1000 * seconds);
      if (signal?.aborted) end();
      else signal?.addEventListener("abort", end, { once: true });
    }),
};

/** The progress line of a run; opened when there is something to say. */
class RunLine implements Voice {
  #line: Progress | undefined;

  progress(done: number, total: number, values: Record<string, number>): void {
    this.#line ??= progress("Running units", { total, unit: "units" });
    this.#line.total = total;
    this.#line.update(done, values);
  }

  say(text: string, detail?: string): void {
    // The line is written again below the notice.
    if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode("\r\x1b[K"));
    notice(text, detail);
  }

  end(summary: string): void {
    this.#line?.finish(summary);
  }
}
