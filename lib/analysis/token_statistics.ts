/**
 * On which tokens a feature is active: counts, how much more often than elsewhere, and what share of
 * its activation they carry. For a feature of single tokens this is its meaning; for a feature of
 * context it is not, and the blind score of the label that it gives says so.
 *
 * @module
 */

/** A token on which a feature is active. */
export interface TokenStatistic {
  /** Token id. */
  readonly id: number;
  /** How often the feature is active on it. */
  readonly count: number;
  /** Share of its occurrences on which the feature is active, 0 to 1. */
  readonly rate: number;
  /** P(token | active) / P(token): 1 says that the feature does not care. */
  readonly lift: number;
  /** Share of all of the feature's activation that falls on it, 0 to 1. */
  readonly share: number;
}

/** Counts of one feature while the text passes by; memory grows with the tokens it is active on. */
export class TokenCounts {
  /** Active tokens so far. */
  active = 0;
  #sum = 0;
  readonly #byId = new Map<number, { count: number; sum: number }>();

  /** Counts an active token. */
  add(id: number, code: number): void {
    this.active++;
    this.#sum += code;
    const entry = this.#byId.get(id);
    if (entry) {
      entry.count++;
      entry.sum += code;
    } else this.#byId.set(id, { count: 1, sum: code });
  }

  /**
   * Statistics, the largest share of the activation first.
   *
   * @param background How often each token occurs in the text.
   */
  statistics(background: ReadonlyMap<number, number>): TokenStatistic[] {
    let all = 0;
    for (const count of background.values()) all += count;
    return [...this.#byId].map(([id, { count, sum }]) => {
      const occurrences = background.get(id)!;
      return {
        id,
        count,
        rate: count / occurrences,
        lift: (count / this.active) / (occurrences / all),
        share: sum / this.#sum,
      };
    }).sort((a, b) => b.share - a.share || a.id - b.id);
  }
}
