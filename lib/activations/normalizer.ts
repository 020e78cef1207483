/**
 * The normaliser: what every activation goes through before a dictionary sees it.
 *
 *     x ↦ s · min(max(x, low), high)        s = √d / mean‖x‖
 *
 * The bounds are μ ± c·σ with the mean μ and standard deviation σ of all elements (one number each,
 * not one per dimension), and the mean norm is that of the clamped vectors. This is the
 * preprocessing of the study "Information space contains computations, not just features" (c = 6).
 * After it, vectors have a mean norm of √d, so an element is of size 1.
 *
 * It is fitted on training tokens only, once, and kept with the activations: what is trained on one
 * scale is never fed another.
 *
 * @module
 */
import { join } from "node:path";
import { tf } from "../tensor/mod.ts";
import { readSafetensors, writeFileAtomic, writeSafetensors } from "../files/mod.ts";
import { scaleInPlace } from "./row_files.ts";

/** What a normaliser does; see {@linkcode fitNormalizer}. */
export interface NormalizerOptions {
  /** Bounds in standard deviations of all elements around their mean; null does not clamp. */
  readonly clipSigma: number | null;
  /** Whether to scale to a mean norm of √d. */
  readonly scale: boolean;
}

/** What a normaliser was fitted on. */
export interface NormalizerFit {
  /** Tokens measured. */
  readonly tokens: number;
  /** Mean of all elements, before clamping. */
  readonly mean: number;
  /** Standard deviation of all elements, before clamping. */
  readonly standardDeviation: number;
  /** Mean Euclidean norm of the vectors, after clamping. */
  readonly meanNorm: number;
  /** Share of elements that clamping changes, 0 to 1. */
  readonly clippedFraction: number;
}

const TENSORS = "normalizer.safetensors";
const RECORD = "normalizer.json";
/** Files that {@linkcode Normalizer.save} writes. */
export const NORMALIZER_FILES = [TENSORS, RECORD] as const;

/**
 * A fitted normaliser.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Normalizer } from "interlens";
 *
 * const normalizer = new Normalizer(0.5, { low: -4, high: 4 });
 * const x = new Float32Array([-8, 1, 3]);
 * normalizer.applyTo(x);
 * assertEquals(x, new Float32Array([-2, 0.5, 1.5]));
 * ```
 */
export class Normalizer {
  /** Factor, after clamping. */
  readonly scale: number;
  /** Bounds in the units of the model; null: none. */
  readonly clip: { readonly low: number; readonly high: number } | null;
  /** What it was fitted on; null if it was not. */
  readonly fit: NormalizerFit | null;

  /**
   * @param scale Factor, above 0.
   * @param clip Bounds, or null.
   * @param fit What it was fitted on.
   * @throws {RangeError} If the factor or the bounds are not usable.
   */
  constructor(
    scale = 1,
    clip: { low: number; high: number } | null = null,
    fit: NormalizerFit | null = null,
  ) {
    if (!(scale > 0 && Number.isFinite(scale)) || (clip && !(clip.low < clip.high))) {
      throw new RangeError(
        `Cannot normalise with scale ${scale} and bounds ${
          clip ? `${clip.low}…${clip.high}` : "none"
        }: ` +
          `expected a scale above 0 and a lower bound below the upper one`,
      );
    }
    // Rounded as it is stored and applied, so that a loaded normaliser is the same one.
    this.scale = Math.fround(scale);
    this.clip = clip && { low: Math.fround(clip.low), high: Math.fround(clip.high) };
    this.fit = fit;
  }

  /**
   * Normalised vectors.
   *
   * @param x Activations as the model makes them, `[tokens, d]` or `[batch, pos, d]`.
   * @returns A new tensor of the same shape, owned by the caller.
   */
  apply<T extends tf.Tensor>(x: T): T {
    return tf.tidy(() => {
      const clamped = this.clip ? tf.clipByValue(x, this.clip.low, this.clip.high) : x;
      return tf.mul(clamped, this.scale) as T;
    });
  }

  /** Normalises elements in place. */
  applyTo(values: Float32Array): void {
    scaleInPlace(values, this);
  }

  /**
   * Back to the units of the model, for splicing a reconstruction in. What was clamped stays so.
   *
   * @param x Normalised vectors.
   * @returns A new tensor of the same shape, owned by the caller.
   */
  restore<T extends tf.Tensor>(x: T): T {
    return tf.div(x, this.scale) as T;
  }

  /**
   * Writes `normalizer.safetensors` (scale `[1]`, clip `[2]`) and `normalizer.json` to a folder.
   *
   * @throws {Error} If they cannot be written.
   */
  async save(dir: string): Promise<void> {
    const { scale, clip, fit } = this;
    await writeSafetensors(join(dir, TENSORS), {
      scale: { dtype: "F32", shape: [1], data: new Float32Array([scale]) },
      ...clip && {
        clip: { dtype: "F32", shape: [2], data: new Float32Array([clip.low, clip.high]) },
      },
    });
    await writeFileAtomic(join(dir, RECORD), JSON.stringify({ scale, clip, fit }, null, 2) + "\n");
  }

