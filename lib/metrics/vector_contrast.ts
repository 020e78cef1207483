/**
 * Crossed 2×2 designs measured by a vector, such as an activation: is there any direction in which the
 * factors interact?
 *
 *     T = mean over frames s ≠ t of ⟨Δ_s, Δ_t⟩
 *
 * estimates ‖E Δ‖² without bias: what one frame has by chance is unrelated to what another has, where
 * ‖mean Δ‖² would grow with the noise. Under the null hypothesis Δ is as likely as −Δ.
 *
 * @module
 */
import { contrasts, type CrossedCells, requireCells } from "./factorial.ts";
import { type PermutationOptions, signs } from "./sign_flip.ts";

/** One effect in the space of the activations. */
export interface VectorEffect {
  /** Estimate of ‖E Δ‖², in squared units of the measure; may be below 0. */
  readonly T: number;
  /** √max(T, 0). */
  readonly norm: number;
  /** T / mean‖Δ_s‖²: the share of the frames' contrasts that they have in common, at most 1. */
  readonly share: number;
  /** One-sided, by changes of signs over frames: exact up to 16 frames. */
  readonly p: number;
}

/** How `vectorContrast` works. */
export interface VectorContrastOptions extends PermutationOptions {
  /** Elements of a vector. */
  width: number;
}

/**
 * Tests the three effects of a crossed design on vectors.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { vectorContrast } from "interlens";
 *
 * // Six frames in two dimensions: A moves the first, B the second, and they add.
 * const frames = (x: number, y: number) => Array.from({ length: 6 }, () => [x, y]).flat();
 * const { factorA, interaction } = vectorContrast({
 *   a1b1: frames(3, 1),
 *   a1b0: frames(3, 0),
 *   a0b1: frames(0, 1),
 *   a0b0: frames(0, 0),
 * }, { width: 2 });
 * assertAlmostEquals(factorA.norm, 3);
 * assertEquals(factorA.p, 2 / 2 ** 6);
 * assertEquals(interaction, { T: 0, norm: 0, share: 0, p: 1 });
 * ```
 *
 * @param cells Vectors one after the other, `[frames × width]` in each cell.
 * @throws {RangeError} If the cells are not the same whole number of frames, at least 2, or a number is
 * not finite.
 */
export function vectorContrast(
  cells: CrossedCells,
  options: VectorContrastOptions,
): { factorA: VectorEffect; factorB: VectorEffect; interaction: VectorEffect } {
  const { width } = options;
  const lengths = [cells.a1b1, cells.a1b0, cells.a0b1, cells.a0b0].map((cell) => cell.length);
  const frames = lengths[0] / width;
  if (
    !Number.isInteger(width) || width < 1 || !Number.isInteger(frames) || frames < 2 ||
    lengths.some((length) => length !== lengths[0])
  ) {
    throw new RangeError(
      `Cannot contrast cells of ${
        lengths.join(", ")
      } numbers at width ${width}: expected the same ` +
        "number of whole vectors in each, at least 2",
    );
  }
  const { factorA, factorB, interaction } = contrasts(requireCells(cells));
  const test = (contrast: Float64Array) => testVectors(contrast, frames, options);
  return { factorA: test(factorA), factorB: test(factorB), interaction: test(interaction) };
}

function testVectors(
  contrast: Float64Array,
  frames: number,
  options: VectorContrastOptions,
): VectorEffect {
  const { width } = options;
  // Inner products of all pairs of frames: a change of signs needs nothing else.
  const gram = new Float64Array(frames * frames);
  let energy = 0;
  for (let s = 0; s < frames; s++) {
    for (let t = 0; t <= s; t++) {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += contrast[s * width + i] * contrast[t * width + i];
      if (s === t) energy += sum;
      else gram[s * frames + t] = sum;
    }
  }
  if (energy === 0) return { T: 0, norm: 0, share: 0, p: 1 };
  const sumOfPairs = (flipped: Uint8Array) => {
    let sum = 0;
    for (let s = 1; s < frames; s++) {
      let row = 0;
      for (let t = 0; t < s; t++) {
        const product = gram[s * frames + t];
        row += flipped[t] ? -product : product;
      }
      sum += flipped[s] ? -row : row;
    }
    return sum;
  };
  const observed = sumOfPairs(new Uint8Array(frames));
  const far = observed - 1e-12 * energy * frames;
  const { exact, count, patterns } = signs(frames, options);
  let asFar = 0;
  for (const flipped of patterns) if (sumOfPairs(flipped) >= far) asFar++;
  const T = 2 * observed / (frames * (frames - 1));
  return {
    T,
    norm: Math.sqrt(Math.max(T, 0)),
    share: T / (energy / frames),
    p: exact ? asFar / count : (asFar + 1) / (count + 1),
  };
}
