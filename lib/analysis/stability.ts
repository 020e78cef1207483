/**
 * Does another training choose the same? What holds for one seed only is a fact about the seed.
 *
 * @module
 */
import { ranks } from "../metrics/mod.ts";
import type { Embeddings } from "./embeddings.ts";

/** Agreement of rankings of the same things. */
export interface RankingStability {
  /** Mean Spearman correlation over pairs of rankings, −1 to 1. */
  readonly correlation: number;
  /** Mean share of the top of one ranking that is in the top of another, 0 to 1. */
  readonly overlap: number;
  /** That share for rankings that know nothing of each other: top / number of things. */
  readonly chance: number;
}

/**
 * How well rankings of several seeds agree, such as Gini coefficients of the same features.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rankingStability } from "interlens";
 *
 * const { correlation, overlap, chance } = rankingStability([[1, 2, 3, 4], [10, 20, 30, 40]], {
 *   top: 1,
 * });
 * assertEquals([correlation, overlap, chance], [1, 1, 0.25]);
 * ```
 *
 * @param scores A number for each thing, one array a seed.
 * @param options `top`: how many count as chosen. Default 20.
 * @throws {RangeError} If there are fewer than two rankings, they are of different lengths, or have
 * fewer than `top` things.
 */
export function rankingStability(
  scores: readonly ArrayLike<number>[],
  { top = 20 }: { top?: number } = {},
): RankingStability {
  const n = scores[0]?.length ?? 0;
  if (scores.length < 2 || scores.some((s) => s.length !== n) || !(top >= 1 && top <= n)) {
    throw new RangeError(
      `Cannot compare the top ${top} of rankings of ${
        scores.map((s) => s.length).join(", ") || "nothing"
      }: expected two or more of the same things, at least ${top}`,
    );
  }
  const chosen = scores.map((s) =>
    new Set(
      Array.from({ length: n }, (_, i) => i).sort((i, j) => s[j] - s[i]).slice(0, top),
    )
  );
  let [correlation, overlap, pairs] = [0, 0, 0];
  for (let a = 0; a < scores.length; a++) {
    for (let b = a + 1; b < scores.length; b++) {
      correlation += rankCorrelation(scores[a], scores[b]);
      overlap += [...chosen[a]].filter((i) => chosen[b].has(i)).length / top;
      pairs++;
    }
  }
  return { correlation: correlation / pairs, overlap: overlap / pairs, chance: top / n };
}

/**
 * Spearman's correlation of ranks, ties at their mean; 0 where one side does not vary.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { rankCorrelation } from "interlens";
 *
 * assertEquals(rankCorrelation([1, 2, 3], [1, 10, 100]), 1);
 * assertEquals(rankCorrelation([1, 2, 3], [5, 5, 5]), 0);
 * ```
 *
 * @throws {RangeError} If the lengths differ or there are fewer than two.
 */
export function rankCorrelation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length || a.length < 2) {
    throw new RangeError(
      `Cannot correlate ${a.length} with ${b.length} numbers: expected as many, at least 2`,
    );
  }
  const [x, y] = [ranks(a), ranks(b)];
  const middle = (a.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - middle) * (y[i] - middle);
    xx += (x[i] - middle) ** 2;
    yy += (y[i] - middle) ** 2;
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : 0;
}

/** The dimension of another model that is most like one of this. */
export interface MatchedDimension {
  readonly k: number;
  /** |cosine| of the two columns, 0 to 1: the sign of a column means nothing. */
  readonly cosine: number;
}

/**
 * Looks for a dimension of one model in another: numbers and signs of dimensions are arbitrary, what
 * can agree between seeds is the column of weights. Of F random weights the best of K cosines is
 * about √(2 ln K / F).
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { matchDimension } from "interlens";
 *
 * const of = (values: number[]) => ({ values: Float32Array.from(values), features: 2, K: 2 });
 * const { k, cosine } = matchDimension(of([1, 0, 2, 1]), 0, of([0, -2, 3, -4]));
 * assertEquals(k, 1);
 * assertAlmostEquals(cosine, 1, 1e-12);
 * ```
 *
 * @throws {RangeError} If the two are of different features, or the dimension does not exist.
 */
export function matchDimension(a: Embeddings, k: number, b: Embeddings): MatchedDimension {
  if (a.features !== b.features || !(Number.isInteger(k) && k >= 0 && k < a.K)) {
    throw new RangeError(
      `Cannot look for dimension ${k} of ${a.features} features, K = ${a.K}, in embeddings of ` +
        `${b.features}: expected the same features and a dimension in 0…${a.K - 1}`,
    );
  }
  const dots = new Float64Array(b.K);
  const squares = new Float64Array(b.K);
  let own = 0;
  for (let i = 0; i < a.features; i++) {
    const w = a.values[i * a.K + k];
    own += w * w;
    for (let j = 0; j < b.K; j++) {
      const v = b.values[i * b.K + j];
      dots[j] += w * v;
      squares[j] += v * v;
    }
  }
  const cosines = dots.map((dot, j) => {
    const norms = Math.sqrt(own * squares[j]);
    return norms > 0 ? Math.abs(dot) / norms : 0;
  });
  const best = cosines.reduce((m, value, j) => value > cosines[m] ? j : m, 0);
  return { k: best, cosine: cosines[best] };
}
