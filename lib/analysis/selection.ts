/**
 * Features and dimensions chosen from the embeddings of a factorization machine, as the study chose
 * them: a feature by the Gini coefficient of its weights, its strongest dimension K, its strongest
 * partner there, and a K for two groups of features.
 *
 * Every choice takes the largest of many numbers, and the largest of many numbers is large without any
 * training. `selection_nulls.ts` places each in its nulls; a choice without them says nothing. By
 * default what is looked at is what training changed; `faithful: ["B3"]` looks at the weights as they
 * are.
 *
 * @module
 */
import { effectiveRank, gini } from "../metrics/mod.ts";
import {
  embeddingRow,
  type Embeddings,
  type LearnedEmbeddings,
  requireFeature,
  type SelectionOptions,
  selectionWeights,
} from "./embeddings.ts";

/** How the weights of a feature are spread over the dimensions. */
export interface FeatureSpread {
  readonly feature: number;
  /** Of the K absolute weights: 0 if all are equal, towards 1 if one holds all. */
  readonly gini: number;
  /** exp of the entropy of |w| / Σ|w|: the number of dimensions that it fills, 1 to K. */
  readonly effectiveRank: number;
  /** ‖w‖₂. */
  readonly norm: number;
  /** Dimension of the largest |w|. */
  readonly k: number;
  /** The weight there, with its sign. */
  readonly weight: number;
}

/** Which features are looked at. */
export interface AmongOptions extends SelectionOptions {
  /** Numbers of the features, such as those that are active in the text. Default: all. */
  among?: readonly number[];
}

/**
 * The spread of each feature.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { featureSpreads } from "interlens";
 *
 * const of = (values: number[]) => ({ values: Float32Array.from(values), features: 2, K: 2 });
 * const [trained, zero] = [of([3, 3, 0, -5]), of([0, 0, 0, 0])];
 * const learned = { trained, change: trained, initial: zero, initialStd: 0 };
 * const [even, alone] = featureSpreads(learned);
 * assertEquals([even.gini, even.effectiveRank], [0, 2]);
 * assertEquals([alone.gini, alone.effectiveRank, alone.k, alone.weight], [0.5, 1, 1, -5]);
 * ```
 *
 * @returns One a feature, in the order of `among`.
 */
export function featureSpreads(
  learned: LearnedEmbeddings,
  { among, faithful }: AmongOptions = {},
): FeatureSpread[] {
  const embeddings = selectionWeights(learned, { faithful });
  return allOr(among, embeddings.features).map((feature) => {
    const row = embeddingRow(embeddings, feature);
    const { k, weight } = largest(row);
    const silent = weight === 0; // a feature that never learned anything has no spread
    return {
      feature,
      gini: silent ? 0 : gini(row),
      effectiveRank: silent ? 0 : effectiveRank(row),
      norm: Math.sqrt(row.reduce((sum, w) => sum + w * w, 0)),
      k,
      weight,
    };
  });
}

/**
 * The features of the largest Gini coefficient: those whose weights are in the fewest dimensions. The
 * study calls them integrating features.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { selectByGini } from "interlens";
 *
 * const values = Float32Array.of(3, 3, 0, -5);
 * const trained = { values, features: 2, K: 2 };
 * const learned = { trained, change: trained, initial: trained, initialStd: 0 };
 * assertEquals(selectByGini(learned, { top: 1 })[0].feature, 1);
 * ```
 *
 * @param options `top`: how many. Default 20.
 * @returns Largest first.
 */
export function selectByGini(
  learned: LearnedEmbeddings,
  { top = 20, ...options }: AmongOptions & { top?: number } = {},
): FeatureSpread[] {
  return featureSpreads(learned, options).sort((a, b) => b.gini - a.gini).slice(0, top);
}

/** A feature, its dimension, and who else is strong there. */
export interface PartnerChoice {
  readonly feature: number;
  /** The dimension. */
  readonly k: number;
  /** The feature's own weight there. */
  readonly own: number;
  /** How many features have a larger |weight| there, plus 1. */
  readonly rank: number;
  /** The partner. */
  readonly partner: number;
  /** The partner's weight there. */
  readonly weight: number;
  /** The strongest others there, the partner first. */
  readonly others: readonly { readonly feature: number; readonly weight: number }[];
}

