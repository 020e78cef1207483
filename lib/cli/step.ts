/**
 * One step of set-up: done once, and trusted afterwards only as far as its stamp vouches for it.
 *
 * The stamp is written last and atomically. It holds a hash of what the step depends on, and size
 * and time of the files it made. A step that was interrupted has no stamp and is done again from
 * nothing; a step whose files were changed since does not match and is done again too.
 *
 * @module
 */
import { configHash, writeFileAtomic } from "../files/mod.ts";

/** Something that set-up makes. */
export interface Step {
  /** What it is, as the user reads it. */
  readonly name: string;
  /** Plain data that the result depends on: with another value it is made again. */
  readonly inputs: unknown;
  /** File that vouches for the result. It must vanish with what it vouches for. */
  readonly stamp: string;
  /** Files that must stay as they were made. */
  readonly files: readonly string[];
  /** Makes it from nothing, whatever an interrupted run has left, and says what was made. */
  make(): Promise<string>;
}

/** What became of a step. */
export interface StepResult {
  readonly name: string;
  readonly outcome: "done" | "already there" | "skipped" | "failed";
  /** What was made, or what is lost and how to get it. */
  readonly detail: string;
  readonly seconds: number;
}

/**
 * Thrown by a step that this machine cannot do, where set-up goes on without it.
 */
export class Unavailable extends Error {
  /**
   * @param reason What is missing.
   * @param consequence What is lost and what happens instead.
   * @param remedy How to get it.
   */
  constructor(reason: string, consequence: string, remedy: string) {
    super([reason, consequence, remedy].join("\n"));
  }
}

/** True if the step's stamp vouches for everything it made. Reads no file but the stamp. */
export async function isReady(step: Step): Promise<boolean> {
  try {
    const stamp = JSON.parse(await Deno.readTextFile(step.stamp));
    return stamp.inputs === configHash(step.inputs) &&
      JSON.stringify(stamp.files) === JSON.stringify(await fingerprints(step.files));
  } catch {
    return false;
  }
}

async function fingerprints(files: readonly string[]): Promise<[string, number, number][]> {
  return await Promise.all(files.map(async (file) => {
    const { size, mtime } = await Deno.stat(file);
    return [file, size, mtime?.getTime() ?? 0] as [string, number, number];
  }));
}

/** Does a step unless its stamp says that it was done. Never throws: the result says what failed. */
export async function runStep(step: Step): Promise<StepResult> {
  const start = performance.now();
  const result = (outcome: StepResult["outcome"], detail: string): StepResult => (
    { name: step.name, outcome, detail, seconds: (performance.now() - start) / 1000 }
  );
  if (await isReady(step)) return result("already there", "");
  try {
    await Deno.remove(step.stamp).catch(() => {});
    const detail = await step.make();
    const files = await fingerprints(step.files);
    const stamp = { inputs: configHash(step.inputs), files };
    await writeFileAtomic(step.stamp, JSON.stringify(stamp, null, 2) + "\n");
    return result("done", detail);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return result(error instanceof Unavailable ? "skipped" : "failed", message);
  }
}
