/**
 * Codes of a dictionary by optimisation, for dictionaries of thousands of features and many tokens:
 * the problem of `inferCodes`, solved token by token on the few features that can take part.
 *
 * Candidates are the features whose correlation with an activation exceeds the penalty. Coordinate
 * descent (Friedman, Hastie & Tibshirani, 2010) solves the problem among them; what is left is
 * correlated with all features again, and those that exceed the penalty now join. A solution that no
 * feature can join is the solution among all.
 *
 * @module
 */
import { type SparseCodes, tf, topK } from "../tensor/mod.ts";

/** How codes are inferred. */
export interface SparseInferenceOptions {
  /** Most features of a token that the solver looks at. Default 128. */
  candidates?: number;
  /** How often features that were missed may join. Default 3. */
  rounds?: number;
}

/** What is not said otherwise. */
export const INFERENCE: Required<SparseInferenceOptions> = { candidates: 128, rounds: 3 };

/** Active features with their codes, packed: those of token t are from `starts[t]` to `starts[t + 1]`. */
export interface PackedCodes {
  readonly starts: Int32Array;
  readonly features: Int32Array;
  readonly values: Float32Array;
}

/** Up to this many features all their products take a quarter of a gigabyte and are looked up. */
const GRAM_FEATURES = 8192;
/** Sweeps over the coordinates, and the change, as a share of the largest correlation, that ends them. */
const SWEEPS = 200;
const TOLERANCE = 1e-4;

/**
 * A decoder whose codes are inferred.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { openDevice, SparseInference, tf } from "interlens";
 *
 * await openDevice();
 * const W = tf.tensor2d([[1, 0], [0.6, 0.8]]);
 * const x = tf.tensor2d([[2.6, 0.8]]); // two of the first, one of the second
 * const { indices, values } = await (await SparseInference.of(W)).infer(x, 0.2);
 * const [at, found] = [await indices.data(), await values.data()];
 * at.forEach((feature, i) => assertAlmostEquals(found[i], [2, 1][feature], 1e-2));
 * ```
 */
export class SparseInference {
  readonly #W: tf.Tensor2D;
  /** The same numbers, to decode a few rows fast. */
  readonly #rows: Float32Array;
  /** `W Wᵀ`, where it is small enough. */
  readonly #gram: Float32Array | undefined;
  readonly #candidates: number;
  readonly #rounds: number;

  private constructor(
    W: tf.Tensor2D,
    rows: Float32Array,
    gram: Float32Array | undefined,
    options: SparseInferenceOptions,
  ) {
    this.#W = W;
    this.#rows = rows;
    this.#gram = gram;
    const { candidates, rounds } = { ...INFERENCE, ...options };
    this.#candidates = Math.min(candidates, W.shape[0]);
    this.#rounds = rounds;
  }

