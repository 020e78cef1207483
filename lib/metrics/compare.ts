/**
 * Two models on the same tokens: which one leaves less, and how sure that is for other documents.
 *
 * @module
 */
import { type BootstrapOptions, type Interval, pairedBootstrap } from "./bootstrap.ts";
import type { PerDocument } from "./reconstruction.ts";

/** What `b` leaves less than `a`, on the same documents. */
export interface FvuComparison {
  /** FVU_a − FVU_b: above 0 where b is better. */
  readonly difference: Interval;
  /** 1 − Σ‖x − x̂_b‖² / Σ‖x − x̂_a‖². */
  readonly relativeReduction: Interval;
  /** Share of the documents in which b has the lower error, 0 to 1; ties count half. */
  readonly documentsWon: number;
  /** Documents that were compared. */
  readonly documents: number;
  /** Tokens that were compared. */
  readonly tokens: number;
}

/** Relative difference of the variation that rounding explains. */
const TOLERANCE = 1e-4;

/**
 * Compares two models by the sums of their documents. Both intervals are of whole documents, drawn
 * for both models together, so what makes a document hard for both cancels.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
 * import { compareFvu } from "interlens";
 *
 * const same = { document: [0, 1], tokens: [5, 5], variation: [10, 30], squaredNorm: [20, 40] };
 * const sae = { ...same, squaredError: [4, 8] };
 * const nfm = { ...same, squaredError: [3, 6] };
 * const { difference, relativeReduction, documentsWon } = compareFvu(sae, nfm);
 * assertAlmostEquals(difference.estimate, 3 / 40);
 * assertAlmostEquals(relativeReduction.estimate, 0.25);
 * assertEquals(documentsWon, 1);
 * assertThrows(() => compareFvu(sae, { ...nfm, tokens: [5, 4] }), RangeError, "document 1");
 * ```
 *
 * @param a Sums of the baseline, such as `evaluate` gives.
 * @param b Sums of the contender.
 * @param options How the intervals are made.
 * @throws {RangeError} If they were not measured on the same tokens in the same units, or on fewer
 * than two documents.
 */
export function compareFvu(
  a: PerDocument,
  b: PerDocument,
  options: BootstrapOptions = {},
): FvuComparison {
  requireSameTokens(a, b);
  const documents = a.document.length;
  const won = a.squaredError.map((error, i) => (1 + Math.sign(error - b.squaredError[i])) / 2);
  return {
    difference: pairedBootstrap(a, b, { ...options, statistic: "difference" }),
    relativeReduction: pairedBootstrap(a, b, options),
    documentsWon: won.reduce((sum, share) => sum + share, 0) / documents,
    documents,
    tokens: a.tokens.reduce((sum, count) => sum + count, 0),
  };
}

function requireSameTokens(a: PerDocument, b: PerDocument): void {
  if (`${a.document}` !== `${b.document}`) {
    throw new RangeError(
      `Cannot compare models on ${a.document.length} documents and on ${b.document.length} others: ` +
        "measure both on the same split",
    );
  }
  a.document.forEach((document, i) => {
    const close = Math.abs(a.variation[i] - b.variation[i]) <= TOLERANCE * a.variation[i] + 1e-12;
    if (a.tokens[i] === b.tokens[i] && close) return;
    throw new RangeError(
      `Cannot compare models on document ${document}: ${a.tokens[i]} tokens of variation ` +
        `${a.variation[i]} for one, ${b.tokens[i]} of ${
          b.variation[i]
        } for the other; measure both ` +
        "on the same tokens, in the same units",
    );
  });
}
