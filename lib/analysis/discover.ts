/**
 * Features that tell the levels of a factor apart, found on some frames of a design and tested on
 * others.
 *
 * The largest of thousands of |t| is large where no feature knows the factor. So the features are
 * ranked on one half of the frames, what they do is tested on the other half, and the largest |t| of
 * the first half stands beside the largest |t| after labels were exchanged at random.
 *
 * @module
 */
import { splitFrames, type StimulusDesign } from "../corpus/mod.ts";
import {
  benjaminiHochberg,
  contrasts,
  type CrossedCells,
  type EffectTest,
  type FactorialResult,
  factorialTest,
  fTail,
  maxT,
  tTest,
} from "../metrics/mod.ts";
import { signs } from "../metrics/sign_flip.ts";
import { Rng } from "../tensor/mod.ts";
import { cellsOf, columnOf, type StimulusCodes } from "./measure.ts";
import { compareWithNull, type NullComparison, requireNullDraws } from "./null_weights.ts";

/** How features are discovered. */
export interface DiscoverOptions {
  /** Features a factor. Default 5. */
  top?: number;
  /** Features that may be chosen, such as those that a machine was trained on. Default: all. */
  among?: readonly number[];
  /** Share of the frames that features are chosen on. Default 0.5. */
  share?: number;
  /** Names the split of the frames and the draws. Default 0. */
  seed?: number;
  /** Draws of exchanged labels. Default 999. */
  draws?: number;
  /** Share of discoveries that may be false. Default 0.05. */
  rate?: number;
  /** Differences up to this share of a feature's largest value are rounding. Default 1e-5. */
  noiseFloor?: number;
  /**
   * `"B22"`: chooses and tests on the same texts, all of them, by Student's t for independent samples,
   * as if the four texts of a frame had nothing in common. Features that are constant stay out even so.
   */
  faithful?: readonly "B22"[];
}

/** What is measured of the stimuli. */
export type DiscoveryCodes =
  & Pick<StimulusCodes, "features" | "dSae" | "tokens">
  & Partial<Pick<StimulusCodes, "sinks">>
  & { readonly design: StimulusDesign };

/** A feature that was chosen for a factor, and what became of it. */
export interface DiscoveredFeature {
  readonly feature: number;
  /** What it was chosen by. */
  readonly selection: { readonly t: number; readonly p: number };
  /** Its main effect of the factor on the frames of the confirmation. */
  readonly effect: EffectTest;
  /**
   * Everything about it on these frames, interaction included. The factors count as manipulated if they
   * move the first feature that was chosen for each.
   */
  readonly test: FactorialResult;
  /** p of the effect, adjusted for all features of both factors (step-down max-T). */
  readonly pMaxT: number;
  /** Whether it is a discovery at the false discovery rate, of all features of both factors. */
  readonly discovered: boolean;
  /**
   * The effect at equal length of the texts, from a regression of the frames' differences on their
   * difference of length; null where every frame has the same difference of length and it is not 0.
   */
  readonly adjusted: { readonly estimate: number; readonly t: number; readonly p: number } | null;
  /** Whether it was chosen for the other factor, too. */
  readonly shared: boolean;
}

/** What was found for one factor. */
export interface FactorDiscovery {
  /** Names of the levels, high and low. */
  readonly levels: readonly [string, string];
  /** By |t|, largest first. */
  readonly features: readonly DiscoveredFeature[];
  /** The largest |t| of all features against that after labels were exchanged. */
  readonly largest: NullComparison;
  /** How many features have p < 0.05 before correction, against the same after exchanges. */
  readonly significant: NullComparison;
}

/** What was found. */
export interface Discovery {
  /** Features that vary over the texts of the selection, and those that do not. */
  readonly candidates: number;
  readonly constant: number;
  /** Frames that features were chosen on. */
  readonly selection: readonly string[];
  /** Frames that they were tested on. */
  readonly confirmation: readonly string[];
  /** Frames without a readable target, which are in neither. */
  readonly leftOut: readonly string[];
  readonly a: FactorDiscovery;
  readonly b: FactorDiscovery;
}

/**
 * Discovers the features of both factors of a design.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { discover, loadStimuli, Rng } from "interlens";
 *
 * // 20 features of noise; feature 3 knows the first factor.
 * const design = await loadStimuli("paris_folk");
 * const dSae = 20;
 * const features = new Rng(1).normals(design.stimuli.length * dSae, 1);
 * design.stimuli.forEach(({ a }, i) => features[i * dSae + 3] += 2 * a);
 * const tokens = design.stimuli.map(() => 10);
 * const { a, b } = discover({ design, features, dSae, tokens }, { top: 1, draws: 99 });
 * assertEquals([a.features[0].feature, a.features[0].discovered, a.largest.p], [3, true, 0.01]);
 * assertEquals(b.features[0].discovered, false);
 * ```
 *
 * @param codes What `measureStimuli` gives.
 * @param options How.
 * @throws {RangeError} If a number is not that of the stimuli, an option is out of range, or fewer
 * features vary than are asked for.
 */
