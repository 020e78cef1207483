/**
 * Sparse autoencoders: a wide, sparse code of an activation, and a linear decoder.
 *
 *     f = σ((x − b_dec) W_enc + b_enc),  x̂ = f W_dec + b_dec
 *
 * σ is ReLU (`standard`; Bricken et al., 2023), or ReLU of the k largest entries of
 * each token (`topk`; Gao et al., 2024).
 *
 * @module
 */
import { embeddingBag, scatterRows, type SparseCodes, tf, topK } from "../tensor/mod.ts";
import type { InputNormalizer } from "./reader.ts";
import { loadSae, saveSae } from "./sae_files.ts";

/** Which features of a token stay active. */
export type Architecture = "standard" | "topk";

/** The shape of a dictionary. */
export interface SaeConfig {
  /** Activation function. */
  readonly architecture: Architecture;
  /** Width of the activations. */
  readonly dIn: number;
  /** Number of features. */
  readonly dSae: number;
  /** Active features a token; `topk` only. */
  readonly k?: number;
}

/** The tensors of a dictionary. */
export interface SaeWeights {
  /** `[dIn, dSae]`. */
  readonly W_enc: tf.Tensor2D;
  /** `[dSae]`. */
  readonly b_enc: tf.Tensor1D;
  /** `[dSae, dIn]`. */
  readonly W_dec: tf.Tensor2D;
  /** `[dIn]`. */
  readonly b_dec: tf.Tensor1D;
}

/** What belongs to a dictionary beside its weights. */
export interface SaeOptions {
  /** How its inputs were made from raw activations. Default null: they are raw. */
  normalizer?: InputNormalizer | null;
  /** Plain data that is written into `cfg.json`, such as `hook_name`. */
  metadata?: Record<string, unknown>;
}

/**
 * A trained dictionary.
 *
 * Inputs and reconstructions are in the units of the store that it was trained on;
 * `save` writes it for raw activations.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const sae = new Sae({ architecture: "topk", dIn: 2, dSae: 3, k: 1 }, {
 *   W_enc: tf.tensor2d([[1, 0, 1], [0, 1, 1]]),
 *   b_enc: tf.tensor1d([0, 0, -1]),
 *   W_dec: tf.tensor2d([[1, 0], [0, 1], [1, 1]]),
 *   b_dec: tf.tensor1d([0, 0]),
 * });
 * const x = tf.tensor2d([[3, 3], [0, 2]]);
 * assertEquals([...await sae.encode(x).data()], [0, 0, 5, 0, 2, 0]);
 * assertEquals([...await sae.reconstruct(x).data()], [5, 5, 0, 2]);
 * sae.dispose();
 * ```
 */
export class Sae implements SaeWeights {
  /** Its shape. */
  readonly config: SaeConfig;
  /** Encoder, `[dIn, dSae]`. */
  readonly W_enc: tf.Tensor2D;
  /** Encoder bias, `[dSae]`. */
  readonly b_enc: tf.Tensor1D;
  /** Decoder: a row is the direction of a feature, `[dSae, dIn]`. */
  readonly W_dec: tf.Tensor2D;
  /** Decoder bias, subtracted from inputs too, `[dIn]`. */
  readonly b_dec: tf.Tensor1D;
  /** How its inputs were made from raw activations; null if they are raw. */
  readonly normalizer: InputNormalizer | null;
  /** Plain data that is written into `cfg.json`. */
  readonly metadata: Record<string, unknown>;

  /**
   * @param config Its shape.
   * @param weights Its tensors, which it owns from now on.
   * @param options What else belongs to it.
   * @throws {RangeError} If the configuration is impossible or a tensor has another shape.
   */
  constructor(config: SaeConfig, weights: SaeWeights, options: SaeOptions = {}) {
    requireSaeConfig(config);
    const { dIn, dSae } = config;
    const shapes = { W_enc: [dIn, dSae], b_enc: [dSae], W_dec: [dSae, dIn], b_dec: [dIn] };
    for (const [name, shape] of Object.entries(shapes)) {
      const given = weights[name as keyof SaeWeights].shape;
      if (`${given}` !== `${shape}`) {
        throw new RangeError(
          `Cannot make a dictionary with ${name} of shape [${given}]: expected [${shape}]`,
        );
      }
    }
    this.config = config;
    this.W_enc = tf.keep(weights.W_enc);
    this.b_enc = tf.keep(weights.b_enc);
    this.W_dec = tf.keep(weights.W_dec);
    this.b_dec = tf.keep(weights.b_dec);
    this.normalizer = options.normalizer ?? null;
    this.metadata = options.metadata ?? {};
  }

