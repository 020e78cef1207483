/**
 * Every choice of `selection.ts` beside what the same choice gives where nothing was learned.
 *
 * A choice by trained weights (`faithful: ["B3"]`) is compared with untrained weights, one by what
 * training changed with changes of the same size in random directions; both with exchanged entries.
 * The whole choice is repeated on each draw, its maximum over features or dimensions included, so p
 * counts how often chance chooses something as remarkable.
 *
 * @module
 */
import { firstAtLeast, gini } from "../metrics/mod.ts";
import { Rng } from "../tensor/mod.ts";
import {
  embeddingRow,
  type Embeddings,
  type LearnedEmbeddings,
  type SelectionOptions,
  selectionWeights,
} from "./embeddings.ts";
import {
  compareWithNull,
  drawRows,
  type NullComparison,
  type NullDrawOptions,
  requireNullDraws,
  type WeightNull,
} from "./null_weights.ts";
import {
  allOr,
  type AmongOptions,
  chooseByRows,
  chooseK,
  type FeatureGroups,
  type FeatureSpread,
  featureSpreads,
  groupFeatures,
  type KChoice,
  type KMethod,
  type KOptions,
  largest,
  type PartnerChoice,
  strongestPartner,
} from "./selection.ts";

/** The nulls of a choice by these weights. */
const nullsOf = (faithful: readonly string[] = []): WeightNull[] =>
  faithful.includes("B3") ? ["untrained", "permuted"] : ["isotropic", "permuted"];

/** Gini coefficients in one null. */
export interface GiniNull {
  readonly kind: WeightNull;
  /** The largest coefficient of all features against the largest of each draw. */
  readonly highest: NullComparison;
  /** Coefficients of single features, all draws together, ascending. */
  readonly single: Float64Array;
  /** For each feature: how often a single feature of a draw is at least as high. */
  readonly p: Float64Array;
  /** For each feature: in how many draws any feature is at least as high. */
  readonly pHighest: Float64Array;
}

/** Gini coefficients with their nulls. */
export interface GiniTest {
  /** The features that training reached, in the order of `among`. */
  readonly spreads: readonly FeatureSpread[];
  readonly nulls: readonly GiniNull[];
}

/**
 * The Gini coefficient of each feature against its nulls. `"permuted"` exchanges weights between
 * features within each dimension.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { giniAgainstNulls, Rng } from "interlens";
 *
 * // 40 untrained features, and one whose weights are in a single dimension.
 * const values = new Rng(0).normals(41 * 16, 0.05);
 * for (let k = 1; k < 16; k++) values[40 * 16 + k] = 0;
 * const trained = { values, features: 41, K: 16 };
 * const learned = { trained, initial: trained, change: trained, initialStd: 0.05 };
 * const { spreads, nulls } = giniAgainstNulls(learned, { faithful: ["B3"] });
 * const [untrained] = nulls;
 * assertEquals([untrained.kind, spreads.length], ["untrained", 41]);
 * assertEquals(untrained.pHighest[40], 1 / 100);
 * assert(untrained.p[0] > 0.01);
 * ```
 *
 * @param options `draws`: of all features at once. Default 99.
 * @throws {RangeError} If no feature was reached by training, or there are fewer than 19 draws.
 */
