/**
 * Everything that is said about a reconstruction, kept by document.
 *
 * Tokens of one document are not independent, so intervals are made by drawing
 * whole documents. That needs the sums of each document, which this meter keeps:
 *
 *     squaredError = Σ‖x − x̂‖²,  variation = Σ‖x − x̄‖²,  squaredNorm = Σ‖x‖²
 *
 * with x̄ the mean over all tokens that were measured.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { type Codes, DensityMeter } from "./density.ts";
import { meanOf, requireSameShape } from "./fvu.ts";

/** Sums of each document: the arrays run over documents in ascending number. */
export interface PerDocument {
  /** The documents' numbers. */
  readonly document: number[];
  /** Tokens of each. */
  readonly tokens: number[];
  /** Σ‖x − x̂‖² of each: the numerator of FVU and of error %. */
  readonly squaredError: number[];
  /** Σ‖x − x̄‖² of each, x̄ over all documents: the denominator of FVU. */
  readonly variation: number[];
  /** Σ‖x‖² of each: the denominator of error %. */
  readonly squaredNorm: number[];
}

/** The numbers that describe a reconstruction. */
export interface ReconstructionSummary {
  /** Fraction of variance unexplained, Σ‖x − x̂‖² / Σ‖x − x̄‖². */
  fvu: number;
  /** The study's uncentred 100 · Σ‖x − x̂‖² / Σ‖x‖². */
  errorPercent: number;
  /** Mean number of features that fire on a token; absent if no codes were given. */
  l0?: number;
  /** Share of features that fired on none of these tokens; absent if no codes were given. */
  deadFraction?: number;
  /** Tokens that were measured. */
  tokens: number;
}

interface DocumentSums {
  tokens: number;
  squaredError: number;
  squaredNorm: number;
  /** Σ‖x − origin‖². */
  centredNorm: number;
  /** Σ(x − origin), `[dModel]`. */
  sum: Float64Array;
}

/**
 * Measures a reconstruction over any number of batches; `8 · dModel` bytes a document.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { openDevice, ReconstructionMeter, tf } from "interlens";
 *
 * await openDevice();
 * const x = tf.tensor2d([[1, 0], [3, 0], [5, 6]]);
 * const meter = new ReconstructionMeter(2);
 * await meter.update(x, tf.add(x, 1), { document: [0, 0, 7] });
 * assertAlmostEquals(meter.summary().fvu, 6 / 32);
 * assertEquals(meter.perDocument().squaredError, [4, 2]);
 * ```
 */
export class ReconstructionMeter {
  readonly #dModel: number;
  readonly #density: DensityMeter | undefined;
  readonly #documents = new Map<number, DocumentSums>();
  #origin: Float32Array | undefined;

  /**
   * @param dModel Width of the activations.
   * @param options `dSae`: number of features, if codes will be given to `update`.
   */
  constructor(dModel: number, options: { dSae?: number } = {}) {
    this.#dModel = dModel;
    if (options.dSae !== undefined) this.#density = new DensityMeter(options.dSae);
  }

