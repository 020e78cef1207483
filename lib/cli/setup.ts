/**
 * `deno task setup`: from a clone to a machine that runs everything.
 *
 * Idempotent: a second run looks at sizes, times and stamps and is done. Interrupted at any moment,
 * the next run makes what has no stamp again.
 *
 * @module
 */
import { join } from "node:path";
import { run } from "./command.ts";
import { Lock } from "./lock.ts";
import { corpusStep, modelStep, packagesStep } from "./material.ts";
import { DENO_MINIMUM } from "./pins.ts";
import { kernelStep, pythonStep, type Run } from "./python.ts";
import { runStep, type Step, type StepResult } from "./step.ts";
import { bindingStep, hasNvidiaGpu, tensorflowStep, tfjsPackage, wheelFor } from "./tensorflow.ts";
import { ROOT } from "../files/mod.ts";

/** How to set up. */
export interface SetupOptions {
  /** Say nothing of steps that were done before. Default: false. */
  quiet?: boolean;
}

/**
 * Sets up this machine, or finds that it is.
 *
 * @returns What became of every step, in order.
 * @throws {Error} If this Deno is too old, or if a step failed that should work on this machine.
 */
export async function setup({ quiet = false }: SetupOptions = {}): Promise<StepResult[]> {
  requireDeno(Deno.version.deno);
  const start = performance.now();
  const results: StepResult[] = [];
  let silent = quiet;
  const say = (line: string) => console.log(line);
  using lock = await Lock.acquire(
    join(ROOT, "data", "cache", "setup.lock"),
    (pid) => say(`Waiting for the set-up that runs as process ${pid}`),
  );
  const tracked: Run = (program, args, options = {}) =>
    run(program, args, { ...options, started: (pid, ended) => lock.track(pid, ended) });
  const todo = async (step: Step | Promise<Step>): Promise<boolean> => {
    const { name } = step = await step;
    // Only what takes a while is announced.
    const announcement = setTimeout(() => say(`  …  ${name}`), 1000);
    const result = await runStep(step);
    clearTimeout(announcement);
    if (result.outcome === "done" || result.outcome === "failed") silent = false;
    results.push(result);
    if (!silent || result.outcome === "skipped") say(describe(result));
    return result.outcome === "done" || result.outcome === "already there";
  };

  if (!quiet) say("Setting up Interlens");
  const wheel = wheelFor(Deno.build.arch, await hasNvidiaGpu());
  const [packages, python] = await Promise.all([
    todo(packagesStep(tracked)),
    todo(pythonStep(tracked)),
  ]);
  await Promise.all([
    (async () => {
      if (python && packages && await todo(tensorflowStep(tracked, wheel))) {
        await todo(bindingStep(tracked, wheel, await tfjsPackage()));
      }
    })(),
    (async () => {
      if (packages) await todo(corpusStep());
      await todo(modelStep(tracked));
      if (python) await todo(kernelStep());
    })(),
  ]);

  const failed = results.filter(({ outcome }) => outcome === "failed");
  const seconds = (performance.now() - start) / 1000;
  if (failed.length > 0) {
    throw new Error(`Set-up failed at: ${failed.map(({ name }) => name).join(", ")}`);
  }
  if (!silent) say(`Set up in ${seconds.toFixed(1)} s`);
  return results;
}

function describe({ name, outcome, detail, seconds }: StepResult): string {
  const mark = { done: "✓", "already there": "✓", skipped: "–", failed: "✗" }[outcome];
  const [first, ...rest] = detail.split("\n");
  const what = [outcome, first].filter(Boolean).join(": ");
  return [
    `  ${mark}  ${name}: ${what} (${seconds.toFixed(1)} s)`,
    ...rest.map((l) => `       ${l}`),
  ]
    .join("\n");
}

/**
 * Refuses a Deno that cannot run notebooks rightly.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireDeno } from "./setup.ts";
 *
 * requireDeno("2.9.6");
 * assertThrows(() => requireDeno("2.8.3"), Error, "2.9.4");
 * ```
 *
 * @throws {Error} If the version is older than the oldest that works, saying how to get a newer one.
 */
export function requireDeno(version: string): void {
  const found = version.split(/[.-]/).map(Number);
  for (const [i, minimum] of DENO_MINIMUM.entries()) {
    if (found[i] > minimum) return;
    if (found[i] < minimum) {
      throw new Error(
        `Deno ${version} is too old, ${DENO_MINIMUM.join(".")} or later is needed: run ` +
          "`deno upgrade`, or put `npx -y deno@2.9.6` in place of `deno`",
      );
    }
  }
}

if (import.meta.main) {
  try {
    await setup({ quiet: Deno.args.includes("--quiet") });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
