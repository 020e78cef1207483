/**
 * Sums of per-token numbers by document: what every interval over documents is made of.
 *
 * @module
 */

/** Sums by document: the arrays run over documents in ascending number. */
export type DocumentTable<Name extends string> =
  & {
    /** The documents' numbers. */
    readonly document: number[];
    /** Tokens of each. */
    readonly tokens: number[];
  }
  & Readonly<Record<Name, number[]>>;

/** Adds up several numbers a token, in float64. */
export class DocumentSums<Name extends string> {
  readonly #names: readonly Name[];
  /** Tokens, then the sums in the order of the names. */
  readonly #sums = new Map<number, Float64Array>();

  /** @param names What is added up. */
  constructor(names: readonly Name[]) {
    this.#names = names;
  }

  /**
   * Adds a batch.
   *
   * @param document The document's number of each token.
   * @param columns The numbers of each token, one after another for each name: `[names, tokens]`.
   */
  add(document: ArrayLike<number>, columns: ArrayLike<number>): void {
    const tokens = document.length;
    for (let t = 0; t < tokens; t++) {
      let sums = this.#sums.get(document[t]);
      if (!sums) {
        sums = new Float64Array(1 + this.#names.length);
        this.#sums.set(document[t], sums);
      }
      sums[0]++;
      for (let c = 0; c < this.#names.length; c++) sums[c + 1] += columns[c * tokens + t];
    }
  }

  /** The sums of each document. */
  table(): DocumentTable<Name> {
    const rows = [...this.#sums].sort(([a], [b]) => a - b);
    return Object.fromEntries([
      ["document", rows.map(([number]) => number)],
      ...["tokens", ...this.#names].map((name, c) => [name, rows.map(([, sums]) => sums[c])]),
    ]) as DocumentTable<Name>;
  }

  /**
   * Sums over all documents.
   *
   * @throws {RangeError} If nothing was added.
   */
  totals(): Record<Name | "tokens", number> {
    if (this.#sums.size === 0) {
      throw new RangeError("Cannot summarise 0 tokens: update the meter first");
    }
    const rows = [...this.#sums.values()];
    return Object.fromEntries(
      ["tokens", ...this.#names].map((
        name,
        c,
      ) => [name, rows.reduce((all, row) => all + row[c], 0)]),
    ) as Record<Name | "tokens", number>;
  }
}

/**
 * The documents that were given, or 0 for each token.
 *
 * @throws {RangeError} If they are not one a token.
 */
export function documentsOf(
  document: ArrayLike<number> | undefined,
  tokens: number,
): ArrayLike<number> {
  if (document && document.length !== tokens) {
    throw new RangeError(
      `Cannot place ${tokens} tokens with ${document.length} numbers of documents: expected one a ` +
        "token",
    );
  }
  return document ?? new Int32Array(tokens);
}
