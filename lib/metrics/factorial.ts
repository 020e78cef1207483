/**
 * Crossed 2×2 designs: each frame (a sentence with two slots) is measured in all four cells, so every
 * effect is one number a frame and frames are the units that vary.
 *
 *     main effect of A   (y11 + y10 − y01 − y00) / 2
 *     main effect of B   (y11 − y10 + y01 − y00) / 2
 *     interaction         y11 − y10 − y01 + y00
 *
 * What can be said about an interaction depends on more than its p-value. If a factor does not move
 * what it is meant to move, the design has nothing to say. And an interaction that vanishes on another
 * monotone scale is a fact about the scale (Loftus, 1978): only a crossover survives all of them.
 *
 * @module
 */
import { clusterBootstrap } from "./bootstrap.ts";
import { type PermutationOptions, requireDraws, requireFinite, signFlip } from "./sign_flip.ts";
import { ranks } from "./sorted.ts";

/** One measure in the four cells of a crossed design; index i is the same frame in each. */
export interface CrossedCells {
  /** Both factors high. */
  readonly a1b1: ArrayLike<number>;
  /** A high, B low. */
  readonly a1b0: ArrayLike<number>;
  /** A low, B high. */
  readonly a0b1: ArrayLike<number>;
  /** Both low. */
  readonly a0b0: ArrayLike<number>;
}

/** One effect, over frames. */
export interface EffectTest {
  /** Mean over frames, in units of the measure. */
  readonly estimate: number;
  /** Lower end of the 95 % interval (bootstrap over frames, BCa). */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
  /** Two-sided, by changes of signs over frames. */
  readonly p: number;
  /** dz: mean over frames / standard deviation over frames. */
  readonly effectSize: number;
  /** t² / (t² + frames − 1), 0 to 1. */
  readonly partialEtaSquared: number;
}

/**
 * What may be said about an interaction.
 *
 * - `"not manipulated"`: a factor does not move its measure; nothing follows.
 * - `"none"`: no interaction was found. It is additive only where `equivalence.additive` holds.
 * - `"removable"`: gone, or reversed, on the log or the rank scale.
 * - `"robust"`: there on all scales tried, in the same direction; another scale may still remove it.
 * - `"crossover"`: a factor acts in opposite directions at the levels of the other; no monotone scale
 *   removes that.
 */
export type InteractionKind = "not manipulated" | "none" | "removable" | "robust" | "crossover";

/** Everything about one measure of a crossed design. */
export interface FactorialResult {
  /** Frames that were measured. */
  readonly frames: number;
  /** Mean of each cell. */
  readonly means: Readonly<Record<keyof CrossedCells, number>>;
  readonly factorA: EffectTest;
  readonly factorB: EffectTest;
  /** The contrast y11 − y10 − y01 + y00. */
  readonly interaction: EffectTest;
  /** Whether each factor moves its measure: |dz| > 0.8 and p < 0.05. */
  readonly manipulated: { readonly a: boolean; readonly b: boolean };
  readonly kind: InteractionKind;
  /** The interaction on other scales; `log` is absent where a value is not positive. */
  readonly scales: { readonly log?: EffectTest; readonly rank: EffectTest };
  /** Whether the interaction is small enough to be called none. */
  readonly equivalence: Equivalence;
}

/** Two one-sided tests at 5 %, as an interval of 90 %. */
export interface Equivalence {
  /** Largest interaction that does not matter, in units of the measure. */
  readonly bound: number;
  /** Lower end of the 90 % interval of the interaction. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
  /** No interaction was found, both factors are manipulated, and the interval lies within ±bound. */
  readonly additive: boolean;
}