  /**
   * Adds a batch.
   *
   * @param x Activations, `[tokens, dModel]`.
   * @param reconstruction `[tokens, dModel]`.
   * @param options `document`: the document's number of each token (default: all 0);
   * `codes`: the codes that gave the reconstruction.
   * @throws {RangeError} If the shapes differ, or a token has no document.
   * @throws {TypeError} If codes are given and `dSae` was not.
   */
  async update(
    x: tf.Tensor2D,
    reconstruction: tf.Tensor2D,
    options: { document?: ArrayLike<number>; codes?: Codes } = {},
  ): Promise<void> {
    const tokens = x.shape[0];
    requireSameShape(x, reconstruction, this.#dModel);
    const document = options.document ?? new Int32Array(tokens);
    if (document.length !== tokens) {
      throw new RangeError(
        `Cannot place ${tokens} tokens in ${document.length} documents' numbers`,
      );
    }
    if (options.codes) {
      if (!this.#density) throw new TypeError("Cannot count codes: give dSae to the meter");
      await this.#density.update(options.codes);
    }
    this.#origin ??= await meanOf(x);
    const present = [...new Set(Array.from(document))];
    const slot = new Map(present.map((number, i) => [number, i]));
    const slots = Int32Array.from(document, (number) => slot.get(number)!);
    const origin = this.#origin;
    const tensors = tf.tidy(() => {
      const centred = tf.sub(x, tf.tensor1d(origin));
      const member = tf.cast(
        tf.equal(
          tf.tensor2d(slots, [1, tokens], "int32"),
          tf.reshape(tf.range(0, present.length, 1, "int32"), [present.length, 1]),
        ),
        "float32",
      ); // [documents, tokens]
      const perToken = tf.stack([
        tf.sum(tf.squaredDifference(x, reconstruction), 1),
        tf.sum(tf.square(x), 1),
        tf.sum(tf.square(centred), 1),
      ], 0);
      return [perToken, tf.matMul(member, centred)];
    });
    const [perToken, sums] = await Promise.all(tensors.map((t) => t.data()));
    tf.dispose(tensors);

    for (let t = 0; t < tokens; t++) {
      const total = this.#of(document[t]);
      total.tokens++;
      total.squaredError += perToken[t];
      total.squaredNorm += perToken[tokens + t];
      total.centredNorm += perToken[2 * tokens + t];
    }
    present.forEach((number, i) => {
      const { sum } = this.#of(number);
      for (let d = 0; d < this.#dModel; d++) sum[d] += sums[i * this.#dModel + d];
    });
  }

  #of(document: number): DocumentSums {
    let total = this.#documents.get(document);
    if (!total) {
      const sum = new Float64Array(this.#dModel);
      total = { tokens: 0, squaredError: 0, squaredNorm: 0, centredNorm: 0, sum };
      this.#documents.set(document, total);
    }
    return total;
  }

  /**
   * FVU, error % and, if codes were given, L0 and dead fraction.
   *
   * @throws {RangeError} If nothing was measured, or if the activations do not vary.
   */
  summary(): ReconstructionSummary {
    const { squaredError, variation, squaredNorm, tokens } = this.perDocument();
    const total = { error: sum(squaredError), variation: sum(variation), tokens: sum(tokens) };
    if (!(total.variation > 0)) {
      throw new RangeError(
        `Cannot summarise ${total.tokens} tokens: the activations must vary`,
      );
    }
    return {
      fvu: total.error / total.variation,
      errorPercent: 100 * total.error / sum(squaredNorm),
      ...this.#density &&
        { l0: this.#density.l0(), deadFraction: this.#density.deadFraction() },
      tokens: total.tokens,
    };
  }

  /** The sums of each document, for intervals that draw documents. */
  perDocument(): PerDocument {
    const entries = [...this.#documents].sort(([a], [b]) => a - b);
    const totals = entries.map(([, total]) => total);
    const tokens = totals.map((total) => total.tokens);
    const mean = new Float64Array(this.#dModel);
    for (const total of totals) total.sum.forEach((value, d) => mean[d] += value);
    const count = sum(tokens);
    mean.forEach((value, d) => mean[d] = value / count);
    const meanNorm = mean.reduce((norm, m) => norm + m * m, 0);
    return {
      document: entries.map(([number]) => number),
      tokens,
      squaredError: totals.map((total) => total.squaredError),
      // Σ‖x − x̄‖² = Σ‖x − o‖² − 2 (x̄ − o)·Σ(x − o) + n‖x̄ − o‖², at least 0 but for rounding.
      variation: totals.map((total) => {
        const dot = total.sum.reduce((all, value, d) => all + value * mean[d], 0);
        return Math.max(0, total.centredNorm - 2 * dot + total.tokens * meanNorm);
      }),
      squaredNorm: totals.map((total) => total.squaredNorm),
    };
  }
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
