/**
 * Units as they come, from a list, a generator, or something that takes its time.
 *
 * @module
 */
import type { Unit } from "./unit.ts";

type Came = { result: IteratorResult<Unit> } | { error: unknown };

/** Takes units one by one, and never waits for one that does not come. */
export class UnitSource {
  readonly #units: Iterator<Unit> | AsyncIterator<Unit>;
  readonly #turn: () => Promise<void>;
  /** What was asked for and has not been taken. */
  #coming: Promise<void> | undefined;
  #came: Came | undefined;

  /** @param turn Lets everything else have its turn, once. */
  constructor(units: Iterable<Unit> | AsyncIterable<Unit>, turn: () => Promise<void>) {
    this.#units = Symbol.asyncIterator in units
      ? units[Symbol.asyncIterator]()
      : units[Symbol.iterator]();
    this.#turn = turn;
  }

  /** What comes next; undefined if that waits for something, such as a result. */
  async next(): Promise<IteratorResult<Unit> | undefined> {
    const next = this.#coming ? undefined : this.#units.next();
    if (next && !(next instanceof Promise)) return next;
    this.#coming ??= next!.then(
      (result) => void (this.#came = { result }),
      (error) => void (this.#came = { error }),
    );
    await Promise.race([this.#coming, this.#turn()]);
    const came = this.#came;
    if (!came) return undefined;
    this.#coming = this.#came = undefined;
    if ("error" in came) throw came.error;
    return came.result;
  }

  /** Ends it, unless it is at work: that would be waited for. */
  async close(): Promise<void> {
    if (!this.#coming) await this.#units.return?.();
  }
}
