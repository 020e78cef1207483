/**
 * Which pairs of features act together: a test of each pair, without training.
 *
 * Everything that a function of single features could say is taken out first, of the target and of
 * the product of each pair alike: a constant, f_i, f_i² and 1[f_i > 0] of all features (rung R2). What
 * is left of a product explains what is left of the target, or does not:
 *
 *     U = z'R (R'R)⁻¹ R'z / z'z,  F = U/(1−U) · (ν − q)/q  ~  F(q, ν − q),  ν = tokens − regressors
 *
 * z is the product's residual, R the target's, of q columns. F is exact for one pair if errors are
 * normal and R2 holds. Errors that are not are met by Freedman and Lane (1983): rows of R are
 * permuted, which keeps the reduced model, and the p-value of a pair is its rank among the F of all pairs under
 * all permutations (they have one distribution where F does). Discoveries keep the false discovery
 * rate (Benjamini & Hochberg).
 *
 * Without pairs that act, the chance of any discovery is the rate. With some, see `findPairs`.
 *
 * What it does not calibrate: codes that a dictionary infers with interference have products in their
 * own residual, so that a product is discovered where none is in the world.
 *
 * @module
 */
import { benjaminiHochberg, firstAtLeast, fTail } from "../metrics/mod.ts";
import { Rng, tf } from "../tensor/mod.ts";
import { LeastSquares, whiten } from "./least_squares.ts";
import type { Pair } from "./pairs.ts";

/** How to scan. */
export interface PairScanOptions {
  /** Tokens on which both features of a tested pair must be active. Default 50. */
  minCount?: number;
  /** Columns q that a wider target is projected to at random. Default 64. */
  projections?: number;
  /** Permutations for p-values of Freedman and Lane; 0 takes them from the F distribution. Default 0. */
  permutations?: number;
  /** False discovery rate. Default 0.05. */
  rate?: number;
  /** Pairs that are known: their products are taken out with the single features. Default: none. */
  given?: readonly Pair[];
  /** Names projections and permutations. Default 0. */
  seed?: number;
}

/** A tested pair. */
export interface ScannedPair {
  readonly pair: Pair;
  /** Tokens on which both were active. */
  readonly count: number;
  readonly F: number;
  readonly p: number;
  readonly discovered: boolean;
}

/** Pairs that are tested at a time. */
const CHUNK = 1024;

/** Above this the regressors of single features alone take 2 GiB at 100,000 tokens. */
const MOST_FEATURES = 1500;

/**
 * Tests every pair that is active together often enough.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, pairScan, plantedPairs, tf } from "interlens";
 *
 * await openDevice();
 * const size = { n: 8, d: 4, pairs: 2, firing: 0.3, train: 2000, test: 1 };
 * const { train } = plantedPairs({ ...size, kind: "curved" });
 * const codes = tf.tensor2d(train.codes, [2000, 8]);
 * const scanned = await pairScan(codes, tf.tensor2d(train.x, [2000, 4]));
 * assertEquals(scanned.length, 8 * 7 / 2);
 * assertEquals(scanned.filter(({ discovered }) => discovered), []); // features bend, none act together
 * ```
 *
 * @param codes Dense codes, `[tokens, features]`.
 * @param target Activations or residuals, `[tokens, d]`.
 * @param options How.
 * @returns Most significant first.
 * @throws {RangeError} If there are too many features for dense products, or too few tokens.
 */
