/**
 * Sparse autoencoders and transcoders: a wide, sparse code of an activation, and a linear decoder.
 *
 *     f = σ((x − b_dec) W_enc + b_enc),  x̂ = f W_dec + b_dec
 *
 * | architecture | σ(z)                                                                        |
 * | ------------ | --------------------------------------------------------------------------- |
 * | `standard`   | ReLU(z) (Bricken et al., 2023)                                              |
 * | `topk`       | ReLU(z) of the k largest entries of each token (Gao et al., 2024)           |
 * | `jumprelu`   | z where z is above the feature's threshold (Rajamanoharan et al., 2024b)    |
 * | `gated`      | ReLU(exp(r_mag) ∘ u + b_mag) where u + b_gate > 0, with u = (x − b_dec) W_enc (Rajamanoharan et al., 2024a) |
 *
 * BatchTopK and Matryoshka are ways to train a `jumprelu` dictionary.
 *
 * A transcoder predicts another activation, of width `dOut`; `b_dec` is in that one's units and not
 * subtracted from x. One with a skip connection adds `x W_skipᵀ`.
 *
 * @module
 */
import { embeddingBag, type SparseCodes, tf, topK } from "../tensor/mod.ts";
import { above, activate, column, featureMajorPre, thresholds } from "./encoder.ts";
import type { InputNormalizer } from "./reader.ts";
import { loadSae, saveSae } from "./sae_files.ts";

/** Which features of a token stay active. */
export type Architecture = "standard" | "topk" | "jumprelu" | "gated";

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
  /** Width of the predicted activation; makes it a transcoder, `standard` and `jumprelu` only. */
  readonly dOut?: number;
  /** Whether a transcoder has a skip connection. */
  readonly skip?: boolean;
}

/** The tensors of a dictionary. */
export interface SaeWeights {
  /** `[dIn, dSae]`. */
  readonly W_enc: tf.Tensor2D;
  /** `[dSae]`; of the gate, if there is one. */
  readonly b_enc: tf.Tensor1D;
  /** `[dSae, dIn]`, or `[dSae, dOut]`. */
  readonly W_dec: tf.Tensor2D;
  /** `[dIn]`, or `[dOut]`. */
  readonly b_dec: tf.Tensor1D;
  /** A feature is active above it, `[dSae]`; `jumprelu` only. */
  readonly threshold?: tf.Tensor1D;
  /** Logarithm of the magnitude's scale, `[dSae]`; `gated` only. */
  readonly r_mag?: tf.Tensor1D;
  /** Bias of the magnitude, `[dSae]`; `gated` only. */
  readonly b_mag?: tf.Tensor1D;
  /** `[dOut, dIn]`; transcoders with a skip connection only. */
  readonly W_skip?: tf.Tensor2D;
}

