/**
 * Jobs as processes of this machine.
 *
 * Each job has a folder with its log. Who runs a job holds a lock on a file there, which the system
 * releases when that process ends, however it ends: a second driver on this machine sees that the
 * job is under way, and a driver that starts after one that was killed runs it again. The processes
 * are told by the end of their input that their driver is gone.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { kill } from "node:process";
import { cacheDir, ROOT, writeFileAtomic } from "../files/mod.ts";
import type { Engine, Job, JobState } from "./engine.ts";

/** How many processes there are, and where they keep their logs. */
export interface LocalOptions {
  /**
   * Processes at once. Default: as many as there are processors for. With a graphics processor give
   * the number of those: each process wants one for itself.
   */
  workers?: number;
  /** Environment variables of every job beside its own; those of a job come before them. */
  env?: Readonly<Record<string, string>>;
  /** Folder of the logs and locks. Default: `jobs` in the cache. */
  dir?: string;
}

/** Seconds that a process has to end by itself when it is stopped. */
const GRACE = 30;

/** A job that this process runs or will run. */
interface Own {
  readonly job: Job;
  readonly lock: Deno.FsFile;
  state: JobState["state"];
  message?: string;
  process?: { pid: number; input: { end(): void } | null; ended: Promise<void> };
  stopping?: ReturnType<typeof setTimeout>;
}

/** What is left of a job that has ended. */
interface End {
  readonly state: "succeeded" | "failed" | "stopped";
  readonly message?: string;
}

/**
 * An engine that runs jobs as processes of this machine, in the root of the project.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { localEngine } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * await using engine = localEngine({ workers: 1, dir });
 * const command = ["deno", "eval", "console.log(6 * 7)"];
 * await engine.submit({ id: "answer", command, env: {}, resources: {}, avoid: [] });
 * while ((await engine.state("answer")).state !== "succeeded") {
 *   await new Promise((resolve) => setTimeout(resolve, 20));
 * }
 * assertEquals(await engine.log("answer", 100), "42\n");
 * await engine.forget("answer");
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @throws {RangeError} If there is not at least one worker.
 */
export function localEngine(options: LocalOptions = {}): Engine {
  return new LocalEngine(options);
}

class LocalEngine implements Engine {
  readonly name: string;
  readonly interval = 0.02;
  readonly #workers: number;
  readonly #env: Readonly<Record<string, string>>;
  readonly #dir: string;
  readonly #own = new Map<string, Own>();
  /** Jobs of other drivers that this one has let go of. */
  readonly #released = new Set<string>();
  #closed = false;

  constructor({ workers = navigator.hardwareConcurrency, env = {}, dir }: LocalOptions) {
    if (!(Number.isInteger(workers) && workers >= 1)) {
      throw new RangeError(
        `Cannot run jobs in ${workers} processes: expected an integer from 1 on`,
      );
    }
    this.#workers = workers;
    this.#env = env;
    this.#dir = dir ?? join(cacheDir(), "jobs");
    this.name = `This machine (${workers} worker${workers === 1 ? "" : "s"})`;
  }

  /** Driver and workers are the same files. */
  check(): Promise<void> {
    return Promise.resolve();
  }

