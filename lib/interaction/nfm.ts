/**
 * Neural Factorization Machine (He & Chua, 2017) on sparse codes: what a linear map of
 * the active features and products of pairs of them say about an activation.
 *
 *     r̂ = b + f W + head(p),  p_k = Σ_{i<j} f_i f_j v_ik v_jk
 *
 * With the linear head, head(p) = p C and each pair has one vector,
 * `T_ij = Σ_k v_ik v_jk C_k`, which can be read off; the study's head is a small ReLU
 * network. Products are never taken pair by pair: `p = ½(S² − Q)` with
 * `S_k = Σ f_i v_ik` and `Q_k = Σ (f_i v_ik)²` (Rendle, 2010).
 *
 * Codes are divided by their root mean square over active features, and predictions
 * multiplied by that of the residual, both stored: learning rates and initial weights
 * then suit any dictionary, and S² − Q keeps its digits.
 *
 * @module
 */
import type { Codes } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";
import { linearTerm, pooledProducts, pooledToOutput } from "./nfm_terms.ts";
import { type NfmShape, requireNfmShape } from "./nfm_config.ts";
import { loadNfm, saveNfm } from "./nfm_files.ts";

/** Parameters by name; a model has those of its parts. */
export interface NfmWeights {
  /** Output bias, `[dOut]`. */
  readonly b: tf.Tensor1D;
  /** Linear weights, `[dSae, dOut]`. */
  readonly W?: tf.Tensor2D;
  /** Embeddings, `[dSae, K]`. */
  readonly V?: tf.Tensor2D;
  /** Linear head, `[K, dOut]`. */
  readonly C?: tf.Tensor2D;
  /** First layer of the ReLU head, `[K, K]`. */
  readonly W1?: tf.Tensor2D;
  /** Its bias, `[K]`. */
  readonly b1?: tf.Tensor1D;
  /** Second layer of the ReLU head, `[K, dOut]`. */
  readonly W2?: tf.Tensor2D;
}

/** Units of a model: its weights live where codes and residuals have a root mean square of 1. */
export interface NfmScales {
  /** Codes are multiplied by it. */
  readonly code: number;
  /** Predictions are multiplied by it. */
  readonly target: number;
}

/** What a prediction consists of; `linear + interaction` is the prediction. */
export interface NfmPieces {
  /** `b + f W`, in the units of the residual, `[tokens, dOut]`; the bias alone without W. */
  linear: tf.Tensor2D;
  /** Pooled products p before the head, `[tokens, K]`; K = 0 without pairs. */
  bilinear: tf.Tensor2D;
  /** `head(p)`, in the units of the residual, `[tokens, dOut]`; 0 without pairs. */
  interaction: tf.Tensor2D;
}

/**
 * A trained model.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Nfm, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const shape = { parts: "both", dSae: 3, dOut: 1, K: 1, head: "linear", topN: 2 } as const;
 * const nfm = new Nfm(shape, {
 *   b: tf.tensor1d([0]),
 *   W: tf.tensor2d([[1], [1], [1]]),
 *   V: tf.tensor2d([[1], [0], [1]]), // features 0 and 2 interact
 *   C: tf.tensor2d([[10]]),
 * });
 * const codes = { indices: tf.tensor2d([[0, 2]], [1, 2], "int32"), values: tf.tensor2d([[2, 3]]) };
 * const { linear, interaction } = nfm.pieces(codes);
 * assertEquals([...await linear.data(), ...await interaction.data()], [5, 60]);
 * assertEquals([...await nfm.predict(codes).data()], [65]);
 * nfm.dispose();
 * ```
 */
export class Nfm {
  /** Its shape. */
  readonly shape: NfmShape;
  /** Its parameters. */
  readonly weights: NfmWeights;
  /** Its units. */
  readonly scales: NfmScales;
  /** Plain data that is written into `nfm_cfg.json`. */
  readonly metadata: Record<string, unknown>;