/**
 * The strongest dimension of a feature and its strongest partner there, by the study's rule:
 * `k* = argmax |w_k|` of the feature, then the other feature of the largest `|w|` in column k*. How
 * often the two are active together, and what the model makes of dimension k*, does not enter;
 * `strongestPartners` asks that.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { strongestPartner } from "interlens";
 *
 * const values = Float32Array.of(0.1, -0.4, 0.2, 0.3, 0.6, -0.5); // 3 features, K = 2
 * const trained = { values, features: 3, K: 2 };
 * const learned = { trained, change: trained, initial: trained, initialStd: 0 };
 * const { k, partner, rank } = strongestPartner(learned, 0);
 * assertEquals([k, partner, rank], [1, 2, 2]);
 * ```
 *
 * @param feature Its number.
 * @param options `k`: another dimension than its strongest; `among`: who may be a partner; `others`:
 * how many of the strongest are listed, default 5.
 * @throws {RangeError} If the feature or the dimension does not exist, or nobody may be a partner.
 */
export function strongestPartner(
  learned: LearnedEmbeddings,
  feature: number,
  { k, among, others = 5, faithful }: AmongOptions & { k?: number; others?: number } = {},
): PartnerChoice {
  const embeddings = selectionWeights(learned, { faithful });
  const { values, features, K } = embeddings;
  requireFeature(feature, features);
  const row = embeddingRow(embeddings, feature);
  const dimension = k ?? largest(row).k;
  if (!Number.isInteger(dimension) || dimension < 0 || dimension >= K) {
    throw new RangeError(`Cannot look at dimension ${k}: expected an integer in 0…${K - 1}`);
  }
  const candidates = allOr(among, features).filter((other) => other !== feature);
  if (candidates.length === 0) {
    throw new RangeError(`Cannot find a partner of feature ${feature}: there is no other feature`);
  }
  const at = (other: number) => values[other * K + dimension];
  const ranked = candidates
    .map((other) => ({ feature: other, weight: at(other) }))
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const own = row[dimension];
  return {
    feature,
    k: dimension,
    own,
    rank: 1 + ranked.filter(({ weight }) => Math.abs(weight) > Math.abs(own)).length,
    partner: ranked[0].feature,
    weight: ranked[0].weight,
    others: ranked.slice(0, others),
  };
}

/** Two groups of features, one a factor. */
export interface FeatureGroups {
  readonly first: readonly number[];
  readonly second: readonly number[];
  /**
   * Mean activation of each feature of both groups, first and second in this order, in each condition,
   * `[conditions][first + second]`; `"variance"` needs it.
   */
  readonly conditionMeans?: readonly ArrayLike<number>[];
}

/**
 * How a dimension is chosen for two groups of features:
 *
 * - `"combined"`: the largest Σ |w_ik| over both groups.
 * - `"difference"`: the largest difference between the groups' mean |w_ik|.
 * - `"variance"`: the largest variance of Σ_i x̄_ci w_ik over the conditions c.
 */
export type KMethod = "combined" | "difference" | "variance";

/** Which defects of the study a choice of K repeats. */
export interface KOptions {
  /**
   * `"B3"`: by the trained weights as they are. `"B23"`: the difference of signed means, which for one
   * feature a group is the combined weight again wherever the two weights have opposite signs.
   */
  faithful?: readonly ("B3" | "B23")[];
}

/** A chosen dimension. */
export interface KChoice {
  readonly method: KMethod;
  readonly k: number;
  /** The number that it was chosen by. */
  readonly value: number;
  /** That number for every dimension, `[K]`. */
  readonly all: Float64Array;
}