export function discover(codes: DiscoveryCodes, options: DiscoverOptions = {}): Discovery {
  const { top = 5, share = 0.5, seed = 0, draws = 999, rate = 0.05, noiseFloor = 1e-5 } = options;
  requireNullDraws(draws);
  requireCodes(codes, top);
  const { readable, leftOut } = withoutSinks(codes);
  const sameTexts = options.faithful?.includes("B22") ?? false;
  const parts = sameTexts
    ? { selection: readable.design, confirmation: readable.design }
    : splitFrames(readable.design, { seed, share });
  const chosenOn = only(readable, parts.selection);
  const testedOn = only(readable, parts.confirmation);

  const eligible = new Set(options.among ?? Array.from({ length: codes.dSae }, (_, f) => f));
  const varying = varyingFeatures(chosenOn, noiseFloor).filter((feature) => eligible.has(feature));
  if (varying.length < top) {
    throw new RangeError(
      `Cannot choose ${top} features for "${codes.design.name}": ${varying.length} of ${eligible.size} ` +
        "vary over the texts; choose fewer, or read them elsewhere",
    );
  }
  const rank = sameTexts ? rankTexts : rankFrames;
  const ranked = (["a", "b"] as const).map((factor) =>
    rank(chosenOn, factor, varying, { top, draws, seed, noiseFloor })
  );
  const cellsOfFeature = (feature: number) =>
    cellsOf(testedOn.design, columnOf(testedOn.features, codes.dSae, feature));
  // A feature need not answer to both factors; those that were chosen first must.
  const [a, b] = ranked.map(({ best }) => cellsOfFeature(best[0].feature));
  const tested = ranked.flatMap(({ best }, f) =>
    best.map(({ feature }) => {
      const cells = cellsOfFeature(feature);
      const test = factorialTest(cells, { seed, noiseFloor, manipulation: { a, b } });
      return {
        cells: f === 0 ? cells : swapped(cells),
        test,
        effect: [test.factorA, test.factorB][f],
      };
    })
  );
  const together = maxT(tested.map(({ cells }) => cells), { effect: "factorA", seed, noiseFloor });
  const found = benjaminiHochberg(tested.map(({ effect }) => effect.p), rate);
  const lengths = cellsOf(testedOn.design, testedOn.tokens);
  const factors = ranked.map(({ best, largest, significant }, f): FactorDiscovery => {
    const others = new Set(ranked[1 - f].best.map(({ feature }) => feature));
    const length = contrasts(f === 0 ? lengths : swapped(lengths)).factorA;
    return {
      levels: f === 0 ? codes.design.levels.a : codes.design.levels.b,
      largest,
      significant,
      features: best.map(({ feature, t, p }, i) => {
        const at = f * top + i;
        const { test, effect, cells } = tested[at];
        return {
          feature,
          selection: { t, p },
          effect,
          test,
          pMaxT: together[at].p,
          discovered: found[at],
          adjusted: atEqualLength(contrasts(cells).factorA, length),
          shared: others.has(feature),
        };
      }),
    };
  });
  return {
    candidates: varying.length,
    constant: eligible.size - varying.length,
    selection: parts.selection.frames,
    confirmation: parts.confirmation.frames,
    leftOut,
    a: factors[0],
    b: factors[1],
  };
}

/** The factors exchanged: what is said of A is then said of B. */
function swapped({ a1b1, a1b0, a0b1, a0b0 }: CrossedCells): CrossedCells {
  return { a1b1, a1b0: a0b1, a0b1: a1b0, a0b0 };
}

/** The stimuli of a part of the design. */
function only(codes: DiscoveryCodes, design: StimulusDesign): DiscoveryCodes {
  const { dSae } = codes;
  const kept = new Set(design.frames);
  const rows = codes.design.stimuli.flatMap(({ frame }, i) => kept.has(frame) ? [i] : []);
  const features = new Float32Array(rows.length * dSae);
  rows.forEach((row, at) =>
    features.set(codes.features.subarray(row * dSae, (row + 1) * dSae), at * dSae)
  );
  return { design, dSae, features, tokens: rows.map((row) => codes.tokens[row]) };
}

