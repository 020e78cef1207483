/**
 * What the driver needs of an engine that runs commands.
 *
 * @module
 */

/** A command that runs somewhere. */
export interface Job {
  /** Names it: the same id twice is one job. */
  readonly id: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Environment variables beside those of the node. */
  readonly env: Readonly<Record<string, string>>;
  /** What it needs: processors, GPUs, memory in bytes. */
  readonly resources: { readonly cpus?: number; readonly gpus?: number; readonly memory?: number };
  /** Nodes that it should not run on, because it failed there, as long as there are others. */
  readonly avoid: readonly string[];
}

/**
 * How far a job is; `"lost"`: it ended with its node, which is not its fault; `"unknown"`: the engine
 * has never heard of it, or forgot it.
 */
export interface JobState {
  readonly state: "pending" | "running" | "succeeded" | "failed" | "stopped" | "lost" | "unknown";
  /** Node that it runs on or ran on. */
  readonly node?: string;
  /** Why it failed. */
  readonly message?: string;
}

/** An engine that runs jobs. */
export interface Engine extends AsyncDisposable {
  /** What it is, for messages, at the start of a sentence. */
  readonly name: string;
  /** Seconds between two looks at the jobs that it bears. Default 0.25. */
  readonly interval?: number;
  /**
   * Compares the versions of the driver and of the nodes.
   *
   * @param signal Stops it.
   * @throws {Error} If they differ, saying where and how.
   */
  check(signal?: AbortSignal): Promise<void>;
  /** Hands a job in. One that it knows, in whatever state, stays as it is. */
  submit(job: Job): Promise<void>;
  /**
   * Why no job with such resources can run now, as a sentence; undefined if one can, though it may have
   * to wait for others.
   */
  obstacle?(resources: Job["resources"]): Promise<string | undefined>;
  /** How far a job is. */
  state(id: string): Promise<JobState>;
  /** The last bytes of what a job printed. */
  log(id: string, bytes: number): Promise<string>;
  /** Ends a job, or begins to; its state becomes `"stopped"`. */
  stop(id: string): Promise<void>;
  /** Drops what is kept of a job that has ended; of no effect on others. */
  forget(id: string): Promise<void>;
}

/**
 * Thrown by an engine that does not answer now and may later: a network that is down, a head that
 * starts again. Every other error is one that another attempt does not mend.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { EngineUnavailable } from "interlens";
 *
 * const error = new EngineUnavailable("Nothing answers at http://127.0.0.1:8265");
 * assertEquals([error.name, error instanceof Error], ["EngineUnavailable", true]);
 * ```
 */
export class EngineUnavailable extends Error {
  override name = "EngineUnavailable";
}
