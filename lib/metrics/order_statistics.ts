/**
 * What the largest of many weights would be if nothing had been learnt: order statistics of normal
 * draws, exactly, and any other statistic of random draws by simulation.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";
import { incompleteBeta } from "./f_distribution.ts";
import { normalQuantile } from "./normal.ts";
import { requireFinite } from "./sign_flip.ts";
import { firstAtLeast, quantile } from "./sorted.ts";

/** Where a statistic lies under its null hypothesis. */
export interface NullQuantiles {
  readonly median: number;
  /** Lower end of the central interval. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
}

/** Which draws. */
export interface NormalOrderOptions {
  /** Standard deviation of a draw. Default 1. */
  sigma?: number;
  /** `true`: of absolute values; `false`: of signed ones. Default true. */
  absolute?: boolean;
  /** Probability of the interval, 0 to 1. Default 0.95. */
  level?: number;
}

/**
 * Median and interval of the r-th largest of `count` normal draws, for each rank r.
 *
 * Exact: the probability that a draw exceeds the r-th largest is Beta(r, count − r + 1) distributed.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { normalOrderStatistics } from "interlens";
 *
 * // The median of one absolute normal draw is the upper quartile of the normal distribution.
 * const [{ median }] = normalOrderStatistics(1, [1], { sigma: 2 });
 * assertAlmostEquals(median, 2 * 0.6744897501960817);
 * ```
 *
 * @param count Draws.
 * @param ranks 1 is the largest.
 * @throws {RangeError} If a rank is not an integer in 1…count, or an option is impossible.
 */
export function normalOrderStatistics(
  count: number,
  ranks: readonly number[],
  { sigma = 1, absolute = true, level = 0.95 }: NormalOrderOptions = {},
): (NullQuantiles & { rank: number })[] {
  requireLevel(level);
  if (!(sigma > 0)) {
    throw new RangeError(`Cannot draw with a standard deviation of ${sigma}: expected above 0`);
  }
  return ranks.map((rank) => {
    if (!Number.isInteger(rank) || !Number.isInteger(count) || rank < 1 || rank > count) {
      throw new RangeError(
        `Cannot take rank ${rank} of ${count} draws: expected an integer from 1, the largest, to ` +
          "the number of draws",
      );
    }
    const at = (probability: number) => {
      const tail = betaQuantile(1 - probability, rank, count - rank + 1);
      return -sigma * normalQuantile(absolute ? tail / 2 : tail);
    };
    return { rank, median: at(0.5), low: at((1 - level) / 2), high: at((1 + level) / 2) };
  });
}

/** A simulated null distribution. */
export interface SimulatedNull extends NullQuantiles {
  /** The draws, ascending. */
  readonly values: Float64Array;
  /** (b + 1) / (draws + 1), where b draws are at least as large as what was observed. */
  tail(observed: number): number;
}

/**
 * Distribution of a statistic where nothing is there, by simulation.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { simulateNull } from "interlens";
 *
 * // Largest, over 150 dimensions, of what two untrained embeddings have together.
 * const combined = simulateNull((rng) => {
 *   let largest = 0;
 *   for (let k = 0; k < 150; k++) {
 *     largest = Math.max(largest, Math.abs(0.05 * rng.normal()) + Math.abs(0.05 * rng.normal()));
 *   }
 *   return largest;
 * }, { draws: 999 });
 * assert(combined.low < 0.2225 && 0.2225 < combined.high);
 * assert(combined.tail(0.2225) > 0.05);
 * ```
 *
 * @param statistic One draw of the statistic.
 * @param options `draws`: default 10,000. `seed`: names the draws, default 0. `level`: probability of
 * the interval, default 0.95.
 * @throws {RangeError} If an option is impossible or a draw is not finite.
 */
export function simulateNull(
  statistic: (rng: Rng) => number,
  { draws = 10_000, seed = 0, level = 0.95 }: { draws?: number; seed?: number; level?: number } =
    {},
): SimulatedNull {
  requireLevel(level);
  if (!Number.isInteger(draws) || draws < 2) {
    throw new RangeError(`Cannot simulate ${draws} draws: expected an integer of at least 2`);
  }
  const rng = new Rng(seed, "null");
  const drawn = Float64Array.from({ length: draws }, () => statistic(rng));
  const values = requireFinite(drawn, "a null distribution").sort();
  return {
    values,
    median: quantile(values, 0.5),
    low: quantile(values, (1 - level) / 2),
    high: quantile(values, (1 + level) / 2),
    tail: (observed) => (draws - firstAtLeast(values, observed) + 1) / (draws + 1),
  };
}

/** Halves the interval until no number is between its ends. */
function betaQuantile(probability: number, a: number, b: number): number {
  let [low, high] = [0, 1];
  for (;;) {
    const middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;
    if (incompleteBeta(middle, a, b) < probability) low = middle;
    else high = middle;
  }
}

function requireLevel(level: number): void {
  if (!(level > 0 && level < 1)) {
    throw new RangeError(`Cannot make an interval at level ${level}: expected between 0 and 1`);
  }
}