function withoutSinks(codes: DiscoveryCodes): { readable: DiscoveryCodes; leftOut: string[] } {
  const { design, sinks = [] } = codes;
  const without = new Set(sinks.map((i) => design.stimuli[i].frame));
  const frames = design.frames.filter((frame) => !without.has(frame));
  const stimuli = design.stimuli.filter(({ frame }) => !without.has(frame));
  const leftOut = design.frames.filter((frame) => without.has(frame));
  return { readable: only(codes, { ...design, frames, stimuli }), leftOut };
}

/** Features whose values differ by more than rounding. */
function varyingFeatures({ features, dSae, tokens }: DiscoveryCodes, noiseFloor: number): number[] {
  const low = new Float64Array(dSae).fill(Infinity);
  const high = new Float64Array(dSae).fill(-Infinity);
  for (let text = 0, at = 0; text < tokens.length; text++) {
    for (let f = 0; f < dSae; f++, at++) {
      if (features[at] < low[f]) low[f] = features[at];
      if (features[at] > high[f]) high[f] = features[at];
    }
  }
  return Array.from({ length: dSae }, (_, f) => f).filter((f) =>
    high[f] - low[f] > noiseFloor * Math.max(Math.abs(low[f]), Math.abs(high[f]))
  );
}

interface Ranked {
  best: { feature: number; t: number; p: number }[];
  largest: NullComparison;
  significant: NullComparison;
}

type Rank = (
  codes: DiscoveryCodes,
  factor: "a" | "b",
  varying: readonly number[],
  options: { top: number; draws: number; seed: number; noiseFloor: number },
) => Ranked;

/** By a paired t over frames; labels are exchanged within frames. */
const rankFrames: Rank = (codes, factor, varying, { top, draws, seed, noiseFloor }) => {
  const frames = codes.design.frames.length;
  const n = varying.length;
  const x = new Float64Array(frames * n); // differences, [frames, features]
  const energy = new Float64Array(n);
  const sums = new Float64Array(n);
  varying.forEach((feature, m) => {
    const column = columnOf(codes.features, codes.dSae, feature);
    const noise = noiseFloor * column.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    const effects = contrasts(cellsOf(codes.design, column));
    const differences = factor === "a" ? effects.factorA : effects.factorB;
    if (differences.every((value) => Math.abs(value) <= noise)) return;
    differences.forEach((value, frame) => {
      x[frame * n + m] = value;
      energy[m] += value * value;
      sums[m] += value;
    });
  });
  // Σx² does not depend on signs: t² = (n − 1) s² / (nΣx² − s²) with s the sum.
  const tOf = (sum: number, m: number) => {
    const rest = frames * energy[m] - sum * sum;
    if (!(energy[m] > 0)) return 0;
    return Math.sign(sum) *
      Math.sqrt((frames - 1) * sum * sum / Math.max(rest, 1e-12 * frames * energy[m]));
  };
  function* flipped() {
    const into = new Float64Array(n);
    for (const pattern of drawnSigns(frames, draws, seed)) {
      into.fill(0);
      for (let frame = 0, at = 0; frame < frames; frame++) {
        const sign = pattern[frame] ? -1 : 1;
        for (let m = 0; m < n; m++, at++) into[m] += sign * x[at];
      }
      yield into;
    }
  }
  return rankBy(sums, flipped(), tOf, { varying, top, df: frames - 1 });
};

/** By Student's t over texts; labels are exchanged between all texts. */
const rankTexts: Rank = (codes, factor, varying, { top, draws, seed }) => {
  const { stimuli } = codes.design;
  const texts = stimuli.length;
  const n = varying.length;
  const high = stimuli.map((stimulus) => stimulus[factor] === 1);
  const count = high.filter(Boolean).length;
  const x = new Float64Array(texts * n);
  const total = new Float64Array(n);
  const energy = new Float64Array(n);
  for (let text = 0; text < texts; text++) {
    for (let m = 0; m < n; m++) {
      const value = codes.features[text * codes.dSae + varying[m]];
      x[text * n + m] = value;
      total[m] += value;
      energy[m] += value * value;
    }
  }
  const tOf = (sum: number, m: number) => {
    const [high, low] = [sum / count, (total[m] - sum) / (texts - count)];
    const within = energy[m] - count * high ** 2 - (texts - count) * low ** 2;
    const variance = Math.max(within, 1e-12 * energy[m]) / (texts - 2);
    return (high - low) / Math.sqrt(variance * (1 / count + 1 / (texts - count)));
  };
  const sumsOf = (chosen: Iterable<number>, into: Float64Array) => {
    into.fill(0);
    for (const text of chosen) {
      for (let m = 0, at = text * n; m < n; m++, at++) into[m] += x[at];
    }
    return into;
  };
  function* exchanged() {
    const rng = new Rng(seed, "labels");
    const into = new Float64Array(n);
    for (let draw = 0; draw < draws; draw++) {
      yield sumsOf(rng.permutation(texts).subarray(0, count), into);
    }
  }
  const sums = sumsOf(high.flatMap((is, text) => is ? [text] : []), new Float64Array(n));
  const ranked = rankBy(sums, exchanged(), tOf, { varying, top, df: texts - 2 });
  // The numbers that are shown are the t-test's own.
  const best = ranked.best.map(({ feature }) => {
    const column = columnOf(codes.features, codes.dSae, feature);
    const { t, p } = tTest(
      column.filter((_, i) => high[i]),
      column.filter((_, i) => !high[i]),
      { variances: "equal" },
    );
    return { feature, t, p };
  });
  return { ...ranked, best };
};

