/**
 * Splitting a corpus by document.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";
import { checkDocuments, type Document } from "./document.ts";

/** Documents to train on, to choose with, and to report on; no document is in two of them. */
export interface Splits {
  readonly train: Document[];
  readonly validation: Document[];
  readonly test: Document[];
}

/**
 * Names of the splits, in the order in which they are made.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { SPLITS } from "interlens";
 *
 * assertEquals([...SPLITS], ["train", "validation", "test"]);
 * ```
 */
export const SPLITS = ["train", "validation", "test"] as const;

/** Name of a split. */
export type SplitName = typeof SPLITS[number];

/** Shares of the splits and the seed; see {@linkcode splitDocuments}. */
export interface SplitOptions {
  /** Share of training documents, 0 to 1; default 0.8. */
  train?: number;
  /** Share of validation documents, 0 to 1; default 0.1. */
  validation?: number;
  /** Share of test documents, 0 to 1; default 0.1. */
  test?: number;
  /** Decides which documents go where; default 0. */
  seed?: number;
}

/**
 * Splits documents at random, balanced over their groups: every split has its share of each group
 * to within one document, and of the whole.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { brown, splitDocuments } from "interlens";
 *
 * const { train, validation, test } = splitDocuments(await brown());
 * assertEquals([train.length, validation.length, test.length], [400, 50, 50]);
 * ```
 *
 * @param documents The corpus.
 * @returns The splits, each in the order of the corpus.
 * @throws {RangeError} If the corpus is empty or two documents share an id; if the shares are not
 * numbers of 0 to 1 that add up to 1; if a split with a share would have no document.
 */
export function splitDocuments(
  documents: readonly Document[],
  { train = 0.8, validation = 0.1, test = 0.1, seed = 0 }: SplitOptions = {},
): Splits {
  checkDocuments(documents);
  const shares = [train, validation, test];
  const total = train + validation + test;
  if (shares.some((share) => !(share >= 0 && share <= 1)) || Math.abs(total - 1) > 1e-9) {
    throw new RangeError(
      `Cannot split documents into train ${train}, validation ${validation}, test ${test}: ` +
        `expected shares of 0 to 1 that add up to 1`,
    );
  }

  const splitOf = new Map<Document, number>();
  // What the splits are owed after the groups so far: rounding in one group is made up in the next.
  const owed = [0, 0, 0];
  const groups = Map.groupBy(documents, ({ group }) => group);
  for (const [group, members] of [...groups].sort(([a], [b]) => a < b ? -1 : 1)) {
    shares.forEach((share, i) => owed[i] += share * members.length);
    const order = new Rng(seed, "split", group).shuffle([...members]);
    for (const [i, count] of allot(members.length, shares, owed).entries()) {
      owed[i] -= count;
      for (const member of order.splice(0, count)) splitOf.set(member, i);
    }
  }

  const [a, b, c] = SPLITS.map((_, i) => documents.filter((member) => splitOf.get(member) === i));
  const empty = SPLITS.find((_, i) => shares[i] > 0 && [a, b, c][i].length === 0);
  if (empty) {
    throw new RangeError(
      `Cannot split ${documents.length} documents into train ${train}, validation ${validation}, ` +
        `test ${test}: no document is left for "${empty}"; give more documents or other shares`,
    );
  }
  return { train: a, validation: b, test: c };
}

/** Whole numbers that add up to `size`, near the shares of this group, the rest by what is owed. */
function allot(size: number, shares: number[], owed: number[]): number[] {
  // A hair, so that 0.1 · 30 counts as 3 whatever its last bit says.
  const counts = shares.map((share) => Math.floor(share * size + 1e-9));
  for (let left = size - counts.reduce((a, b) => a + b); left > 0; left--) {
    const missing = owed.map((amount, i) => shares[i] > 0 ? amount - counts[i] : -Infinity);
    counts[missing.indexOf(Math.max(...missing))]++;
  }
  return counts;
}