export function giniAgainstNulls(
  learned: LearnedEmbeddings,
  { draws = 99, seed = 0, among, faithful }: AmongOptions & NullDrawOptions = {},
): GiniTest {
  requireNullDraws(draws);
  const weights = selectionWeights(learned, { faithful });
  const spreads = featureSpreads(learned, { among, faithful }).filter(({ norm }) => norm > 0);
  if (spreads.length === 0) {
    throw new RangeError(
      "Cannot test the weights of no features: none was reached by training, expected active ones",
    );
  }
  const features = spreads.map(({ feature }) => feature);
  const ginis = spreads.map((spread) => spread.gini);
  const { K } = weights;
  const nulls = nullsOf(faithful).map((kind) => {
    const rng = new Rng(seed, "gini", kind);
    const single = new Float64Array(draws * features.length);
    const highest = new Float64Array(draws);
    for (let draw = 0; draw < draws; draw++) {
      const { values } = kind === "permuted"
        ? exchangeWithinColumns(weights, features, rng)
        : drawRows(weights, features, { kind, std: learned.initialStd, rng });
      for (let at = 0; at < features.length; at++) {
        const value = gini(values.subarray(at * K, (at + 1) * K));
        single[draw * features.length + at] = value;
        if (value > highest[draw]) highest[draw] = value;
      }
    }
    single.sort();
    const comparison = compareWithNull(Math.max(...ginis), highest, { kind });
    const share = (sorted: Float64Array) =>
      Float64Array.from(
        ginis,
        (value) => (1 + sorted.length - firstAtLeast(sorted, value)) / (1 + sorted.length),
      );
    return {
      kind,
      highest: comparison,
      single,
      p: share(single),
      pHighest: share(comparison.draws),
    };
  });
  return { spreads, nulls };
}

/** Weights of some features, each column in an order of its own. */
function exchangeWithinColumns(
  embeddings: Embeddings,
  features: readonly number[],
  rng: Rng,
): Embeddings {
  const { K } = embeddings;
  const n = features.length;
  const values = new Float32Array(n * K);
  for (let k = 0; k < K; k++) {
    const order = rng.permutation(n);
    for (let at = 0; at < n; at++) {
      values[at * K + k] = embeddings.values[features[order[at]] * K + k];
    }
  }
  return { values, features: n, K };
}

/** The strongest partner of a feature with its nulls. */
export interface PartnerTest {
  readonly choice: PartnerChoice;
  /** |weight| of the feature in its strongest dimension; a null without order has nothing to say. */
  readonly own: readonly NullComparison[];
  /** |weight| of the strongest partner there. */
  readonly partner: readonly NullComparison[];
}

/**
 * The strongest dimension and the strongest partner of a feature against their nulls. In each draw the
 * feature's row is drawn, its strongest dimension looked for, and the strongest partner there.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { partnerAgainstNulls, Rng } from "interlens";
 *
 * // Untrained weights: some partner is always strong, and its nulls say how strong.
 * const trained = { values: new Rng(0).normals(500 * 16, 0.05), features: 500, K: 16 };
 * const learned = { trained, initial: trained, change: trained, initialStd: 0.05 };
 * const { choice, partner: [untrained] } = partnerAgainstNulls(learned, 3, { faithful: ["B3"] });
 * assert(Math.abs(choice.weight) > 2 * 0.05);
 * assert(untrained.low < untrained.observed && untrained.p > 0.025);
 * ```
 *
 * @param options As `strongestPartner`; `draws`: default 999.
 * @throws {RangeError} As `strongestPartner`, or if training did not reach the feature, or there are
 * fewer than 19 draws.
 */
export function partnerAgainstNulls(
  learned: LearnedEmbeddings,
  feature: number,
  { draws = 999, seed = 0, among, others, faithful }:
    & AmongOptions
    & NullDrawOptions
    & { others?: number } = {},
): PartnerTest {
  requireNullDraws(draws);
  const choice = strongestPartner(learned, feature, { among, others, faithful });
  const weights = selectionWeights(learned, { faithful });
  if (choice.own === 0) {
    throw new RangeError(
      `Cannot test the partner of feature ${feature}: training did not reach it, expected a feature ` +
        "that is active in the training text",
    );
  }
  const candidates = allOr(among, weights.features).filter((other) => other !== feature);
  const std = learned.initialStd;
  const found = nullsOf(faithful).map((kind) => {
    const rng = new Rng(seed, "partner", feature, kind);
    const entry = entryDrawer(weights, candidates, { kind, std, rng });
    const own = new Float64Array(draws);
    const partner = new Float64Array(draws);
    for (let draw = 0; draw < draws; draw++) {
      const row = drawRows(weights, [feature], { kind, std, rng });
      own[draw] = Math.abs(largest(row.values).weight);
      for (let at = 0; at < candidates.length; at++) {
        partner[draw] = Math.max(partner[draw], Math.abs(entry(at)));
      }
    }
    return {
      own: compareWithNull(Math.abs(choice.own), own, { kind }),
      partner: compareWithNull(Math.abs(choice.weight), partner, { kind }),
    };
  });
  return { choice, own: found.map(({ own }) => own), partner: found.map((f) => f.partner) };
}