  async submit(job: Job): Promise<void> {
    this.#released.delete(job.id);
    if (this.#own.has(job.id)) return;
    const folder = this.#folder(job.id);
    await Deno.mkdir(folder, { recursive: true });
    const lock = await Deno.open(join(folder, "lock"), { read: true, write: true, create: true });
    // Another driver's job, or one whose end nobody has seen yet.
    if (!await lock.tryLock(true) || await readEnd(folder)) return lock.close();
    this.#own.set(job.id, { job, lock, state: "pending" });
    this.#startNext();
  }

  async state(id: string): Promise<JobState> {
    const node = hostname();
    const own = this.#own.get(id);
    if (own) {
      return { state: own.state, ...own.process && { node }, ...message(own.message) };
    }
    if (this.#released.has(id)) return { state: "stopped" };
    const folder = this.#folder(id);
    const end = await readEnd(folder);
    if (end) return { ...end, node };
    return await isLocked(join(folder, "lock")) ? { state: "running", node } : { state: "unknown" };
  }

  async log(id: string, bytes: number): Promise<string> {
    try {
      using file = await Deno.open(join(this.#folder(id), "log"));
      const { size } = await file.stat();
      await file.seek(Math.max(0, size - bytes), Deno.SeekMode.Start);
      return new TextDecoder().decode(await new Response(file.readable).arrayBuffer());
    } catch {
      return "";
    }
  }

  async stop(id: string): Promise<void> {
    const own = this.#own.get(id);
    if (!own) {
      // The processes of another driver are its own business.
      if (!await readEnd(this.#folder(id))) this.#released.add(id);
    } else if (own.state === "pending") {
      await this.#end(own, { state: "stopped" });
    } else if (own.state === "running") this.#interrupt(own);
  }

  async forget(id: string): Promise<void> {
    this.#released.delete(id);
    const own = this.#own.get(id);
    if (own?.state === "pending" || own?.state === "running") return;
    this.#own.delete(id);
    const folder = this.#folder(id);
    if (await isLocked(join(folder, "lock"))) return;
    await Deno.remove(folder, { recursive: true }).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const ends: Promise<void>[] = [];
    for (const own of this.#own.values()) {
      if (own.state === "pending") await this.#end(own, { state: "stopped" });
      else if (own.state === "running") {
        this.#interrupt(own);
        ends.push(own.process!.ended);
      }
    }
    await Promise.all(ends);
    // Nobody waits for these: the next driver starts them from nothing.
    for (const [id, { state }] of [...this.#own]) if (state === "stopped") await this.forget(id);
  }

  #folder(id: string): string {
    return join(this.#dir, id);
  }

  /** Starts jobs in their order, as long as there are workers and processors for them. */
  #startNext(): void {
    if (this.#closed) return;
    const running = [...this.#own.values()].filter(({ state }) => state === "running");
    let [workers, cpus] = [running.length, running.reduce((sum, { job }) => sum + cpusOf(job), 0)];
    for (const own of this.#own.values()) {
      if (own.state !== "pending") continue;
      cpus += cpusOf(own.job);
      const fits = cpus <= Math.max(this.#workers, navigator.hardwareConcurrency);
      if (workers >= this.#workers || !(fits || workers === 0)) return;
      workers++;
      this.#start(own);
    }
  }

  #start(own: Own): void {
    const { id, command: [program, ...args], env } = own.job;
    own.state = "running";
    let end: (reason: End) => void;
    const ended = new Promise<void>((resolve) => {
      end = (reason) => resolve(this.#end(own, reason));
    });
    own.process = { pid: 0, input: null, ended };
    try {
      const log = openSync(join(this.#folder(id), "log"), "w");
      const child = spawn(program === "deno" ? Deno.execPath() : program, args, {
        cwd: ROOT,
        env: { ...Deno.env.toObject(), ...this.#env, ...env, INTERLENS_PARENT: "stdin" },
        stdio: ["pipe", log, log],
        // A group of its own: what a job starts ends with it, and Ctrl-C is the driver's to handle.
        detached: Deno.build.os !== "windows",
      });
      closeSync(log);
      own.process = { pid: child.pid ?? 0, input: child.stdin, ended };
      // A process that has ended reads no more, which is no error of the driver.
      child.stdin?.on("error", () => {});
      child.once("error", ({ message }) => end({ state: "failed", message }));
      child.once("exit", (code, signal) => {
        if (own.stopping !== undefined) end({ state: "stopped" });
        else if (code === 0) end({ state: "succeeded" });
        else {
          const message = signal ? `It was ended by ${signal}` : `It ended with exit code ${code}`;
          end({ state: "failed", message });
        }
      });
    } catch (error) {
      end!({ state: "failed", message: error instanceof Error ? error.message : String(error) });
    }
  }

  #interrupt(own: Own): void {
    if (own.stopping !== undefined) return;
    const { pid, input } = own.process!;
    signalGroup(pid, "SIGTERM");
    input?.end();
    own.stopping = setTimeout(() => signalGroup(pid, "SIGKILL"), GRACE * 1000);
  }

  /** Notes how a job ended, for this driver and others, and starts the next. */
  async #end(own: Own, end: End): Promise<void> {
    clearTimeout(own.stopping);
    const { pid } = own.process ?? {};
    // What a killed process leaves behind would go on writing.
    if (pid) signalGroup(pid, "SIGKILL");
    if (end.state !== "stopped") {
      // On a full disk the others do not learn of it, and run the job again.
      await writeFileAtomic(join(this.#folder(own.job.id), "end.json"), JSON.stringify(end))
        .catch(() => {});
    }
    own.lock.close();
    own.state = end.state;
    own.message = end.message;
    this.#startNext();
  }
}

function message(text: string | undefined): { message?: string } {
  return text === undefined ? {} : { message: text };
}

function cpusOf({ resources }: Job): number {
  return resources.cpus ?? 1;
}

function signalGroup(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  if (pid === 0) return;
  try {
    kill(Deno.build.os === "windows" ? pid : -pid, signal);
  } catch {
    // All of it has ended.
  }
}

async function readEnd(folder: string): Promise<End | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(join(folder, "end.json")));
  } catch {
    return undefined;
  }
}

async function isLocked(path: string): Promise<boolean> {
  try {
    using file = await Deno.open(path, { read: true, write: true });
    return !await file.tryLock(true);
  } catch {
    return false;
  }
}