/** How `factorialTest` works. */
export interface FactorialOptions extends PermutationOptions {
  /** Draws of frames for the intervals. Default 2000. */
  resamples?: number;
  /** A p-value below it is an effect. Default 0.05. */
  alpha?: number;
  /**
   * What each factor is meant to move, such as the feature that was chosen for it, in the same frames.
   * Default: the measure itself, where a factor also passes by its effect at one level of the other,
   * since a crossover has no main effect.
   */
  manipulation?: { readonly a: CrossedCells; readonly b: CrossedCells };
  /**
   * Differences up to this share of the largest absolute value are rounding, not effects. Default
   * 1e-5, for measures made in float32.
   */
  noiseFloor?: number;
  /**
   * Largest interaction that does not matter, in units of the measure. Default: half a standard
   * deviation of the frames' contrasts.
   */
  equivalenceBound?: number;
}

/** |dz| that a manipulation must exceed. */
const MANIPULATION = 0.8;

/**
 * Tests both main effects and the interaction of a crossed design.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { factorialTest } from "interlens";
 *
 * // Twelve frames of their own level each; the factors multiply.
 * const frame = Array.from({ length: 12 }, (_, i) => 1 + i / 10);
 * const cells = {
 *   a1b1: frame.map((x) => 6 * x),
 *   a1b0: frame.map((x) => 2 * x),
 *   a0b1: frame.map((x) => 3 * x),
 *   a0b0: frame,
 * };
 * const { interaction, manipulated, kind } = factorialTest(cells);
 * assertEquals(interaction.p, 2 / 2 ** 12);
 * assertEquals(manipulated, { a: true, b: true });
 * assertEquals(kind, "removable"); // on the log scale the factors add
 * ```
 *
 * @throws {RangeError} If the cells have different numbers of frames or fewer than two, a number is not
 * finite, or an option is impossible.
 */
export function factorialTest(
  cells: CrossedCells,
  options: FactorialOptions = {},
): FactorialResult {
  const { alpha = 0.05, noiseFloor = 1e-5, manipulation } = options;
  if (options.draws !== undefined) requireDraws(options.draws);
  const values = requireCells(cells);
  const { factorA: a, factorB: b, interaction } = contrasts(values);
  const noise = noiseFloor * largest(values);
  const test = (contrast: Float64Array, noise: number) => testEffect(contrast, noise, options);

  const factorA = test(a, noise);
  const factorB = test(b, noise);
  const whole = test(interaction, noise);
  const frames = a.length;
  const manipulated = manipulation === undefined
    ? { a: moves(values, "a", noise, options), b: moves(values, "b", noise, options) }
    : {
      a: movesItsMeasure(manipulation.a, "a", frames, options),
      b: movesItsMeasure(manipulation.b, "b", frames, options),
    };

  const log = largest(values) > 0 && smallest(values) > 0
    ? test(contrasts(mapCells(values, Math.log)).interaction, noiseFloor)
    : undefined;
  // A tie is broken by nothing, so ranks of a constant measure have no contrast.
  const rank = test(contrasts(rankCells(values, noise)).interaction, 0);
  const scales = { ...(log === undefined ? {} : { log }), rank };
  const kind = kindOf(whole, scales, manipulated, crosses(values, noise, options), alpha);
  return {
    frames,
    means: {
      a1b1: mean(values.a1b1),
      a1b0: mean(values.a1b0),
      a0b1: mean(values.a0b1),
      a0b0: mean(values.a0b0),
    },
    factorA,
    factorB,
    interaction: whole,
    manipulated,
    kind,
    scales,
    equivalence: equivalence(interaction, noise, kind, options),
  };
}

/**
 * The three effects of each frame, in units of the measure.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { contrasts } from "interlens";
 *
 * const { factorA, factorB, interaction } = contrasts({ a1b1: [6], a1b0: [2], a0b1: [3], a0b0: [1] });
 * assertEquals([factorA[0], factorB[0], interaction[0]], [2, 3, 2]);
 * ```
 */