  /**
   * @param shape Its shape.
   * @param weights Its parameters, which it owns from now on.
   * @param options `scales`: its units, default 1; `metadata`: plain data to keep with it.
   * @throws {RangeError} If the shape is impossible, a parameter is missing, or has another shape.
   */
  constructor(
    shape: NfmShape,
    weights: NfmWeights,
    options: { scales?: NfmScales; metadata?: Record<string, unknown> } = {},
  ) {
    requireNfmShape(shape);
    for (const [name, expected] of Object.entries(weightShapes(shape))) {
      const given = weights[name as keyof NfmWeights]?.shape;
      if (`${given}` !== `${expected}`) {
        throw new RangeError(
          `Cannot make a model with ${name} ` +
            `${given ? `of shape [${given}]` : "missing"}: expected [${expected}]`,
        );
      }
    }
    this.shape = shape;
    this.weights = weights;
    for (const tensor of Object.values(weights)) tf.keep(tensor);
    this.scales = options.scales ?? { code: 1, target: 1 };
    this.metadata = options.metadata ?? {};
  }

  /**
   * Predicts the residual.
   *
   * @param codes Active features `[tokens, n]`, or dense codes `[tokens, dSae]`, in the dictionary's
   * units.
   * @returns `[tokens, dOut]`, in the units of the activations.
   * @throws {RangeError} If there are more pairs a token than the model sees, or codes of another width.
   */
  predict(codes: Codes): tf.Tensor2D {
    return tf.tidy(() => {
      const { linear, interaction } = this.pieces(codes);
      return tf.add(linear, interaction) as tf.Tensor2D;
    });
  }

  /**
   * The prediction in its parts.
   *
   * The output bias belongs to `linear`, so that `interaction` is 0 for the linear head where no
   * pair is active. With the ReLU head a constant ReLU(b1) W2 remains in it.
   *
   * @param codes Active features `[tokens, n]`, or dense codes `[tokens, dSae]`, in the dictionary's
   * units.
   */
  pieces(codes: Codes): NfmPieces {
    const { parts, dOut } = this.shape;
    const { b, W } = this.weights;
    return tf.tidy(() => {
      const [tokens, n] = (codes instanceof tf.Tensor ? codes : codes.indices).shape;
      const { dSae, topN } = this.shape;
      if (codes instanceof tf.Tensor ? n !== dSae : n > topN) {
        throw new RangeError(
          codes instanceof tf.Tensor
            ? `Cannot predict from codes of ${n} features: the model has ${dSae}`
            : `Cannot predict from ${n} active features a token: the model sees the ${topN} largest, ` +
              "give it the codes of codesAndResidual",
        );
      }
      const times = (x: tf.Tensor2D) => tf.mul(x, this.scales.code) as tf.Tensor2D;
      const scaled = codes instanceof tf.Tensor
        ? times(codes)
        : { indices: codes.indices, values: times(codes.values) };
      const bias = tf.mul(tf.add(tf.zeros([tokens, dOut]), b), this.scales.target);
      const linear = W ? tf.add(bias, tf.mul(linearTerm(scaled, W), this.scales.target)) : bias;
      const bilinear = parts === "linear"
        ? tf.zeros([tokens, 0])
        : pooledProducts(scaled, this.weights.V!).pooled;
      const interaction = parts === "linear"
        ? tf.zeros([tokens, dOut])
        : tf.mul(pooledToOutput(this.weights, bilinear as tf.Tensor2D), this.scales.target);
      return { linear, bilinear, interaction } as unknown as tf.TensorContainer;
    }) as unknown as NfmPieces;
  }

  /** Writes it: `nfm_cfg.json` and `nfm_weights.safetensors`, beside the dictionary if you like. */
  async save(dir: string): Promise<void> {
    await saveNfm(this, dir);
  }

  /**
   * Reads what `save` wrote; it predicts the same bytes.
   *
   * @throws {Error} If a file is missing or of another form.
   */
  static async load(dir: string): Promise<Nfm> {
    return await loadNfm(dir);
  }

  /** Frees its tensors. */
  dispose(): void {
    tf.dispose(Object.values(this.weights));
  }
}

/** The parameters of a model and their shapes. */
export function weightShapes({ parts, dSae, dOut, K, head }: NfmShape): Record<string, number[]> {
  return {
    b: [dOut],
    ...parts !== "interaction" && { W: [dSae, dOut] },
    ...parts !== "linear" && { V: [dSae, K] },
    ...parts !== "linear" &&
      (head === "linear" ? { C: [K, dOut] } : { W1: [K, K], b1: [K], W2: [K, dOut] }),
  };
}