  /**
   * Codes as dense rows.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @returns `[tokens, dSae]`, at least 0.
   */
  encode(x: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() => {
      const positive = reluPreActivations(this, x);
      if (this.config.architecture === "standard") return positive;
      return scatterRows(topK(positive, this.config.k!), this.config.dSae);
    });
  }

  /**
   * Codes as index and value pairs, largest first.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @param options `maxActive`: pairs a token. Default for `topk`: its k, which loses nothing;
   * `standard` has no default, since what is not among the largest is dropped.
   * @returns int32 and float32 `[tokens, maxActive]`; a pair that is not used has value 0.
   * @throws {RangeError} If `maxActive` is missing for `standard`, above k for `topk`, or not in
   * 1…dSae.
   */
  encodeSparse(x: tf.Tensor2D, options: { maxActive?: number } = {}): SparseCodes {
    const { architecture, k, dSae } = this.config;
    const maxActive = options.maxActive ?? k;
    const most = architecture === "topk" ? k! : dSae;
    if (maxActive === undefined || !(maxActive >= 1 && maxActive <= most)) {
      throw new RangeError(
        `Cannot keep ${maxActive} active features of a ${architecture} dictionary: give maxActive ` +
          `in 1…${most}`,
      );
    }
    // tidy wants a plain container.
    return tf.tidy(() => ({ ...topK(reluPreActivations(this, x), maxActive) }));
  }

  /**
   * @param f Dense codes, `[tokens, dSae]`.
   * @returns Reconstructions, `[tokens, dIn]`.
   */
  decode(f: tf.Tensor2D): tf.Tensor2D {
    return tf.fused.matMul({ a: f, b: this.W_dec, bias: this.b_dec }) as tf.Tensor2D;
  }

  /**
   * @param codes Index and value pairs, `[tokens, k]`.
   * @returns Reconstructions, `[tokens, dIn]`.
   */
  decodeSparse(codes: SparseCodes): tf.Tensor2D {
    return tf.tidy(() => tf.add(embeddingBag(codes, this.W_dec), this.b_dec) as tf.Tensor2D);
  }

  /**
   * Encodes and decodes.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @returns `[tokens, dIn]`.
   */
  reconstruct(x: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() =>
      this.config.architecture === "topk"
        ? this.decodeSparse(this.encodeSparse(x))
        : this.decode(this.encode(x))
    );
  }

  /**
   * Writes it for raw activations, as a folder that SAELens 6 and later loads:
   * `cfg.json` and `sae_weights.safetensors`, with `input_normalizer.json` beside them.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { openDevice, Sae, tf } from "interlens";
   *
   * await openDevice();
   * const sae = new Sae({ architecture: "standard", dIn: 1, dSae: 2 }, {
   *   W_enc: tf.tensor2d([[1, -1]]),
   *   b_enc: tf.tensor1d([0, 0]),
   *   W_dec: tf.tensor2d([[1], [-1]]),
   *   b_dec: tf.tensor1d([0]),
   * });
   * const dir = await Deno.makeTempDir();
   * await sae.save(dir);
   * const same = await Sae.load(dir);
   * assertEquals([...await same.reconstruct(tf.tensor2d([[-3]])).data()], [-3]);
   * await Deno.remove(dir, { recursive: true });
   * ```
   *
   * @param dir Folder, made if missing.
   */
  async save(dir: string): Promise<void> {
    await saveSae(this, dir);
  }

  /**
   * Reads a dictionary that `save` wrote, or SAELens 6 and later as `standard` or `topk` in float32.
   * Its inputs are those of the saved one; weights agree to float32 rounding of the folded scale.
   *
   * @param dir Folder.
   * @throws {Error} If a file is missing or not of this form, naming file and field.
   */
  static async load(dir: string): Promise<Sae> {
    return await loadSae(dir);
  }

  /** Frees its tensors. */
  dispose(): void {
    tf.dispose([this.W_enc, this.b_enc, this.W_dec, this.b_dec]);
  }
}

/** `(x − b_dec) W_enc + b_enc`, `[tokens, dSae]`. */
export function preActivations(weights: SaeWeights, x: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => tf.transpose(featureMajor(weights, tf.sub(x, weights.b_dec))));
}

/** `ReLU((x − b_dec) W_enc + b_enc)`, `[tokens, dSae]`. */
export function reluPreActivations(weights: SaeWeights, x: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => tf.transpose(featureMajorCodes(weights, tf.sub(x, weights.b_dec))));
}

/**
 * `ReLU(W_encᵀ inputᵀ + b_enc)`, `[dSae, tokens]`: a row is a feature.
 *
 * @param input `x − b_dec`, `[tokens, dIn]`.
 */
export function featureMajorCodes(weights: SaeWeights, input: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => tf.relu(featureMajor(weights, input)));
}

/**
 * `W_encᵀ inputᵀ + b_enc`.
 *
 * On a CPU a product whose result is wide takes nearly twice as long as the transposed one, whose
 * result is tall, and the bias is cheapest as one more column of the factors.
 */
function featureMajor({ W_enc, b_enc }: SaeWeights, input: tf.Tensor2D): tf.Tensor2D {
  const W = tf.concat([W_enc, tf.expandDims(b_enc, 0)], 0);
  const one = tf.concat([input, tf.ones([input.shape[0], 1])], 1);
  return tf.matMul(W, one, true, true);
}

/** @throws {RangeError} If a dictionary of this shape cannot exist, naming the value. */
export function requireSaeConfig({ architecture, dIn, dSae, k }: SaeConfig): void {
  if (architecture !== "standard" && architecture !== "topk") {
    throw new RangeError(
      `Cannot make a dictionary of architecture "${architecture}": expected "standard" or "topk"`,
    );
  }
  for (const [name, size] of Object.entries({ dIn, dSae })) {
    if (!Number.isInteger(size) || size < 1) {
      throw new RangeError(
        `Cannot make a dictionary with ${name} = ${size}: expected an integer of at least 1`,
      );
    }
  }
  if (architecture === "topk" && !(Number.isInteger(k) && k! >= 1 && k! <= dSae)) {
    throw new RangeError(
      `Cannot keep k = ${k} active features of ${dSae}: k must be an integer in 1…${dSae}`,
    );
  }
}
