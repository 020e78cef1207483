/**
 * The order in which training reads its tokens: an exact permutation an epoch, in memory that does
 * not grow with the tokens.
 *
 * A Feistel network is a permutation of the numbers of b bits whatever its round function is: each
 * round xors one half of the bits with a hash of the other, and xoring again undoes it. Numbers
 * beyond the last token are sent through again until they are tokens (cycle walking, J. Black and
 * P. Rogaway 2002, "Ciphers with Arbitrary Finite Domains"), less than twice on average.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";

const ROUNDS = 10;
/** Up to here a list is drawn: the bits of a few numbers are too few to be mixed well. */
const LISTED = 4096;

/** A permutation of 0 … n − 1 that a seed names and that is computed one number at a time. */
export class Permutation {
  /** How many numbers it permutes. */
  readonly n: number;
  readonly #list: Int32Array | undefined;
  readonly #keys: Uint32Array;
  readonly #rightBits: number;
  readonly #leftMask: number;
  readonly #rightMask: number;

  /**
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { Permutation } from "interlens";
   *
   * const order = new Permutation(5, 0, "epoch", 3);
   * const numbers = Array.from({ length: 5 }, (_, i) => order.at(i));
   * assertEquals(numbers.toSorted(), [0, 1, 2, 3, 4]);
   * ```
   *
   * @param n Numbers to permute, 1 to 2³¹.
   * @param seed Any safe integer.
   * @param stream Names of what it is for, as in `Rng`.
   * @throws {RangeError} If `n` is out of range.
   */
  constructor(n: number, seed: number, ...stream: (string | number)[]) {
    if (!(Number.isInteger(n) && n >= 1 && n <= 2 ** 31)) {
      throw new RangeError(`Cannot permute ${n} numbers: expected an integer in 1…2^31`);
    }
    this.n = n;
    const rng = new Rng(seed, ...stream);
    if (n <= LISTED) this.#list = rng.permutation(n);
    this.#keys = Uint32Array.from({ length: ROUNDS }, () => rng.integer(2 ** 32));
    const bits = Math.max(2, Math.ceil(Math.log2(n)));
    const leftBits = bits >> 1;
    this.#rightBits = bits - leftBits;
    this.#leftMask = 2 ** leftBits - 1;
    this.#rightMask = 2 ** this.#rightBits - 1;
  }

  /**
   * Where the permutation sends a number.
   *
   * @param i 0 to n − 1.
   * @throws {RangeError} If it is another number.
   */
  at(i: number): number {
    if (!(i >= 0 && i < this.n)) {
      throw new RangeError(`Cannot place ${i} in a permutation of ${this.n} numbers`);
    }
    if (this.#list) return this.#list[i];
    const keys = this.#keys;
    do {
      let left = i >>> this.#rightBits;
      let right = i & this.#rightMask;
      for (let round = 0; round < ROUNDS; round += 2) {
        left ^= mix(right ^ keys[round]) & this.#leftMask;
        right ^= mix(left ^ keys[round + 1]) & this.#rightMask;
      }
      i = ((left << this.#rightBits) | right) >>> 0;
    } while (i >= this.n);
    return i;
  }
}

/** MurmurHash3's finaliser: every bit of the result depends on every bit of x. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/**
 * Numbers of the tokens of a training step. The steps are an endless stream in which every token
 * comes once an epoch, in an order that is new in every epoch; a batch at the end of an epoch goes
 * on into the next one. The same arguments give the same batch whatever was read before, so a
 * resumed run goes on exactly.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { shuffledIndices } from "interlens";
 *
 * const epoch = [0, 1, 2].flatMap((step) => [...shuffledIndices(6, { step, batchSize: 2, seed: 0 })]);
 * assertEquals(epoch.toSorted(), [0, 1, 2, 3, 4, 5]);
 * ```
 *
 * @param tokens Tokens of an epoch.
 * @param options The step, from 0; tokens a batch, at most those of an epoch; the seed of the order.
 * @throws {RangeError} If an argument is out of range.
 */
export function shuffledIndices(
  tokens: number,
  { step, batchSize, seed }: { step: number; batchSize: number; seed: number },
): Int32Array {
  requireBatch(tokens, { step, batchSize });
  const indices = new Int32Array(batchSize);
  let epoch = Math.floor(step * batchSize / tokens);
  let place = step * batchSize - epoch * tokens;
  let order = new Permutation(tokens, seed, "epoch", epoch);
  for (let i = 0; i < batchSize; i++) {
    if (place === tokens) {
      place = 0;
      order = new Permutation(tokens, seed, "epoch", ++epoch);
    }
    indices[i] = order.at(place++);
  }
  return indices;
}

/** @throws {RangeError} If there is no such batch of an epoch of so many tokens. */
export function requireBatch(
  tokens: number,
  { step, batchSize }: { step: number; batchSize: number },
): void {
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= tokens)) {
    throw new RangeError(
      `Cannot draw batches of ${batchSize} tokens: expected an integer of 1 to ${tokens}, the tokens ` +
        `that there are`,
    );
  }
  if (!(Number.isSafeInteger(step) && step >= 0)) {
    throw new RangeError(`Cannot draw batch ${step}: expected an integer from 0 on`);
  }
}
