/**
 * The driver: hands units to an engine, watches them, and knows when all are done.
 *
 * @module
 */
import type { Storage } from "../storage/mod.ts";
import type { Engine, Job } from "./engine.ts";
import type { RayOptions } from "./ray.ts";
import { readRecord, type UnitResult } from "./record.ts";
import { RunReport } from "./run_report.ts";
import type { Unit } from "./unit.ts";

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
  /** Processes at once where there is no address. Default: as many as there are processors for. */
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
   * said). A unit computes with as many threads as it has processors, so that what comes out does
   * not depend on where it ran.
   */
  resources?: Job["resources"] | ((unit: Unit) => Job["resources"]);
  /** Units that are handed to the engine at once. Default: twice the workers, or 64 on Ray. */
  inFlight?: number;
  /** How often a unit that failed is tried again, on another node if there is one. Default 2. */
  retries?: number;
  /** Number of units for the progress bar, where `units` is no array and cannot tell. */
  total?: number;
  /** Stops the run and its jobs; see `stopSignal`. */
  signal?: AbortSignal;
}

/** Units on the way to their results; made by `cluster`. */
export class Cluster implements AsyncDisposable {
  readonly #options: ClusterOptions;
  /** Where artefacts and records lie. */
  readonly storage: Storage;

  /** Made by `cluster`. */
  constructor(options: ClusterOptions, storage: Storage) {
    this.#options = options;
    this.storage = storage;
  }

  /**
   * Runs units, those first that they need.
   *
   * @throws {Error} If the engine or the storage does not answer for longer than the patience; the
   * jobs go on, and the same call takes them up again.
   */
  run(_units: Iterable<Unit> | AsyncIterable<Unit>, _options: RunOptions = {}): Promise<RunReport> {
    throw new Error(`Cannot run units on ${this.#options.address} yet`);
  }

  /** What came out of a unit; undefined if it is not done. */
  async result<U extends Unit>(unit: U): Promise<UnitResult<U> | undefined> {
    return (await readRecord(this.storage, unit))?.result;
  }

  /** Lets go of the engine; local processes that still run are ended. */
  async close(): Promise<void> {
    await this.#options.engine?.[Symbol.asyncDispose]();
  }

  /** Same as `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Opens a place where units run: a Ray cluster if there is an address, processes of this machine
 * otherwise.
 */
export function cluster(options: ClusterOptions): Promise<Cluster> {
  return Promise.resolve(new Cluster(options, options.storage as Storage));
}
