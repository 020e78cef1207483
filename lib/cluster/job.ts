/**
 * What a unit's job is called, and the environment that it runs in.
 *
 * @module
 */
import { configHash } from "../files/mod.ts";
import type { Job } from "./engine.ts";

/**
 * Name of the job of a unit: the same for every driver that does the same work for the same storage.
 *
 * ```ts
 * import { assertMatch } from "@std/assert";
 * import { jobId } from "./job.ts";
 *
 * const id = jobId("00000000000000ff", "s3://bucket", { command: ["deno", "task"] }, 1);
 * assertMatch(id, /^interlens-00000000000000ff-[0-9a-f]{4}-[0-9a-f]{8}-1$/);
 * ```
 *
 * @param hash Of the unit.
 * @param storage Address of the storage.
 * @param work What runs: project, command, resources; a job of other work is another job.
 * @param attempt From 0.
 */
export function jobId(hash: string, storage: string, work: unknown, attempt: number): string {
  const [place, runs] = [configHash(storage).slice(0, 4), configHash(work).slice(0, 8)];
  return `interlens-${hash}-${place}-${runs}-${attempt}`;
}

/**
 * Variables with which a unit computes the same bytes everywhere: the number of threads decides the
 * order in which TensorFlow adds up.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { threadEnvironment } from "./job.ts";
 *
 * assertEquals(threadEnvironment({ cpus: 4 }).TF_NUM_INTRAOP_THREADS, "4");
 * assertEquals(threadEnvironment({}).TF_NUM_INTRAOP_THREADS, "1");
 * ```
 */
export function threadEnvironment({ cpus = 1 }: Job["resources"]): Record<string, string> {
  const threads = String(Math.max(1, Math.floor(cpus)));
  return {
    TF_NUM_INTRAOP_THREADS: threads,
    TF_NUM_INTEROP_THREADS: threads,
    OMP_NUM_THREADS: threads,
  };
}