export function contrasts(
  { a1b1, a1b0, a0b1, a0b0 }: CrossedCells,
): Record<"factorA" | "factorB" | "interaction", Float64Array> {
  const frame = (f: (i: number) => number) =>
    Float64Array.from({ length: a1b1.length }, (_, i) => f(i));
  return {
    factorA: frame((i) => (a1b1[i] + a1b0[i] - a0b1[i] - a0b0[i]) / 2),
    factorB: frame((i) => (a1b1[i] - a1b0[i] + a0b1[i] - a0b0[i]) / 2),
    interaction: frame((i) => a1b1[i] - a1b0[i] - a0b1[i] + a0b0[i]),
  };
}

/** Cells in float64. @throws {RangeError} If frames are missing or numbers are none. */
export function requireCells(cells: CrossedCells): Record<keyof CrossedCells, Float64Array> {
  const names = ["a1b1", "a1b0", "a0b1", "a0b0"] as const;
  const lengths = names.map((name) => cells[name].length);
  if (lengths[0] < 2 || lengths.some((length) => length !== lengths[0])) {
    throw new RangeError(
      `Cannot test cells of ${lengths.join(", ")} frames: expected the same number in each, at ` +
        "least 2",
    );
  }
  const [a1b1, a1b0, a0b1, a0b0] = names.map((name) => requireFinite(cells[name], `cell ${name}`));
  return { a1b1, a1b0, a0b1, a0b0 };
}

/** An effect; one that stays within the noise in every frame is none. */
function testEffect(
  contrast: Float64Array,
  noise: number,
  { draws, seed = 0, resamples }: FactorialOptions,
): EffectTest {
  const n = contrast.length;
  const interval = clusterBootstrap([contrast], ([sum]) => sum / n, { resamples, seed });
  if (contrast.every((value) => Math.abs(value) <= noise)) {
    return { ...interval, p: 1, effectSize: 0, partialEtaSquared: 0 };
  }
  const effectSize = standardised(contrast);
  const t2 = n * effectSize ** 2;
  return {
    ...interval,
    p: signFlip(contrast, { draws, seed }),
    effectSize,
    partialEtaSquared: Number.isFinite(t2) ? t2 / (t2 + n - 1) : 1,
  };
}

/** dz: 0 for no effect, infinite for the same effect in every frame. */
function standardised(contrast: Float64Array): number {
  const m = mean(contrast);
  const deviation = standardDeviation(contrast);
  return deviation > 1e-12 * Math.abs(m) ? m / deviation : Math.sign(m) * Infinity || 0;
}

function passes(contrast: Float64Array, noise: number, alpha: number, options: FactorialOptions) {
  return contrast.some((value) => Math.abs(value) > noise) &&
    Math.abs(standardised(contrast)) > MANIPULATION && signFlip(contrast, options) < alpha;
}

function movesItsMeasure(
  cells: CrossedCells,
  factor: "a" | "b",
  frames: number,
  options: FactorialOptions,
): boolean {
  const values = requireCells(cells);
  if (values.a1b1.length !== frames) {
    throw new RangeError(
      `Cannot check the manipulation of factor ${factor} on ${values.a1b1.length} frames: expected ` +
        `the ${frames} frames of the measure`,
    );
  }
  const noise = (options.noiseFloor ?? 1e-5) * largest(values);
  return passes(mainEffect(values, factor), noise, options.alpha ?? 0.05, options);
}

/** By its main effect, or by its effect at one of the two levels of the other, each at half of alpha. */
function moves(
  cells: Record<keyof CrossedCells, Float64Array>,
  factor: "a" | "b",
  noise: number,
  options: FactorialOptions,
): boolean {
  const alpha = options.alpha ?? 0.05;
  return [mainEffect(cells, factor), ...simpleEffects(cells, factor)]
    .some((contrast, i) => passes(contrast, noise, i === 0 ? alpha : alpha / 2, options));
}

const mainEffect = (cells: CrossedCells, factor: "a" | "b"): Float64Array =>
  contrasts(cells)[factor === "a" ? "factorA" : "factorB"];

