/**
 * Firing densities on a logarithmic scale: where a dictionary's features lie between those that fire
 * on one token in a million and those that are always on.
 *
 * @module
 */

/** Counts of features by the logarithm of their density. */
export interface DensityHistogram {
  /** Bounds of the bins, log₁₀ of densities, ascending; one more than counts. The last is 0. */
  edges: number[];
  /** Features in each bin; a density on a bound belongs to the bin above it, 1 to the last. */
  counts: number[];
  /** Features that never fired, which have no logarithm. */
  silent: number;
}

/**
 * Counts features by log₁₀ of their density.
 *
 * Bounds are multiples of `1 / binsPerDecade`, so the bins of two dictionaries fall on each other.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { densityHistogram } from "interlens";
 *
 * assertEquals(densityHistogram([0, 0.02, 0.5, 1], { binsPerDecade: 1 }), {
 *   edges: [-2, -1, 0],
 *   counts: [1, 2],
 *   silent: 1,
 * });
 * ```
 *
 * @param densities Share of tokens on which each feature fires, 0 to 1.
 * @param options `binsPerDecade`: default 4.
 * @throws {RangeError} If a density is not in 0…1, or the option is not an integer of at least 1.
 */
export function densityHistogram(
  densities: ArrayLike<number>,
  options: { binsPerDecade?: number } = {},
): DensityHistogram {
  const { binsPerDecade = 4 } = options;
  if (!Number.isInteger(binsPerDecade) || binsPerDecade < 1) {
    throw new RangeError(
      `Cannot make ${binsPerDecade} bins a decade: expected an integer of at least 1`,
    );
  }
  let silent = 0;
  /** Bins below the density 1 of each feature that fires; 1 is the last. */
  const places: number[] = [];
  for (let i = 0; i < densities.length; i++) {
    const density = densities[i];
    if (!(density >= 0 && density <= 1)) {
      throw new RangeError(`Cannot place the density ${density} of feature ${i}: expected 0 to 1`);
    }
    if (density === 0) silent++;
    // Nudged, since log₁₀ of a tenth times a whole number is not always that.
    else places.push(Math.max(1, Math.ceil(-Math.log10(density) * binsPerDecade - 1e-9)));
  }
  const bins = places.reduce((most, place) => Math.max(most, place), 1);
  const counts = Array<number>(bins).fill(0);
  for (const place of places) counts[bins - place]++;
  const edges = Array.from({ length: bins + 1 }, (_, i) => (i - bins) / binsPerDecade);
  return { edges, counts, silent };
}
