/**
 * What every trainer lets a user choose about its loop.
 *
 * @module
 */
import type { FitOptions, Params } from "./fit.ts";
import type { Schedule } from "./schedule.ts";

/** Choices about the loop; each that is given enters the hash of what is trained. */
export interface LoopConfig {
  /** Scales gradients so that their joint Euclidean norm is at most this. Default: as they are. */
  clipNorm?: number;
  /** How the learning rate falls to 0: straight, or as a cosine. Default `"linear"`. */
  decay?: Schedule["decay"];
  /**
   * Steps between measurements on the validation documents, whose FVU is put into the history as
   * `validation_fvu`. Default: only at the end.
   */
  evaluateEvery?: number;
  /**
   * Measurements in a row without a lower `validation_fvu` after which the training ends. If given, the
   * result has the parameters of the lowest one, whether it ended early or not. Default: all steps are
   * done, and the last parameters are the result.
   */
  patience?: number;
}

/**
 * The choices that were made.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { loopChoices } from "interlens";
 *
 * assertEquals(loopChoices({ clipNorm: 1, patience: undefined }), { clipNorm: 1 });
 * assertThrows(() => loopChoices({ patience: 2 }), RangeError, "evaluateEvery");
 * ```
 *
 * @throws {RangeError} If `patience` is given without `evaluateEvery`; `fit` checks the values.
 */
export function loopChoices(config: LoopConfig): LoopConfig {
  const { clipNorm, decay, evaluateEvery, patience } = config;
  if (patience !== undefined && evaluateEvery === undefined) {
    throw new RangeError(
      `Cannot stop with a patience of ${patience} without measurements: give evaluateEvery, the ` +
        "steps between them",
    );
  }
  const all = Object.entries({ clipNorm, decay, evaluateEvery, patience });
  return Object.fromEntries(all.filter(([, value]) => value !== undefined));
}

/**
 * The choices as options of `fit`; `decay` is part of the schedule.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loopOptions } from "interlens";
 *
 * const { clipNorm, evaluate, earlyStop } = loopOptions(
 *   { clipNorm: 1, evaluateEvery: 10, patience: 2 },
 *   () => Promise.resolve(0.25),
 * );
 * assertEquals([clipNorm, earlyStop?.patience, earlyStop?.keepBest], [1, 2, true]);
 * assertEquals(await evaluate!({}, 10), { validation_fvu: 0.25 });
 * ```
 *
 * @param validationFvu Measures parameters on the validation documents.
 */
export function loopOptions(
  { clipNorm, evaluateEvery, patience }: LoopConfig,
  validationFvu: (params: Params) => Promise<number>,
): Pick<FitOptions<never>, "clipNorm" | "evaluate" | "evaluateEvery" | "earlyStop"> {
  return {
    clipNorm,
    ...evaluateEvery !== undefined && {
      evaluateEvery,
      evaluate: async (params) => ({ validation_fvu: await validationFvu(params) }),
    },
    ...patience !== undefined &&
      { earlyStop: { metric: "validation_fvu", patience, keepBest: true } },
  };
}