  /**
   * @param W Decoder, rows of about norm 1, `[features, d]`; it stays the caller's.
   * @param options How.
   * @throws {RangeError} If there is not at least one candidate and one round.
   */
  static async of(W: tf.Tensor2D, options: SparseInferenceOptions = {}): Promise<SparseInference> {
    for (const name of ["candidates", "rounds"] as const) {
      const value = options[name];
      if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
        throw new RangeError(
          `Cannot infer codes with ${value} ${name}: expected an integer, at least 1`,
        );
      }
    }
    // What a CPU backend gives is its own memory.
    const rows = (await W.data<"float32">()).slice();
    if (W.shape[0] > GRAM_FEATURES) return new SparseInference(W, rows, undefined, options);
    const product = tf.matMul(W, W, false, true);
    const gram = (await product.data<"float32">()).slice();
    product.dispose();
    return new SparseInference(W, rows, gram, options);
  }

  /**
   * Nonnegative codes: the support from `½‖x − f W‖² + λ Σ f`, the values by least squares on it.
   *
   * @param x Activations less the decoder's bias, `[tokens, d]`.
   * @param l1 λ.
   * @returns `[tokens, n]`, the caller's; n is that of the token with most active features.
   */
  async infer(x: tf.Tensor2D, l1: number): Promise<SparseCodes> {
    const { starts, features, values } = await this.pack(x, l1);
    const tokens = x.shape[0];
    let n = 1;
    for (let t = 0; t < tokens; t++) n = Math.max(n, starts[t + 1] - starts[t]);
    const [at, padded] = [new Int32Array(tokens * n), new Float32Array(tokens * n)];
    for (let t = 0; t < tokens; t++) {
      at.set(features.subarray(starts[t], starts[t + 1]), t * n);
      padded.set(values.subarray(starts[t], starts[t + 1]), t * n);
    }
    return {
      indices: tf.tensor2d(at, [tokens, n], "int32"),
      values: tf.tensor2d(padded, [tokens, n]),
    };
  }

  /** As {@linkcode SparseInference.infer}, in the memory of what is active alone. */
  async pack(x: tf.Tensor2D, l1: number): Promise<PackedCodes> {
    const [tokens, width] = [x.shape[0], this.#candidates];
    let rest = x;
    let found: TokenCodes[] = Array.from({ length: tokens }, () => NOTHING);
    for (let round = 0; round < this.#rounds; round++) {
      const { indices, values } = tf.tidy(() => ({
        ...topK(tf.matMul(rest, this.#W, false, true) as tf.Tensor2D, width),
      }));
      const [at, correlations] = [await indices.data<"int32">(), await values.data<"float32">()];
      if (rest !== x) rest.dispose();
      tf.dispose([indices, values]);
      const problems = found.map((codes, t) => candidatesOf(codes, at, correlations, t, width, l1));
      const products = await this.#products(problems);
      found = found.map((codes, t) =>
        problems[t].joined ? solve(problems[t], codes, products(t), l1) : codes
      );
      if (round + 1 < this.#rounds) {
        const explained = tf.tensor2d(this.decode(packed(found, ({ sparse }) => sparse)), x.shape);
        rest = tf.sub(x, explained) as tf.Tensor2D;
        explained.dispose();
      }
    }
    return packed(found, ({ least }) => least);
  }

  /** `f W` without a bias, `[tokens · d]`. */
  decode({ starts, features, values }: PackedCodes): Float32Array {
    const d = this.#W.shape[1];
    const tokens = starts.length - 1;
    const out = new Float32Array(tokens * d);
    for (let t = 0; t < tokens; t++) {
      const to = t * d;
      for (let i = starts[t]; i < starts[t + 1]; i++) {
        const [value, from] = [values[i], features[i] * d];
        for (let k = 0; k < d; k++) out[to + k] += value * this.#rows[from + k];
      }
    }
    return out;
  }

  /** Products of the decoder's rows among a token's candidates, `[n, n]` row-major. */
  async #products(problems: readonly Problem[]): Promise<(t: number) => Float32Array> {
    const gram = this.#gram;
    if (gram) {
      const features = this.#W.shape[0];
      return (t) => {
        const { features: some } = problems[t];
        const n = some.length;
        const G = new Float32Array(n * n);
        for (let i = 0; i < n; i++) {
          const row = some[i] * features;
          for (let j = i; j < n; j++) G[i * n + j] = G[j * n + i] = gram[row + some[j]];
        }
        return G;
      };
    }
    const width = Math.max(1, ...problems.map(({ features }) => features.length));
    const at = new Int32Array(problems.length * width);
    problems.forEach(({ features }, t) => at.set(features, t * width));
    const product = tf.tidy(() => {
      const rows = tf.gather(this.#W, tf.tensor2d(at, [problems.length, width], "int32"));
      return tf.matMul(rows, rows, false, true);
    });
    const all = await product.data<"float32">();
    product.dispose();
    return (t) => {
      const n = problems[t].features.length;
      const G = new Float32Array(n * n);
      for (let i = 0; i < n; i++) {
        const from = (t * width + i) * width;
        G.set(all.subarray(from, from + n), i * n);
      }
      return G;
    };
  }
}

/** Active features with their codes: those that the penalty leaves, and by least squares. */
interface TokenCodes {
  readonly features: Int32Array;
  readonly sparse: Float32Array;
  readonly least: Float32Array;
}

const NOTHING: TokenCodes = {
  features: new Int32Array(0),
  sparse: new Float32Array(0),
  least: new Float32Array(0),
};

/** What is solved for a token. */
interface Problem {
  /** Its active features, then those that join. */
  readonly features: Int32Array;
  /** Of what the active features leave, with each. */
  readonly correlation: Float32Array;
  /** Whether any joins. */
  readonly joined: boolean;
}

function candidatesOf(
  { features: active }: TokenCodes,
  at: Int32Array,
  correlations: Float32Array,
  t: number,
  width: number,
  l1: number,
): Problem {
  // The penalty holds the active ones at a correlation of λ, up to the tolerance.
  const features = [...active];
  const correlation = features.map(() => l1);
  for (let i = t * width; i < (t + 1) * width && features.length < width; i++) {
    const is = active.indexOf(at[i]);
    if (is >= 0) correlation[is] = correlations[i];
    else if (correlations[i] > l1 * (1 + 1e-3)) {
      features.push(at[i]);
      correlation.push(correlations[i]);
    }
  }
  return {
    features: Int32Array.from(features),
    correlation: Float32Array.from(correlation),
    joined: features.length > active.length,
  };
}

function solve(
  { features, correlation }: Problem,
  { sparse: start }: TokenCodes,
  G: Float32Array,
  l1: number,
): TokenCodes {
  const n = features.length;
  const f = new Float32Array(n);
  f.set(start);
  descend(G, correlation, f, l1);
  const kept = Array.from(f.keys()).filter((i) => f[i] > 0);
  const m = kept.length;
  // On the support: correlations that the penalty held at λ, so all start from there.
  const [inner, left, least] = [new Float32Array(m * m), new Float32Array(m), new Float32Array(m)];
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < m; j++) inner[i * m + j] = G[kept[i] * n + kept[j]];
    left[i] = correlation[kept[i]];
    least[i] = f[kept[i]];
  }
  descend(inner, left, least, 0);
  return {
    features: Int32Array.from(kept, (i) => features[i]),
    sparse: Float32Array.from(kept, (i) => f[i]),
    least,
  };
}

