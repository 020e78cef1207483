/**
 * Seeded random numbers that are the same on every backend and machine.
 *
 * They are drawn in JavaScript (xoroshiro128+) and uploaded, so a seed names one
 * initialisation and one data order wherever it runs.
 *
 * @module
 */
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plusFromState } from "pure-rand/generator/xoroshiro128plus";

/**
 * A stream of random numbers.
 *
 * Two streams of one seed are independent: `new Rng(0, "order", 3)` and
 * `new Rng(0, "order", 4)` give unrelated numbers, which is how step 4 of a run
 * can be repeated without repeating steps 0 to 3.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Rng } from "interlens";
 *
 * assertEquals(new Rng(0).uniform(), new Rng(0).uniform());
 * assertEquals(new Rng(7, "order").permutation(5), new Rng(7, "order").permutation(5));
 * ```
 */
export class Rng {
  readonly #generator;
  #spare: number | undefined;

  /**
   * @param seed Any safe integer.
   * @param stream Names of what the numbers are for.
   * @throws {RangeError} If the seed is not a safe integer.
   */
  constructor(seed: number, ...stream: (string | number)[]) {
    if (!Number.isSafeInteger(seed)) {
      throw new RangeError(
        `Cannot seed random numbers with ${seed}: expected a safe integer`,
      );
    }
    this.#generator = xoroshiro128plusFromState(
      hash128(JSON.stringify([seed, ...stream])),
    );
  }

  /** The next number, uniform in [0, 1). */
  uniform(): number {
    return uniformFloat64(this.#generator);
  }

  /** The next number of the standard normal distribution (Marsaglia's polar method). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const s = x * x + y * y;
      if (s >= 1 || s === 0) continue;
      const factor = Math.sqrt(-2 * Math.log(s) / s);
      this.#spare = y * factor;
      return x * factor;
    }
  }

  /**
   * The next integer, uniform in [0, below).
   *
   * @throws {RangeError} If `below` is not an integer in 1…2³².
   */
  integer(below: number): number {
    if (!Number.isInteger(below) || below < 1 || below > 2 ** 32) {
      throw new RangeError(
        `Cannot draw an integer below ${below}: expected an integer in 1…2^32`,
      );
    }
    return uniformInt(this.#generator, 0, below - 1);
  }

  /** Shuffles in place (Fisher-Yates) and returns what it was given. */
  shuffle<T extends Int32Array | unknown[]>(values: T): T {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [values[i], values[j]] = [values[j], values[i]];
    }
    return values;
  }

  /** The integers 0…n-1 in random order. */
  permutation(n: number): Int32Array {
    return this.shuffle(Int32Array.from({ length: n }, (_, i) => i));
  }

  /** `n` normal numbers of mean 0 and the given standard deviation. */
  normals(n: number, standardDeviation: number): Float32Array {
    const values = new Float32Array(n);
    for (let i = 0; i < n; i++) values[i] = standardDeviation * this.normal();
    return values;
  }
}

/** FNV-1a over the text with four offsets, finished by MurmurHash3's mixer: 4 × 32 bits. */
function hash128(text: string): number[] {
  return [0x811c9dc5, 0x9e3779b9, 0x85ebca6b, 0xc2b2ae35].map((offset) => {
    let h = offset;
    for (let i = 0; i < text.length; i++) {
      h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    }
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) | 1;
  });
}
