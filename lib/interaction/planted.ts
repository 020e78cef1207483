/**
 * PlantedPairs-v1: activations in which the truth about interactions is known.
 *
 *     x = Σ_i a_i g_i + β Σ_m a_i a_j u_m + σ ε,  a_i = b_i |1 + ξ/4|,  b_i ~ Bernoulli(p)
 *
 * g_i and u_m are Gaussian directions of norm 1, m = (i, j) are M distinct pairs, ξ and ε are standard
 * normal. Four more worlds look like it and have no product in them, or not only:
 *
 * | world           | name | what takes the place of the products                            |
 * | --------------- | ---- | --------------------------------------------------------------- |
 * | `"independent"` | N0   | nothing                                                         |
 * | `"correlated"`  | N1   | nothing, but the features of M disjoint pairs fire together     |
 * | `"curved"`      | N2   | Σ a_i² g'_i: each feature bends                                 |
 * | `"conjunction"` | N3   | β Σ b_i b_j u_m: a feature of its own for "both"                |
 *
 * In N0 to N2 every discovered pair is false. N3 equals a planted pair up to amplitudes: "pair or
 * missing feature" is all that codes of the single features can tell.
 *
 * @module
 */
import { normalQuantile } from "../metrics/mod.ts";
import { Rng } from "../tensor/mod.ts";
import type { Pair } from "./pairs.ts";

/** What is added to the single features. */
export type PlantedKind = "pairs" | "independent" | "correlated" | "curved" | "conjunction";

/** A world. */
export interface PlantedConfig {
  /** What is planted. Default `"pairs"`. */
  kind?: PlantedKind;
  /** Number of features. Default 64. */
  n?: number;
  /** Width of the activations. Default 64. */
  d?: number;
  /** Number of pairs M. Default 32. */
  pairs?: number;
  /** Probability p that a feature fires. Default 0.08. */
  firing?: number;
  /** Size β of the products, where there are any. Default 1. */
  beta?: number;
  /** Size σ of the noise. Default 0.02. */
  sigma?: number;
  /** Correlation ρ of the normal variables behind the pairs of `"correlated"`. Default 0.5. */
  rho?: number;
  /** Training tokens. Default 20,000. */
  train?: number;
  /** Test tokens. Default 5000. */
  test?: number;
  /** Default 0. */
  seed?: number;
}

/** Tokens of a world, row-major. */
export interface PlantedSplit {
  readonly tokens: number;
  /** a, `[tokens, n]`. */
  readonly codes: Float32Array;
  /** `[tokens, d]`. */
  readonly x: Float32Array;
  /** x without Σ a_i g_i, `[tokens, d]`: what a perfect dictionary of the features leaves. */
  readonly target: Float32Array;
}

/** A world and its truth. */
export interface PlantedWorld {
  readonly config: Required<PlantedConfig>;
  /** g, `[n, d]` row-major. */
  readonly features: Float64Array;
  /** The planted pairs; in a world without products, where they would be. */
  readonly pairs: readonly Pair[];
  /** u, `[M, d]` row-major. */
  readonly directions: Float64Array;
  readonly train: PlantedSplit;
  readonly test: PlantedSplit;
  /** FVU of the target on the test tokens for who knows all but ε. */
  readonly noiseFloor: number;
}

/**
 * Makes a world; the same seed gives the same numbers.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { plantedPairs, plantedTheory } from "interlens";
 *
 * const world = plantedPairs({ seed: 3 });
 * assertEquals([world.pairs.length, world.train.codes.length], [32, 20_000 * 64]);
 * assertAlmostEquals(world.noiseFloor, plantedTheory(world.config).noiseShare, 0.01);
 * ```
 *
 * @throws {RangeError} Naming an impossible value.
 */
