/**
 * Permutation test of one effect of a 2×2 design whose cells hold different items, with covariates.
 *
 * No exact permutation test of an interaction exists. Freedman & Lane (1983) permute the residuals of
 * the model without it, which keeps the main effects and the covariates in place.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";
import type { CrossedCells } from "./factorial.ts";
import { type PermutationOptions, requireDraws, requireFinite } from "./sign_flip.ts";

/** One effect, tested by permutation. */
export interface PermutationTest {
  /** Contrast of the cells in units of the measure, at equal covariates. */
  readonly estimate: number;
  /** Partial F of the effect, with 1 and `residualDf` degrees of freedom. */
  readonly F: number;
  readonly residualDf: number;
  /** (b + 1) / (draws + 1), where b permutations have an F at least as large. */
  readonly p: number;
  /** F / (F + residualDf), 0 to 1. */
  readonly partialEtaSquared: number;
}

/** How `freedmanLane` works. */
export interface FreedmanLaneOptions extends PermutationOptions {
  /** What is tested: a main effect is tested without the interaction. Default `"interaction"`. */
  effect?: "factorA" | "factorB" | "interaction";
  /** Other properties of the same items, such as their length in tokens. Default none. */
  covariates?: readonly CrossedCells[];
  /** Differences up to this share of the largest absolute value are none. Default 1e-5. */
  noiseFloor?: number;
}

/**
 * Tests an effect by permuting the residuals of the model without it.
 *
 * ```ts
 * import { assert, assertAlmostEquals } from "@std/assert";
 * import { freedmanLane } from "interlens";
 *
 * const cells = {
 *   a1b1: [9, 8, 9, 7, 9],
 *   a1b0: [4, 5, 4, 5, 3],
 *   a0b1: [3, 4, 2, 3, 4],
 *   a0b0: [2, 3, 2, 1, 3],
 * };
 * const { estimate, p } = freedmanLane(cells, { draws: 999 });
 * assertAlmostEquals(estimate, 8.4 - 4.2 - 3.2 + 2.2);
 * assert(p < 0.01);
 * ```
 *
 * @param cells Items of each cell; cells may differ in size.
 * @throws {RangeError} If covariates have other sizes, there are too few items for the model, a number
 * is not finite, or the effect cannot be told from the covariates.
 */
export function freedmanLane(
  cells: CrossedCells,
  options: FreedmanLaneOptions = {},
): PermutationTest {
  const { draws = 10_000, seed = 0, effect = "interaction", covariates = [] } = options;
  const { noiseFloor = 1e-5 } = options;
  requireDraws(draws);
  const sizes = order(cells).map((cell) => cell.length);
  const y = stack(cells, sizes, "the measure");
  const n = y.length;
  const a = Float64Array.from([1, 1, 0, 0].flatMap((level, g) => Array(sizes[g]).fill(level)));
  const b = Float64Array.from([1, 0, 1, 0].flatMap((level, g) => Array(sizes[g]).fill(level)));
  const tested = { factorA: a, factorB: b, interaction: a.map((level, i) => level * b[i]) }[effect];
  const others = [
    new Float64Array(n).fill(1),
    ...(effect === "factorA" ? [] : [a]),
    ...(effect === "factorB" ? [] : [b]),
    ...covariates.map((covariate, i) => stack(covariate, sizes, `covariate ${i}`)),
  ];
  const basis: Float64Array[] = [];
  for (const column of others) addToBasis(basis, column);
  const residualDf = n - basis.length - 1;
  const z = without(basis, tested);
  const zz = dot(z, z);
  if (residualDf < 1 || !(zz > 1e-10 * dot(tested, tested))) {
    throw new RangeError(
      `Cannot test ${effect} over cells of ${sizes.join(", ")} items with ${covariates.length} ` +
        "covariates: expected items in every cell, more of them than terms, and an effect that the " +
        "covariates do not fix",
    );
  }
  const residual = without(basis, y);
  const estimate = dot(z, y) / zz;
  const largest = y.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  if (residual.every((value) => Math.abs(value) <= noiseFloor * largest)) {
    return { estimate, F: 0, residualDf, p: 1, partialEtaSquared: 0 };
  }

  // F rises with the share of the residual's energy that the effect takes, so shares are compared.
  const energy = dot(residual, residual);
  const shareOf = (e: Float64Array) => {
    let rest = energy;
    for (const column of basis) rest -= dot(column, e) ** 2;
    return dot(z, e) ** 2 / zz / rest;
  };
  const observed = shareOf(residual);
  const rng = new Rng(seed, "freedman-lane");
  const permuted = residual.slice();
  let asLarge = 0;
  for (let draw = 0; draw < draws; draw++) {
    for (let i = n - 1; i > 0; i--) {
      const j = rng.integer(i + 1);
      [permuted[i], permuted[j]] = [permuted[j], permuted[i]];
    }
    if (shareOf(permuted) >= observed * (1 - 1e-12)) asLarge++;
  }
  return {
    estimate,
    F: observed / (1 - observed) * residualDf,
    residualDf,
    p: (asLarge + 1) / (draws + 1),
    partialEtaSquared: observed,
  };
}

const order = ({ a1b1, a1b0, a0b1, a0b0 }: CrossedCells) => [a1b1, a1b0, a0b1, a0b0];

function stack(cells: CrossedCells, sizes: number[], name: string): Float64Array {
  const groups = order(cells);
  if (groups.some((group, g) => group.length !== sizes[g])) {
    throw new RangeError(
      `Cannot use ${name} with cells of ${
        groups.map((g) => g.length).join(", ")
      } items: expected ` +
        sizes.join(", "),
    );
  }
  return requireFinite(groups.flatMap((group) => Array.from(group)), name);
}

/** Adds the part of a column that is new (Gram-Schmidt, twice for the digits); none if there is none. */
function addToBasis(basis: Float64Array[], column: Float64Array): void {
  const rest = without(basis, without(basis, column));
  const norm = Math.sqrt(dot(rest, rest));
  if (norm > 1e-9 * Math.sqrt(dot(column, column))) basis.push(rest.map((value) => value / norm));
}

function without(basis: Float64Array[], column: Float64Array): Float64Array {
  const rest = column.slice();
  for (const direction of basis) {
    const along = dot(direction, rest);
    for (let i = 0; i < rest.length; i++) rest[i] -= along * direction[i];
  }
  return rest;
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
  return sum;
}