/**
 * Coordinate descent on `½ fᵀG f − bᵀf + λ Σ f`, f ≥ 0, in place.
 *
 * @param G `[n, n]`.
 * @param g Correlations of the residual of f, `b − G f`; kept up to date.
 * @param f Start and result.
 */
function descend(G: Float32Array, g: Float32Array, f: Float32Array, l1: number): void {
  const n = f.length;
  let largest = 0;
  for (let j = 0; j < n; j++) largest = Math.max(largest, Math.abs(g[j]), f[j]);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let change = 0;
    // Between sweeps over all, a few over what is active.
    const activeOnly = sweep % 4 !== 0;
    for (let j = 0; j < n; j++) {
      if (activeOnly && f[j] === 0) continue;
      const row = j * n;
      const next = Math.max(0, f[j] + (g[j] - l1) / G[row + j]);
      const step = next - f[j];
      if (step === 0) continue;
      f[j] = next;
      for (let k = 0; k < n; k++) g[k] -= step * G[row + k];
      change = Math.max(change, Math.abs(step));
    }
    if (change < TOLERANCE * largest) {
      if (!activeOnly) return;
      // The next one is over all.
      sweep += 3 - sweep % 4;
    }
  }
}

function packed(
  found: readonly TokenCodes[],
  of: (codes: TokenCodes) => Float32Array,
): PackedCodes {
  const starts = new Int32Array(found.length + 1);
  found.forEach(({ features }, t) => starts[t + 1] = starts[t] + features.length);
  const features = new Int32Array(starts[found.length]);
  const values = new Float32Array(starts[found.length]);
  found.forEach((codes, t) => {
    features.set(codes.features, starts[t]);
    values.set(of(codes), starts[t]);
  });
  return { starts, features, values };
}