export function plantedPairs(config: PlantedConfig = {}): PlantedWorld {
  const full = resolve(config);
  const { kind, n, d, pairs: M, seed } = full;
  const features = unitRows(n, d, new Rng(seed, "planted", "features"));
  const directions = unitRows(M, d, new Rng(seed, "planted", "directions"));
  const bends = unitRows(kind === "curved" ? n : 0, d, new Rng(seed, "planted", "bends"));
  const pairs = drawPairs(n, M, kind === "correlated", new Rng(seed, "planted", "pairs"));
  const truth = { full, features, directions, bends, pairs };
  const train = draw(full.train, truth, new Rng(seed, "planted", "train"));
  const test = draw(full.test, truth, new Rng(seed, "planted", "test"));

  const mean = new Float64Array(d);
  test.target.forEach((value, i) => mean[i % d] += value / full.test);
  let variance = 0;
  test.target.forEach((value, i) => variance += (value - mean[i % d]) ** 2);
  const noiseFloor = test.noise / variance;
  return { config: full, features, pairs, directions, train, test, noiseFloor };
}

/** What is known of a world without drawing it, for features that fire independently. */
export interface PlantedTheory {
  /** Var a = 1.0625 p − p². */
  readonly codeVariance: number;
  /** Share of the variance of a product that is linear in its two factors. */
  readonly linearShare: number;
  /** Share η of the noise in the variance of the target. */
  readonly noiseShare: number;
  /** FVU of the best affine map from codes to target. */
  readonly linearFvu: number;
  /** FVU of the best model with pairs, η. */
  readonly pairFvu: number;
  /** Energy of the products over that of the single features. */
  readonly energyShare: number;
}

/**
 * Closed forms of a world of `"pairs"`. With E a² = 1.0625 p and E a = p,
 *
 *     Var(a_i a_j) = (1.0625p)² − p⁴,  R²_linear = 1 − Var(a)² / Var(a_i a_j)
 *     η = σ²d / (σ²d + β²M Var(a_i a_j)),  FVU_linear = (1 − η)(1 − R²_linear) + η
 *
 * since a_i a_j − p a_i − p a_j + p² is the product of two independent variables of variance
 * Var(a), and directions are nearly orthogonal. (|1 + ξ/4| has a mean of 1 to 10⁻⁵.)
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { plantedTheory } from "interlens";
 *
 * const { linearFvu, pairFvu } = plantedTheory({});
 * assertAlmostEquals(linearFvu, 0.874, 5e-4);
 * assertAlmostEquals(pairFvu, 0.1, 5e-4);
 * ```
 */
export function plantedTheory(config: PlantedConfig): PlantedTheory {
  const { n, d, pairs, firing: p, beta, sigma } = resolve(config);
  const second = 1.0625 * p;
  const codeVariance = second - p * p;
  const productVariance = second ** 2 - p ** 4;
  const linearShare = 1 - codeVariance ** 2 / productVariance;
  const noise = sigma ** 2 * d;
  const noiseShare = noise / (noise + beta ** 2 * pairs * productVariance);
  return {
    codeVariance,
    linearShare,
    noiseShare,
    linearFvu: (1 - noiseShare) * (1 - linearShare) + noiseShare,
    pairFvu: noiseShare,
    energyShare: beta ** 2 * pairs * second ** 2 / (second * n),
  };
}

function resolve(config: PlantedConfig): Required<PlantedConfig> {
  const { kind = "pairs", n = 64, d = 64, pairs = 32, firing = 0.08, seed = 0 } = config;
  const { beta = 1, sigma = 0.02, rho = 0.5, train = 20_000, test = 5000 } = config;
  const full = { kind, n, d, pairs, firing, beta, sigma, rho, train, test, seed };
  const kinds = ["pairs", "independent", "correlated", "curved", "conjunction"];
  if (!kinds.includes(kind)) {
    throw new RangeError(`Cannot plant "${kind}": expected one of ${kinds.join(", ")}`);
  }
  for (const name of ["n", "d", "train", "test"] as const) {
    if (!Number.isInteger(full[name]) || full[name] < 1) {
      throw new RangeError(
        `Cannot plant with ${name} = ${full[name]}: expected an integer above 0`,
      );
    }
  }
  const most = kind === "correlated" ? Math.floor(n / 2) : n * (n - 1) / 2;
  if (!Number.isInteger(pairs) || pairs < 0 || pairs > most) {
    throw new RangeError(`Cannot plant ${pairs} pairs of ${n} features: expected 0…${most}`);
  }
  if (!(firing > 0 && firing < 1)) {
    throw new RangeError(`Cannot plant with firing = ${firing}: expected between 0 and 1`);
  }
  if (!(rho >= 0 && rho < 1)) {
    throw new RangeError(`Cannot plant with rho = ${rho}: expected 0 or more, below 1`);
  }
  if (!(beta >= 0 && sigma >= 0)) {
    throw new RangeError(`Cannot plant with beta = ${beta}, sigma = ${sigma}: expected 0 or more`);
  }
  return full;
}