  /**
   * Reads what {@linkcode Normalizer.save} wrote.
   *
   * @throws {Error} If a file is missing or damaged, or the two disagree.
   */
  static load(dir: string): Normalizer {
    const path = join(dir, RECORD);
    const { tensors } = readSafetensors(join(dir, TENSORS));
    let record: { scale: number; clip: Normalizer["clip"]; fit: NormalizerFit | null };
    try {
      record = JSON.parse(Deno.readTextFileSync(path));
    } catch (error) {
      throw new Error(`Cannot read the normaliser "${path}": make it again`, { cause: error });
    }
    const stored = [tensors.scale?.data[0], tensors.clip?.data[0], tensors.clip?.data[1]];
    if (`${stored}` !== `${[record.scale, record.clip?.low, record.clip?.high]}`) {
      throw new Error(`"${TENSORS}" and "${RECORD}" in "${dir}" disagree: make them again`);
    }
    return new Normalizer(record.scale, record.clip, record.fit);
  }
}

/**
 * Fits a normaliser in two streaming passes with float64 sums; memory does not grow with tokens.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { fitNormalizer } from "interlens";
 *
 * const rows = new Float32Array([3, 4, 0, 5]); // two vectors of norm 5
 * const { scale } = fitNormalizer(() => [rows], 2, { clipSigma: null, scale: true });
 * assertAlmostEquals(scale, Math.SQRT2 / 5, 1e-7);
 * ```
 *
 * @param chunks Opens the training activations, `[tokens, d]` a chunk; called twice.
 * @param d Width of a vector.
 * @param options What it should do.
 * @throws {RangeError} If there are no tokens, all activations are 0, or `clipSigma` is not above 0.
 */
export function fitNormalizer(
  chunks: () => Iterable<Float32Array>,
  d: number,
  { clipSigma, scale }: NormalizerOptions,
): Normalizer {
  checkNormalizerOptions({ clipSigma, scale });
  const elements = elementSums(chunks());
  const bounds = clipBounds(elements, { clipSigma, scale }, d);
  return normalizerOf(elements, normSums(chunks(), d, bounds), { clipSigma, scale }, d);
}

/** Sums over the elements of vectors, in float64. */
export interface ElementSums {
  /** Number of elements. */
  readonly elements: number;
  /** Of the elements. */
  readonly sum: number;
  /** Of their squares. */
  readonly squares: number;
}

/** Sums over vectors whose elements are clamped, in float64. */
export interface NormSums {
  /** Of Euclidean norms. */
  readonly norms: number;
  /** Number of elements that clamping changes. */
  readonly clipped: number;
}

/** What the first pass over the training activations is for. */
export function elementSums(chunks: Iterable<Float32Array>): ElementSums {
  let [elements, sum, squares] = [0, 0, 0];
  for (const chunk of chunks) {
    elements += chunk.length;
    for (let i = 0; i < chunk.length; i++) {
      sum += chunk[i];
      squares += chunk[i] * chunk[i];
    }
  }
  return { elements, sum, squares };
}

/** What the second pass is for; chunks hold whole vectors of width `d`. */
export function normSums(
  chunks: Iterable<Float32Array>,
  d: number,
  { low, high }: { low: number; high: number },
): NormSums {
  let [norms, clipped] = [0, 0];
  for (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += d) {
      let square = 0;
      for (let i = start; i < start + d; i++) {
        const value = Math.min(Math.max(chunk[i], low), high);
        if (value !== chunk[i]) clipped++;
        square += value * value;
      }
      norms += Math.sqrt(square);
    }
  }
  return { norms, clipped };
}

/**
 * Where elements are clamped; infinite without `clipSigma`.
 *
 * @throws {RangeError} If there are no elements but zeros.
 */
export function clipBounds(
  sums: ElementSums,
  { clipSigma }: NormalizerOptions,
  d: number,
): { low: number; high: number } {
  if (!(sums.squares > 0)) {
    throw new RangeError(
      `Cannot fit a normaliser on ${sums.elements / d} tokens: expected activations that are not ` +
        `all 0`,
    );
  }
  const { mean, standardDeviation } = moments(sums);
  const reach = clipSigma === null ? Infinity : clipSigma * standardDeviation;
  return { low: Math.fround(mean - reach), high: Math.fround(mean + reach) };
}

/** The normaliser that the sums of both passes give. */
export function normalizerOf(
  sums: ElementSums,
  { norms, clipped }: NormSums,
  options: NormalizerOptions,
  d: number,
): Normalizer {
  const { mean, standardDeviation } = moments(sums);
  const tokens = sums.elements / d;
  const meanNorm = norms / tokens;
  const clips = options.clipSigma !== null && standardDeviation > 0;
  return new Normalizer(
    options.scale ? Math.sqrt(d) / meanNorm : 1,
    clips ? clipBounds(sums, options, d) : null,
    { tokens, mean, standardDeviation, meanNorm, clippedFraction: clipped / sums.elements },
  );
}

function moments({ elements, sum, squares }: ElementSums): {
  mean: number;
  standardDeviation: number;
} {
  const mean = sum / elements;
  return { mean, standardDeviation: Math.sqrt(Math.max(0, squares / elements - mean * mean)) };
}

/** @throws {RangeError} If the options cannot be used. */
export function checkNormalizerOptions({ clipSigma }: NormalizerOptions): void {
  if (clipSigma !== null && !(clipSigma > 0 && Number.isFinite(clipSigma))) {
    throw new RangeError(
      `Cannot clamp to ${clipSigma} standard deviations: expected a number above 0, or null`,
    );
  }
}
