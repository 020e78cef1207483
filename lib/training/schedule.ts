/**
 * The learning rate of each step: linear warm-up, a plateau, a fall to zero that is linear or a
 * half cosine; and the warm-up of a penalty.
 *
 * | schedule            | fields                                                            |
 * | ------------------- | ----------------------------------------------------------------- |
 * | constant            | neither length                                                    |
 * | warm-up, then flat  | `warmupSteps`                                                     |
 * | linear decay        | `decaySteps`                                                      |
 * | cosine              | `decay: "cosine"`, `decaySteps` = `steps` − `warmupSteps`         |
 *
 * @module
 */

/** When the learning rate rises, stays and falls; all lengths in steps. */
export interface Schedule {
  /** Learning rate of the plateau. */
  learningRate: number;
  /** Number of updates. */
  steps: number;
  /** Length of the rise. Default 0. */
  warmupSteps?: number;
  /** Length of the fall at the end. Default 0. */
  decaySteps?: number;
  /** Shape of the fall: `"linear"` (default), or `"cosine"`, half a period. */
  decay?: "linear" | "cosine";
}

/**
 * Learning rate of a step, counted from 0. No step has a rate of 0: the warm-up ends, and the
 * decay starts, one step short of it.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { learningRateAt } from "interlens";
 *
 * const schedule = { learningRate: 1, steps: 10, warmupSteps: 4, decaySteps: 2 };
 * assertEquals([0, 1, 3, 4, 7].map((s) => learningRateAt(schedule, s)), [0.25, 0.5, 1, 1, 1]);
 * assertAlmostEquals(learningRateAt(schedule, 9), 0.5);
 * const cosine = { learningRate: 1, steps: 12, decaySteps: 12, decay: "cosine" } as const;
 * assertAlmostEquals(learningRateAt(cosine, 6), 0.5);
 * ```
 *
 * @throws {RangeError} If the schedule is impossible.
 */
export function learningRateAt(schedule: Schedule, step: number): number {
  requireSchedule(schedule);
  const { learningRate, steps, warmupSteps = 0, decaySteps = 0, decay = "linear" } = schedule;
  if (step < warmupSteps) return learningRate * (step + 1) / warmupSteps;
  if (step <= steps - decaySteps) return learningRate;
  const left = (steps - step) / decaySteps;
  if (decay === "linear") return learningRate * left;
  return learningRate * (1 - Math.cos(Math.PI * left)) / 2;
}

/**
 * Factor of a penalty that rises from nearly 0 to 1 over its first steps. A sparsity penalty at
 * full strength on untrained features kills many of them for good.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { warmupFactor } from "interlens";
 *
 * assertEquals([0, 1, 3, 4].map((step) => warmupFactor(step, 3)), [0.25, 0.5, 1, 1]);
 * assertEquals(warmupFactor(0, 0), 1);
 * ```
 *
 * @param step Step, from 0.
 * @param warmupSteps Steps before the first one at full strength.
 */
export function warmupFactor(step: number, warmupSteps: number): number {
  return Math.min(1, (step + 1) / (warmupSteps + 1));
}

/**
 * @throws {RangeError} If a length or the rate is impossible, naming it.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireSchedule } from "interlens";
 *
 * assertThrows(() => requireSchedule({ learningRate: 1, steps: -1 }), RangeError, "-1 steps");
 * ```
 */
export function requireSchedule(schedule: Schedule): void {
  const { learningRate, steps, warmupSteps = 0, decaySteps = 0, decay = "linear" } = schedule;
  if (!(learningRate > 0 && Number.isFinite(learningRate))) {
    throw new RangeError(`Cannot train with a learningRate of ${learningRate}: expected above 0`);
  }
  if (!Number.isInteger(steps) || steps < 1) {
    throw new RangeError(`Cannot train for ${steps} steps: expected an integer of at least 1`);
  }
  for (const [name, length] of Object.entries({ warmupSteps, decaySteps })) {
    if (!Number.isInteger(length) || length < 0) {
      throw new RangeError(`Cannot train with ${name} = ${length}: expected an integer, 0 or more`);
    }
  }
  if (warmupSteps + decaySteps > steps) {
    throw new RangeError(
      `Cannot fit ${warmupSteps} warmupSteps and ${decaySteps} decaySteps into ${steps} steps`,
    );
  }
  if (decay !== "linear" && decay !== "cosine") {
    throw new RangeError(
      `Cannot train with a decay of "${decay}": expected "linear" or "cosine"`,
    );
  }
}