/** Draws the entry of a candidate in one column without the rest of its row. */
function entryDrawer(
  embeddings: Embeddings,
  candidates: readonly number[],
  { kind, std, rng }: { kind: WeightNull; std: number; rng: Rng },
): (at: number) => number {
  const { K, values } = embeddings;
  if (kind === "untrained") return () => std * rng.normal();
  if (kind === "permuted") return (at) => values[candidates[at] * K + rng.integer(K)];
  const norms = candidates.map((feature) =>
    Math.sqrt(embeddingRow(embeddings, feature).reduce((sum, w) => sum + w * w, 0))
  );
  // A coordinate of a random direction is g / √(g² + χ²) with K − 1 degrees of freedom; the root of
  // χ² / (K − 1) to the power 2/3 is nearly normal (Wilson & Hilferty, 1931).
  const degrees = K - 1;
  const spread = 2 / (9 * degrees);
  return (at) => {
    const g = rng.normal();
    const rest = degrees === 0
      ? 0
      : degrees * Math.max(0, 1 - spread + Math.sqrt(spread) * rng.normal()) ** 3;
    return norms[at] * g / Math.sqrt(g * g + rest);
  };
}

/** A chosen dimension with its nulls. */
export interface KTest {
  readonly choice: KChoice;
  readonly nulls: readonly NullComparison[];
}

/**
 * The dimension chosen for two groups of features against the same choice on null weights.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { kAgainstNulls } from "interlens";
 *
 * // Both features have all they have in dimension 5, where exchanged weights seldom meet.
 * const values = new Float32Array(2 * 32);
 * values[5] = values[32 + 5] = 1;
 * const trained = { values, features: 2, K: 32 };
 * const learned = { trained, initial: trained, change: trained, initialStd: 0.05 };
 * const groups = { first: [0], second: [1] };
 * const { choice, nulls } = kAgainstNulls(learned, groups, { method: "combined" });
 * const permuted = nulls.find(({ kind }) => kind === "permuted")!;
 * assertEquals(choice.k, 5);
 * assertEquals(permuted.median, 1);
 * assertEquals(permuted.p < 0.06, true);
 * ```
 *
 * @param options As `chooseK`; `draws`: default 999.
 * @throws {RangeError} As `chooseK`, or if there are fewer than 19 draws.
 */
export function kAgainstNulls(
  learned: LearnedEmbeddings,
  groups: FeatureGroups,
  { method, draws = 999, seed = 0, faithful = [] }: KOptions & NullDrawOptions & {
    method: KMethod;
  },
): KTest {
  requireNullDraws(draws);
  const choice = chooseK(learned, groups, { method, faithful });
  const byB3: SelectionOptions = { faithful: faithful.includes("B3") ? ["B3"] : [] };
  const weights = selectionWeights(learned, byB3);
  const features = groupFeatures(groups);
  const silent = features.filter((feature) => largest(embeddingRow(weights, feature)).weight === 0);
  if (silent.length > 0) {
    throw new RangeError(
      `Cannot test a K for features ${silent.join(", ")}: training did not reach them, expected ` +
        "features that are active in the training text",
    );
  }
  const signed = faithful.includes("B23");
  const nulls = nullsOf(faithful).map((kind) => {
    const rng = new Rng(seed, "K", method, kind);
    const values = Float64Array.from({ length: draws }, () => {
      const rows = drawRows(weights, features, { kind, std: learned.initialStd, rng });
      return chooseByRows(rows, groups, { method, signed }).value;
    });
    return compareWithNull(choice.value, values, { kind });
  });
  return { choice, nulls };
}