/** What belongs to a dictionary beside its weights. */
export interface SaeOptions {
  /** How its inputs were made from raw activations. Default null: they are raw. */
  normalizer?: InputNormalizer | null;
  /** How what a transcoder predicts was made from raw activations. Default: as its inputs. */
  outputNormalizer?: InputNormalizer | null;
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
  /** Decoder: a row is the direction of a feature, `[dSae, dIn]`; `[dSae, dOut]` in a transcoder. */
  readonly W_dec: tf.Tensor2D;
  /** Decoder bias, subtracted from inputs too, `[dIn]`; `[dOut]` in a transcoder, where it is not. */
  readonly b_dec: tf.Tensor1D;
  /** A feature is active above it, `[dSae]`; `jumprelu` only. */
  readonly threshold?: tf.Tensor1D;
  /** Logarithm of the magnitude's scale, `[dSae]`; `gated` only. */
  readonly r_mag?: tf.Tensor1D;
  /** Bias of the magnitude, `[dSae]`; `gated` only. */
  readonly b_mag?: tf.Tensor1D;
  /** Skip connection, `[dOut, dIn]`; transcoders only. */
  readonly W_skip?: tf.Tensor2D;
  /** How its inputs were made from raw activations; null if they are raw. */
  readonly normalizer: InputNormalizer | null;
  /** How its reconstructions' activation was made from the raw one. */
  readonly outputNormalizer: InputNormalizer | null;
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
    const shapes = weightShapes(config);
    for (const name of new Set([...Object.keys(shapes), ...weightNames(weights)])) {
      const [given, expected] = [weights[name as keyof SaeWeights]?.shape, shapes[name]];
      if (`${given}` !== `${expected}`) {
        throw new RangeError(
          `Cannot make a ${config.architecture} dictionary with ${name} of shape ` +
            `${given ? `[${given}]` : "none"}: expected ${expected ? `[${expected}]` : "none"}`,
        );
      }
    }
    this.config = config;
    this.W_enc = tf.keep(weights.W_enc);
    this.b_enc = tf.keep(weights.b_enc);
    this.W_dec = tf.keep(weights.W_dec);
    this.b_dec = tf.keep(weights.b_dec);
    this.threshold = weights.threshold && tf.keep(weights.threshold);
    this.r_mag = weights.r_mag && tf.keep(weights.r_mag);
    this.b_mag = weights.b_mag && tf.keep(weights.b_mag);
    this.W_skip = weights.W_skip && tf.keep(weights.W_skip);
    this.normalizer = options.normalizer ?? null;
    this.outputNormalizer = options.outputNormalizer === undefined
      ? this.normalizer
      : options.outputNormalizer;
    this.metadata = options.metadata ?? {};
  }

  /**
   * What the activation function is applied to: `(x − b_dec) W_enc + b_enc`, or the magnitude
   * `exp(r_mag) ∘ (x − b_dec) W_enc + b_mag` of a gated dictionary. SAELens' `hook_sae_acts_pre`.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @returns `[tokens, dSae]`.
   */
  preActivations(x: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() => tf.transpose(featureMajorPre(this, x)));
  }

  /**
   * Codes from pre-activations.
   *
   * @param pre `[…, dSae]`. A gated dictionary's gate follows them, too.
   * @returns The same shape, at least 0; differentiable in `pre`.
   */
  activate<T extends tf.Tensor>(pre: T): T {
    return activate(this, pre);
  }

  /**
   * Codes as dense rows.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @returns `[tokens, dSae]`, at least 0.
   */
  encode(x: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() =>
      this.config.architecture === "topk"
        ? activate(this, this.preActivations(x))
        : tf.transpose(this.#featureMajorCodes(x))
    );
  }

  /** Codes of an architecture that looks at each feature by itself, `[dSae, tokens]`. */
  #featureMajorCodes(x: tf.Tensor2D): tf.Tensor2D {
    const pre = featureMajorPre(this, x);
    const threshold = thresholds(this);
    return threshold ? tf.mul(pre, above(pre, column(threshold))) : tf.relu(pre);
  }

  /**
   * Codes as index and value pairs, largest first.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @param options `maxActive`: pairs a token. Default for `topk`: its k, which loses nothing;
   * the others have no default, since what is not among the largest is dropped.
   * @returns int32 and float32 `[tokens, maxActive]`; a pair that is not used has value 0.
   * @throws {RangeError} If `maxActive` is missing where there is no default, above k for `topk`, or
   * not in 1…dSae.
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
    return tf.tidy(() => {
      const codes = architecture === "topk" ? tf.relu(this.preActivations(x)) : this.encode(x);
      return { ...topK(codes, maxActive) }; // tidy wants a plain container
    });
  }

  /**
   * @param f Dense codes, `[tokens, dSae]`.
   * @returns Reconstructions without the skip connection, `[tokens, dIn]`; `[tokens, dOut]` of a
   * transcoder.
   */
  decode(f: tf.Tensor2D): tf.Tensor2D {
    return tf.fused.matMul({ a: f, b: this.W_dec, bias: this.b_dec }) as tf.Tensor2D;
  }

  /**
   * @param codes Index and value pairs, `[tokens, k]`.
   * @returns As `decode`.
   */
  decodeSparse(codes: SparseCodes): tf.Tensor2D {
    return tf.tidy(() => tf.add(embeddingBag(codes, this.W_dec), this.b_dec) as tf.Tensor2D);
  }

  /**
   * Encodes and decodes, and adds the skip connection if there is one.
   *
   * @param x Activations, `[tokens, dIn]`.
   * @returns `[tokens, dIn]`; `[tokens, dOut]` of a transcoder.
   */
  reconstruct(x: tf.Tensor2D): tf.Tensor2D {
    return tf.tidy(() => {
      const decoded = this.config.architecture === "topk"
        ? this.decodeSparse(this.encodeSparse(x))
        : tf.add(tf.matMul(this.#featureMajorCodes(x), this.W_dec, true), this.b_dec);
      const { W_skip } = this;
      return (W_skip ? tf.add(decoded, tf.matMul(x, W_skip, false, true)) : decoded) as tf.Tensor2D;
    });
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
   * Reads a dictionary that `save` wrote, or SAELens 6 and later. Its inputs are those of the saved
   * one; weights agree to float32 rounding of the folded scale.
   *
   * @param dir Folder.
   * @throws {Error} If a file is missing or not of this form, naming file and field.
   */
  static async load(dir: string): Promise<Sae> {
    return await loadSae(dir);
  }

  /** Frees its tensors. */
  dispose(): void {
    for (const name of weightNames(this)) this[name]!.dispose();
  }
}

/** Names of the tensors of a dictionary, in the order of `weightShapes`. */
export const WEIGHT_NAMES = [
  ...["W_enc", "b_enc", "W_dec", "b_dec", "threshold", "r_mag", "b_mag", "W_skip"] as const,
];

/** Names of the tensors that are there. */
export function weightNames(weights: SaeWeights): (keyof SaeWeights)[] {
  return WEIGHT_NAMES.filter((name) => weights[name]);
}

/** The shape of each tensor of a dictionary. */
export function weightShapes(config: SaeConfig): Record<string, number[]> {
  const { architecture, dIn, dSae, dOut = dIn, skip } = config;
  return {
    W_enc: [dIn, dSae],
    b_enc: [dSae],
    W_dec: [dSae, dOut],
    b_dec: [dOut],
    ...architecture === "jumprelu" && { threshold: [dSae] },
    ...architecture === "gated" && { r_mag: [dSae], b_mag: [dSae] },
    ...skip && { W_skip: [dOut, dIn] },
  };
}

const ARCHITECTURES: Architecture[] = ["standard", "topk", "jumprelu", "gated"];

/** @throws {RangeError} If a dictionary of this shape cannot exist, naming the value. */
export function requireSaeConfig(config: SaeConfig): void {
  const { architecture, dIn, dSae, k, dOut, skip } = config;
  if (!ARCHITECTURES.includes(architecture)) {
    throw new RangeError(
      `Cannot make a dictionary of architecture "${architecture}": expected one of ` +
        ARCHITECTURES.map((known) => `"${known}"`).join(", "),
    );
  }
  for (const [name, size] of Object.entries({ dIn, dSae, ...dOut !== undefined && { dOut } })) {
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
  if (dOut !== undefined && (architecture === "topk" || architecture === "gated")) {
    throw new RangeError(
      `Cannot make a ${architecture} transcoder, which SAELens does not have: train "standard", ` +
        `"jumprelu", "batchtopk" or "matryoshka"`,
    );
  }
  if (skip && dOut === undefined) {
    throw new RangeError(
      `Cannot make an autoencoder with a skip connection, which would copy its input: only ` +
        `transcoders have one`,
    );
  }
}
