/**
 * What is kept of a stream that is longer than memory: the best of it, or a fair sample.
 *
 * @module
 */
import type { Rng } from "../tensor/mod.ts";

/** The items with the largest scores; of equals the one that came first, of one key the best. */
export class Best<T> {
  readonly #size: number;
  #items: { score: number; key: string; item: T }[] = [];

  /** @param size Items kept, from 0 on. */
  constructor(size: number) {
    this.#size = size;
  }

  /** Whether an item of this score would be kept if no other has its key. */
  wants(score: number): boolean {
    const worst = this.#items[this.#size - 1];
    return this.#size > 0 && (worst === undefined || score > worst.score);
  }

  /** Offers an item; it is kept if it is among the best. */
  offer(score: number, key: string, item: T): void {
    if (!this.wants(score)) return;
    const same = this.#items.findIndex((other) => other.key === key);
    if (same >= 0) {
      if (this.#items[same].score >= score) return;
      this.#items.splice(same, 1);
    }
    const place = this.#items.findIndex((other) => other.score < score);
    this.#items.splice(place < 0 ? this.#items.length : place, 0, { score, key, item });
    this.#items.length = Math.min(this.#items.length, this.#size);
  }

  /** What was kept, best first. */
  items(): T[] {
    return this.#items.map(({ item }) => item);
  }
}

/**
 * A sample of a stream in which every item is equally likely, with a random number for each item
 * that is kept and none for the others (Li, 1994, algorithm L).
 */
export class Reservoir<T> {
  readonly #size: number;
  readonly #rng: Rng;
  readonly #items: T[] = [];
  #seen = 0;
  #next = 0;
  #w = 1;

  /** @param size Items kept, from 0 on. */
  constructor(size: number, rng: Rng) {
    this.#size = size;
    this.#rng = rng;
  }

  /** Counts one item of the stream; true if it must be given to `keep`. */
  wants(): boolean {
    return this.#seen++ === this.#next && this.#size > 0;
  }

  /** Keeps the item that was counted last. */
  keep(item: T): void {
    if (this.#items.length < this.#size) this.#items.push(item);
    else this.#items[this.#rng.integer(this.#size)] = item;
    this.#next = this.#seen;
    if (this.#items.length < this.#size) return;
    this.#w *= Math.exp(Math.log(1 - this.#rng.uniform()) / this.#size);
    this.#next += Math.floor(Math.log(1 - this.#rng.uniform()) / Math.log1p(-this.#w));
  }

  /** The sample, in no meaningful order. */
  items(): T[] {
    return this.#items;
  }
}