export async function pairScan(
  codes: tf.Tensor2D,
  target: tf.Tensor2D,
  options: PairScanOptions = {},
): Promise<ScannedPair[]> {
  const { minCount = 50, projections = 64, permutations = 0, rate = 0.05, seed = 0 } = options;
  const [tokens, features] = codes.shape;
  const q = Math.min(projections, target.shape[1]);
  if (features > MOST_FEATURES) {
    throw new RangeError(
      `Cannot scan the pairs of ${features} features: at most ${MOST_FEATURES}, choose some of them`,
    );
  }
  const { given = [] } = options;
  const singles = tf.tidy(() => {
    const terms = singleFeatureTerms(codes);
    return given.length > 0
      ? tf.concat([terms, productsOf(codes, given)], 1) as tf.Tensor2D
      : terms;
  });
  const freedom = tokens - singles.shape[1];
  if (freedom <= 2 * q) {
    throw new RangeError(
      `Cannot scan with ${tokens} tokens: expected above ${singles.shape[1] + 2 * q}`,
    );
  }
  const reduced = await LeastSquares.of(singles, 1e-6);
  const Y = tf.tidy((): tf.Tensor2D => {
    if (q === target.shape[1]) return tf.clone(target);
    const projection = new Rng(seed, "projection").normals(target.shape[1] * q, 1);
    return tf.matMul(target, tf.tensor2d(projection, [target.shape[1], q]));
  });
  const left = await reduced.residual(Y);
  const R = await whiten(left);
  tf.dispose([Y, left]);

  const known = new Set(given.map((pair) => `${pair}`));
  const candidates = (await coactive(codes, minCount)).filter(({ pair }) => !known.has(`${pair}`));
  const statistics = new Float64Array(candidates.length);
  const nulls: number[] = [];
  for (let start = 0; start < candidates.length; start += CHUNK) {
    const chunk = candidates.slice(start, start + CHUNK);
    const Z = tf.tidy(() => productsOf(codes, chunk.map(({ pair }) => pair)));
    const z = await reduced.residual(Z);
    Z.dispose();
    const F = async (R: tf.Tensor2D) => {
      const U = tf.tidy(() =>
        tf.div(tf.sum(tf.square(tf.matMul(z, R, true)), 1), tf.sum(tf.square(z), 0))
      );
      const shares = await U.data();
      U.dispose();
      return Array.from(shares, (u) => u / (1 - u) * (freedom - q) / q);
    };
    statistics.set(await F(R), start);
    for (let permutation = 0; permutation < permutations; permutation++) {
      // The same permutations for every chunk.
      const order = new Rng(seed, "permutation", permutation).permutation(tokens);
      const permuted = tf.tidy(() => tf.gather(R, tf.tensor1d(order, "int32")));
      // What permuting brings back of single features is taken out again.
      const again = await reduced.residual(permuted);
      const white = await whiten(again);
      nulls.push(...await F(white));
      tf.dispose([permuted, again, white]);
    }
    z.dispose();
  }
  tf.dispose([R, singles]);

  nulls.sort((a, b) => a - b);
  const p = Array.from(
    statistics,
    (F) =>
      permutations > 0
        ? (1 + nulls.length - firstAtLeast(nulls, F)) / (1 + nulls.length)
        : fTail(F, q, freedom - q),
  );
  const discovered = benjaminiHochberg(p, rate);
  return candidates
    .map((candidate, i) => ({ ...candidate, F: statistics[i], p: p[i], discovered: discovered[i] }))
    .sort((a, b) => b.F - a.F);
}

/**
 * What a function of single features is made of: 1, f, f² and 1[f ≠ 0], `[tokens, 1 + 3 · features]`.
 */
export function singleFeatureTerms(codes: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const active = tf.cast(tf.notEqual(codes, 0), "float32") as tf.Tensor2D;
    const one = tf.ones<tf.Rank.R2>([codes.shape[0], 1]);
    return tf.concat([one, codes, tf.square(codes), active], 1) as tf.Tensor2D;
  });
}

/** `f_i f_j`, `[tokens, pairs]`. */
export function productsOf(codes: tf.Tensor2D, pairs: readonly Pair[]): tf.Tensor2D {
  const side = (s: 0 | 1) => tf.gather(codes, tf.tensor1d(pairs.map((p) => p[s]), "int32"), 1);
  return tf.mul(side(0), side(1)) as tf.Tensor2D;
}

/**
 * The pairs that act, each beyond what the others explain: scans until nothing new is discovered, and
 * from each scan takes those that are stronger than every other discovery with a feature of theirs.
 *
 * A scan tests each pair as if no other acted. Where some do, pairs that share a feature with one are
 * discovered too, since their products are large on the same tokens; once the strong one is taken out
 * they are not. The rate of false discoveries is that of each scan.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { findPairs, openDevice, plantedPairs, tf } from "interlens";
 *
 * await openDevice();
 * const { train, pairs } = plantedPairs({ n: 8, d: 4, pairs: 2, firing: 0.3, train: 2000, test: 1 });
 * const codes = tf.tensor2d(train.codes, [2000, 8]);
 * const found = await findPairs(codes, tf.tensor2d(train.x, [2000, 4]));
 * assertEquals(found.map(({ pair }) => `${pair}`).sort(), pairs.map((pair) => `${pair}`).sort());
 * ```
 *
 * @param codes Dense codes, `[tokens, features]`.
 * @param target Activations or residuals, `[tokens, d]`.
 * @param options As `pairScan`.
 * @returns In the order in which they were found.
 */
export async function findPairs(
  codes: tf.Tensor2D,
  target: tf.Tensor2D,
  options: PairScanOptions = {},
): Promise<ScannedPair[]> {
  const found: ScannedPair[] = [];
  for (;;) {
    const given = [...options.given ?? [], ...found.map(({ pair }) => pair)];
    const scanned = await pairScan(codes, target, { ...options, given });
    const taken = new Set<number>();
    const before = found.length;
    for (const candidate of scanned) {
      if (!candidate.discovered) continue;
      if (!candidate.pair.some((feature) => taken.has(feature))) found.push(candidate);
      candidate.pair.forEach((feature) => taken.add(feature));
    }
    if (found.length === before) return found;
  }
}

async function coactive(
  codes: tf.Tensor2D,
  minCount: number,
): Promise<{ pair: Pair; count: number }[]> {
  const features = codes.shape[1];
  const together = tf.tidy(() => {
    const active = tf.cast(tf.notEqual(codes, 0), "float32");
    return tf.matMul(active, active, true);
  });
  const counts = await together.data();
  together.dispose();
  const found: { pair: Pair; count: number }[] = [];
  for (let i = 0; i < features; i++) {
    for (let j = i + 1; j < features; j++) {
      const count = counts[i * features + j];
      if (count >= minCount) found.push({ pair: [i, j], count });
    }
  }
  return found;
}