/**
 * Chooses a dimension for two groups of features.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { chooseK } from "interlens";
 *
 * const values = Float32Array.of(0.3, 0.5, 0, -0.2, 0.2, 0.6); // features 0 and 1, K = 3
 * const trained = { values, features: 2, K: 3 };
 * const learned = { trained, change: trained, initial: trained, initialStd: 0 };
 * const groups = { first: [0], second: [1] };
 * assertEquals(chooseK(learned, groups, { method: "combined" }).k, 1);
 * assertEquals(chooseK(learned, groups, { method: "difference" }).k, 2);
 * const { all } = chooseK(learned, groups, { method: "difference", faithful: ["B23"] });
 * assertEquals(all[0].toFixed(3), "0.500"); // 0.3 + 0.2: opposite signs add up
 * ```
 *
 * @param groups The features.
 * @param options `method`: how.
 * @throws {RangeError} If a group is empty, a feature does not exist, or `"variance"` has no condition
 * means of the right size.
 */
export function chooseK(
  learned: LearnedEmbeddings,
  groups: FeatureGroups,
  { method, faithful = [] }: KOptions & { method: KMethod },
): KChoice {
  const embeddings = selectionWeights(learned, {
    faithful: faithful.includes("B3") ? ["B3"] : [],
  });
  const rows = groupRows(embeddings, groups);
  return chooseByRows(rows, groups, { method, signed: faithful.includes("B23") });
}

/** The features of both groups, first before second. */
export const groupFeatures = ({ first, second }: FeatureGroups): number[] => [...first, ...second];

function groupRows(embeddings: Embeddings, groups: FeatureGroups): Embeddings {
  const features = groupFeatures(groups);
  const { K } = embeddings;
  const values = new Float32Array(features.length * K);
  features.forEach((feature, at) => values.set(embeddingRow(embeddings, feature), at * K));
  return { values, features: features.length, K };
}

/** As `chooseK`, for the rows of the features of both groups. */
export function chooseByRows(
  { values, K }: Embeddings,
  { first, second, conditionMeans }: FeatureGroups,
  { method, signed }: { method: KMethod; signed: boolean },
): KChoice {
  const [n1, n2] = [first.length, second.length];
  if (n1 === 0 || n2 === 0) {
    throw new RangeError(`Cannot choose a K for groups of ${n1} and ${n2} features: one is empty`);
  }
  const w = (i: number, k: number) => values[i * K + k];
  const mean = (start: number, n: number, k: number) => {
    let sum = 0;
    for (let i = start; i < start + n; i++) sum += signed ? w(i, k) : Math.abs(w(i, k));
    return sum / n;
  };
  let score: (k: number) => number;
  if (method === "combined") {
    score = (k) => {
      let sum = 0;
      for (let i = 0; i < n1 + n2; i++) sum += Math.abs(w(i, k));
      return sum;
    };
  } else if (method === "difference") {
    score = (k) => Math.abs(mean(0, n1, k) - mean(n1, n2, k));
  } else if (method === "variance") {
    const means = conditionMeans ?? [];
    if (means.length < 2 || means.some((condition) => condition.length !== n1 + n2)) {
      throw new RangeError(
        `Cannot choose a K by the variance over conditions of ${
          means.map((condition) => condition.length).join(", ") || "no"
        } features: give conditionMeans, at least 2 conditions of ${n1 + n2} features`,
      );
    }
    score = (k) => {
      const sums = means.map((condition) => {
        let sum = 0;
        for (let i = 0; i < n1 + n2; i++) sum += condition[i] * w(i, k);
        return sum;
      });
      const average = sums.reduce((all, s) => all + s, 0) / sums.length;
      return sums.reduce((all, s) => all + (s - average) ** 2, 0) / sums.length;
    };
  } else {
    throw new RangeError(
      `Cannot choose a K by "${method}": expected "combined", "difference" or "variance"`,
    );
  }
  const all = Float64Array.from({ length: K }, (_, k) => score(k));
  const k = all.reduce((best, value, at) => value > all[best] ? at : best, 0);
  return { method, k, value: all[k], all };
}

/** The entry of the largest absolute value. */
export function largest(row: ArrayLike<number>): { k: number; weight: number } {
  let k = 0;
  for (let i = 1; i < row.length; i++) if (Math.abs(row[i]) > Math.abs(row[k])) k = i;
  return { k, weight: row[k] };
}

/** The features that were asked for. */
export function allOr(among: readonly number[] | undefined, features: number): number[] {
  return among === undefined ? Array.from({ length: features }, (_, i) => i) : [...among];
}
