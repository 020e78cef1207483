/**
 * Byte-pair encoding as sentencepiece does it: of all neighbours that together are a piece, those with
 * the highest score are joined first, the leftmost of equals; until none are left.
 *
 * @module
 */

/** What the merging needs of a vocabulary. */
export interface MergeVocabulary {
  /** Id of a piece that neighbours may be joined to; undefined if there is none. */
  readonly idOf: (piece: string) => number | undefined;
  readonly scores: ArrayLike<number>;
}

/** A symbol that is no piece is a single character: its code point, from here on. */
export const UNKNOWN_SYMBOLS = 2 ** 24;

/** Both symbols of a pair as one number, exact below 2^53. */
const PAIR = 2 ** 26;
/** Pairs whose merge is remembered. */
const MAX_PAIRS = 2 ** 20;

/**
 * Joins characters to pieces in O(n log n): all pairs lie in a heap, and those whose symbols have
 * changed since are skipped when they come up.
 */
export class Merger {
  readonly #vocabulary: MergeVocabulary;
  /** Id of the piece that a pair makes, -1 if none: looking up two numbers is faster than a text. */
  readonly #merged = new Map<number, number>();
  #capacity = 0;
  /** Of every symbol: its number, where it begins, its length (0: joined to another), neighbours. */
  #symbol = new Float64Array();
  #start = new Int32Array();
  #length = new Int32Array();
  #before = new Int32Array();
  #after = new Int32Array();
  /** The heap: score, left and right symbol, their length together. */
  #size = 0;
  #score = new Float64Array();
  #left = new Int32Array();
  #right = new Int32Array();
  #joined = new Int32Array();

  constructor(vocabulary: MergeVocabulary) {
    this.#vocabulary = vocabulary;
  }

  /**
   * Symbols that a text ends as: ids of pieces, or `UNKNOWN_SYMBOLS` and a code point.
   *
   * @param onPair Hears of every pair that could be joined, in the order they appear.
   */
  merge(text: string, onPair?: (merged: number, left: number, right: number) => void): number[] {
    const { idOf, scores } = this.#vocabulary;
    this.#reserve(text.length);
    let count = 0;
    for (let at = 0; at < text.length; count++) {
      const code = text.codePointAt(at)!;
      const length = code > 0xffff ? 2 : 1;
      this.#symbol[count] = idOf(text.slice(at, at + length)) ?? UNKNOWN_SYMBOLS + code;
      this.#start[count] = at;
      this.#length[count] = length;
      this.#before[count] = count - 1;
      this.#after[count] = count + 1;
      at += length;
    }
    if (count === 0) return [];
    this.#after[count - 1] = -1;
    this.#size = 0;
    const add = (left: number, right: number) => {
      if (left < 0 || right < 0) return;
      const id = this.#mergedId(text, left, right);
      if (id < 0) return;
      onPair?.(id, this.#symbol[left], this.#symbol[right]);
      this.#push(scores[id], left, right);
    };
    for (let i = 1; i < count; i++) add(i - 1, i);
    while (this.#size > 0) {
      const [left, right, joined] = [this.#left[0], this.#right[0], this.#joined[0]];
      this.#pop();
      const lengths = this.#length;
      if (lengths[left] === 0 || lengths[right] === 0) continue;
      if (lengths[left] + lengths[right] !== joined) continue;
      this.#symbol[left] = this.#mergedId(text, left, right);
      lengths[left] = joined;
      lengths[right] = 0;
      this.#after[left] = this.#after[right];
      if (this.#after[left] >= 0) this.#before[this.#after[left]] = left;
      add(this.#before[left], left);
      add(left, this.#after[left]);
    }
    const symbols: number[] = [];
    for (let i = 0; i >= 0; i = this.#after[i]) symbols.push(this.#symbol[i]);
    return symbols;
  }

  #mergedId(text: string, left: number, right: number): number {
    const pair = this.#symbol[left] * PAIR + this.#symbol[right];
    let id = this.#merged.get(pair);
    if (id === undefined) {
      const start = this.#start[left];
      const end = this.#start[right] + this.#length[right];
      id = this.#vocabulary.idOf(text.slice(start, end)) ?? -1;
      if (this.#merged.size === MAX_PAIRS) this.#merged.clear();
      this.#merged.set(pair, id);
    }
    return id;
  }

  #reserve(symbols: number): void {
    if (symbols <= this.#capacity) return;
    const capacity = Math.max(64, symbols);
    this.#capacity = capacity;
    this.#symbol = new Float64Array(capacity);
    this.#start = new Int32Array(capacity);
    this.#length = new Int32Array(capacity);
    this.#before = new Int32Array(capacity);
    this.#after = new Int32Array(capacity);
    // n - 1 pairs at first; a merge takes one out and adds two at most, and there are n - 1.
    this.#score = new Float64Array(2 * capacity);
    this.#left = new Int32Array(2 * capacity);
    this.#right = new Int32Array(2 * capacity);
    this.#joined = new Int32Array(2 * capacity);
  }

  #push(score: number, left: number, right: number): void {
    const [scores, lefts] = [this.#score, this.#left];
    const joined = this.#length[left] + this.#length[right];
    let at = this.#size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!(score > scores[parent] || score === scores[parent] && left < lefts[parent])) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#place(at, score, left, right, joined);
  }

  #pop(): void {
    const last = --this.#size;
    const [scores, lefts] = [this.#score, this.#left];
    const [score, left] = [scores[last], lefts[last]];
    const [right, joined] = [this.#right[last], this.#joined[last]];
    let at = 0;
    while (true) {
      let child = 2 * at + 1;
      if (child >= last) break;
      const other = child + 1;
      if (
        other < last && (scores[other] > scores[child] ||
          scores[other] === scores[child] && lefts[other] < lefts[child])
      ) child = other;
      if (score > scores[child] || score === scores[child] && left <= lefts[child]) break;
      this.#move(child, at);
      at = child;
    }
    this.#place(at, score, left, right, joined);
  }

  #move(from: number, to: number): void {
    this.#place(to, this.#score[from], this.#left[from], this.#right[from], this.#joined[from]);
  }

  #place(at: number, score: number, left: number, right: number, joined: number): void {
    this.#score[at] = score;
    this.#left[at] = left;
    this.#right[at] = right;
    this.#joined[at] = joined;
  }
}