/** Effects of a factor where the other is high, and where it is low. */
function simpleEffects(
  { a1b1, a1b0, a0b1, a0b0 }: Record<keyof CrossedCells, Float64Array>,
  factor: "a" | "b",
): [Float64Array, Float64Array] {
  return factor === "a"
    ? [a1b1.map((y, i) => y - a0b1[i]), a1b0.map((y, i) => y - a0b0[i])]
    : [a1b1.map((y, i) => y - a1b0[i]), a0b1.map((y, i) => y - a0b0[i])];
}

/** Whether a factor acts in opposite directions, each of them an effect. */
function crosses(
  cells: Record<keyof CrossedCells, Float64Array>,
  noise: number,
  options: FactorialOptions,
): boolean {
  return (["a", "b"] as const).some((factor) => {
    const [high, low] = simpleEffects(cells, factor);
    return mean(high) * mean(low) < 0 &&
      [high, low].every((effect) =>
        effect.some((value) => Math.abs(value) > noise) &&
        signFlip(effect, options) < (options.alpha ?? 0.05)
      );
  });
}

function kindOf(
  interaction: EffectTest,
  scales: FactorialResult["scales"],
  manipulated: FactorialResult["manipulated"],
  crossover: boolean,
  alpha: number,
): InteractionKind {
  if (!manipulated.a || !manipulated.b) return "not manipulated";
  if (interaction.p >= alpha) return "none";
  if (crossover) return "crossover";
  const sign = Math.sign(interaction.estimate);
  const stays = (effect?: EffectTest) =>
    effect === undefined || effect.p < alpha && Math.sign(effect.estimate) === sign;
  return stays(scales.log) && stays(scales.rank) ? "robust" : "removable";
}

function equivalence(
  contrast: Float64Array,
  noise: number,
  kind: InteractionKind,
  { resamples, seed, equivalenceBound }: FactorialOptions,
): Equivalence {
  const n = contrast.length;
  const options = { resamples, seed, level: 0.9 };
  const { low, high } = clusterBootstrap([contrast], ([sum]) => sum / n, options);
  const bound = equivalenceBound ?? Math.max(standardDeviation(contrast) / 2, noise);
  return { bound, low, high, additive: kind === "none" && -bound <= low && high <= bound };
}

/** Ranks over all cells, ties (up to the noise) at their mean. */
function rankCells(
  cells: Record<keyof CrossedCells, Float64Array>,
  noise: number,
): Record<keyof CrossedCells, Float64Array> {
  const n = cells.a1b1.length;
  const rank = ranks([...cells.a1b1, ...cells.a1b0, ...cells.a0b1, ...cells.a0b0], noise);
  return {
    a1b1: rank.slice(0, n),
    a1b0: rank.slice(n, 2 * n),
    a0b1: rank.slice(2 * n, 3 * n),
    a0b0: rank.slice(3 * n),
  };
}

function mapCells(
  { a1b1, a1b0, a0b1, a0b0 }: Record<keyof CrossedCells, Float64Array>,
  f: (value: number) => number,
): Record<keyof CrossedCells, Float64Array> {
  return { a1b1: a1b1.map(f), a1b0: a1b0.map(f), a0b1: a0b1.map(f), a0b0: a0b0.map(f) };
}

const everyValue = (cells: Record<keyof CrossedCells, Float64Array>) => Object.values(cells);

const largest = (cells: Record<keyof CrossedCells, Float64Array>): number =>
  everyValue(cells).reduce((m, cell) => cell.reduce((max, x) => Math.max(max, Math.abs(x)), m), 0);

const smallest = (cells: Record<keyof CrossedCells, Float64Array>): number =>
  everyValue(cells).reduce((m, cell) => cell.reduce((min, x) => Math.min(min, x), m), Infinity);

const mean = (values: Float64Array): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

function standardDeviation(values: Float64Array): number {
  const m = mean(values);
  const sum = values.reduce((total, value) => total + (value - m) ** 2, 0);
  return Math.sqrt(sum / (values.length - 1));
}