/** Ranks features by |t| of their sums, and does the same for the sums of each draw. */
function rankBy(
  sums: Float64Array,
  draws: Iterable<Float64Array>,
  tOf: (sum: number, m: number) => number,
  { varying, top, df }: { varying: readonly number[]; top: number; df: number },
): Ranked {
  const t = sums.map(tOf);
  const limit = criticalT(df);
  const count = (values: Float64Array) =>
    values.reduce((all, value) => Math.abs(value) > limit ? all + 1 : all, 0);
  const most = (values: Float64Array) =>
    values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  const largest: number[] = [];
  const significant: number[] = [];
  for (const drawn of draws) {
    const exchanged = drawn.map(tOf);
    largest.push(most(exchanged));
    significant.push(count(exchanged));
  }
  const kind = "exchanged labels";
  return {
    best: varying.map((feature, m) => ({ feature, t: t[m], p: fTail(t[m] ** 2, 1, df) }))
      .sort((a, b) => Math.abs(b.t) - Math.abs(a.t)).slice(0, top),
    largest: compareWithNull(most(t), largest, { kind }),
    significant: compareWithNull(count(t), significant, { kind }),
  };
}

/** As many patterns of signs as asked for, also where all could be tried. */
function* drawnSigns(units: number, draws: number, seed: number): Generator<Uint8Array> {
  const { exact, patterns } = signs(units, { draws: Math.max(draws, 99), seed });
  if (exact) {
    const rng = new Rng(seed, "exchanged labels");
    for (let draw = 0; draw < draws; draw++) {
      yield Uint8Array.from({ length: units }, () => rng.integer(2));
    }
    return;
  }
  let drawn = 0;
  for (const pattern of patterns) {
    if (drawn++ === draws) return;
    yield pattern;
  }
}

/** |t| whose two-sided p is 0.05. */
function criticalT(df: number): number {
  let [low, high] = [0, 1000];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (fTail(middle * middle, 1, df) > 0.05) low = middle;
    else high = middle;
  }
  return high;
}

/** The intercept of differences on differences of length. */
function atEqualLength(x: Float64Array, length: Float64Array): DiscoveredFeature["adjusted"] {
  const n = x.length;
  const mean = (values: Float64Array) => values.reduce((all, v) => all + v, 0) / n;
  const [mx, ml] = [mean(x), mean(length)];
  let [ll, lx] = [0, 0];
  for (let i = 0; i < n; i++) {
    ll += (length[i] - ml) ** 2;
    lx += (length[i] - ml) * (x[i] - mx);
  }
  if (ll === 0 && ml !== 0) return null;
  const slope = ll > 0 ? lx / ll : 0;
  const estimate = mx - slope * ml;
  const df = ll > 0 ? n - 2 : n - 1;
  let rest = 0;
  for (let i = 0; i < n; i++) rest += (x[i] - mx - slope * (length[i] - ml)) ** 2;
  if (df < 1) return null;
  const error = Math.sqrt(rest / df * (1 / n + (ll > 0 ? ml ** 2 / ll : 0)));
  if (error === 0) return { estimate, t: 0, p: estimate === 0 ? 1 : 0 };
  const t = estimate / error;
  return { estimate, t, p: fTail(t * t, 1, df) };
}

function requireCodes({ design, features, dSae, tokens }: DiscoveryCodes, top: number): void {
  const texts = design.stimuli.length;
  if (texts !== tokens.length || features.length !== texts * dSae) {
    throw new RangeError(
      `Cannot discover features of "${design.name}" from ${features.length} activations and ` +
        `${tokens.length} lengths: expected ${texts} texts of ${dSae} features`,
    );
  }
  if (!Number.isInteger(top) || top < 1) {
    throw new RangeError(`Cannot choose ${top} features a factor: expected an integer above 0`);
  }
}