function unitRows(rows: number, d: number, rng: Rng): Float64Array {
  const all = new Float64Array(rows * d);
  for (let row = 0; row < rows; row++) {
    let square = 0;
    for (let i = row * d; i < (row + 1) * d; i++) square += (all[i] = rng.normal()) ** 2;
    for (let i = row * d; i < (row + 1) * d; i++) all[i] /= Math.sqrt(square);
  }
  return all;
}

function drawPairs(n: number, count: number, disjoint: boolean, rng: Rng): Pair[] {
  if (disjoint) {
    const order = rng.permutation(n);
    return Array.from({ length: count }, (_, m) => sorted(order[2 * m], order[2 * m + 1]));
  }
  const seen = new Set<number>();
  const pairs: Pair[] = [];
  while (pairs.length < count) {
    const [i, j] = [rng.integer(n), rng.integer(n)];
    const pair = sorted(i, j);
    const key = pair[0] * n + pair[1];
    if (i === j || seen.has(key)) continue;
    seen.add(key);
    pairs.push(pair);
  }
  return pairs;
}

const sorted = (i: number, j: number): Pair => i < j ? [i, j] : [j, i];

interface Truth {
  readonly full: Required<PlantedConfig>;
  readonly features: Float64Array;
  readonly directions: Float64Array;
  readonly bends: Float64Array;
  readonly pairs: readonly Pair[];
}

function draw(tokens: number, truth: Truth, rng: Rng): PlantedSplit & { noise: number } {
  const { full, features, directions, bends, pairs } = truth;
  const { kind, n, d, firing, beta, sigma, rho } = full;
  const codes = new Float32Array(tokens * n);
  const x = new Float32Array(tokens * d);
  const target = new Float32Array(tokens * d);
  const threshold = normalQuantile(1 - firing);
  const partner = new Map(pairs.map(([i, j]) => [j, i]));
  const a = new Float64Array(n);
  const z = new Float64Array(n);
  const rest = new Float64Array(d);
  const single = new Float64Array(d);
  const addTo = (sum: Float64Array, rows: Float64Array, row: number, factor: number) => {
    for (let k = 0; k < d; k++) sum[k] += factor * rows[row * d + k];
  };
  let noise = 0;
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < n; i++) z[i] = kind === "correlated" ? rng.normal() : rng.uniform();
    if (kind === "correlated") {
      for (const [j, i] of partner) z[j] = rho * z[i] + Math.sqrt(1 - rho * rho) * z[j];
    }
    for (let i = 0; i < n; i++) {
      const fires = kind === "correlated" ? z[i] > threshold : z[i] < firing;
      a[i] = fires ? Math.fround(Math.abs(1 + 0.25 * rng.normal())) : 0;
    }
    rest.fill(0);
    single.fill(0);
    for (let i = 0; i < n; i++) {
      if (a[i] === 0) continue;
      addTo(single, features, i, a[i]);
      if (kind === "curved") addTo(rest, bends, i, a[i] ** 2);
    }
    if (kind === "pairs" || kind === "conjunction") {
      pairs.forEach(([i, j], m) => {
        if (a[i] === 0 || a[j] === 0) return;
        addTo(rest, directions, m, kind === "pairs" ? beta * a[i] * a[j] : beta);
      });
    }
    codes.set(a, token * n);
    for (let k = 0; k < d; k++) {
      const epsilon = sigma * rng.normal();
      noise += epsilon ** 2;
      target[token * d + k] = rest[k] + epsilon;
      x[token * d + k] = single[k] + rest[k] + epsilon;
    }
  }
  return { tokens, codes, x, target, noise };
}
