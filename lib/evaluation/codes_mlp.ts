/**
 * A small network on the codes of a dictionary: rung R4 of the ladder, the ceiling for what is a
 * function of the features at all.
 *
 *     r̂ = b + f W + ReLU(f W1 + b1) W2
 *
 * It can say anything about pairs, triples and thresholds of features that a factorization machine
 * can, and more. Where it is no better than one of as many parameters, pairs are enough.
 *
 * As in a factorization machine, codes are divided by their root mean square over active features and
 * predictions multiplied by that of the residual.
 *
 * @module
 */
import { linearTerm } from "../interaction/nfm_terms.ts";
import { embeddingBag, type SparseCodes, tf } from "../tensor/mod.ts";

/** The shape of a network. */
export interface CodesMlpShape {
  /** Number of features of the codes. */
  readonly dSae: number;
  /** Width of what is predicted. */
  readonly dOut: number;
  /** Hidden units. */
  readonly hidden: number;
  /** Whether there is a linear term `f W`. */
  readonly linear: boolean;
  /** Active features of a token that are used, the largest. */
  readonly topN: number;
}

/** Parameters by name. */
export interface CodesMlpWeights {
  /** Output bias, `[dOut]`. */
  readonly b: tf.Tensor1D;
  /** First layer, `[dSae, hidden]`. */
  readonly W1: tf.Tensor2D;
  /** Its bias, `[hidden]`. */
  readonly b1: tf.Tensor1D;
  /** Second layer, `[hidden, dOut]`. */
  readonly W2: tf.Tensor2D;
  /** Linear term, `[dSae, dOut]`. */
  readonly W?: tf.Tensor2D;
}

/** Units of a network, as those of a factorization machine. */
export interface CodesMlpScales {
  /** Codes are multiplied by it. */
  readonly code: number;
  /** Predictions are multiplied by it. */
  readonly target: number;
}

/**
 * A trained network.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { CodesMlp, openDevice, tf } from "interlens";
 *
 * await openDevice();
 * const mlp = new CodesMlp({ dSae: 3, dOut: 1, hidden: 1, linear: false, topN: 2 }, {
 *   b: tf.tensor1d([10]),
 *   W1: tf.tensor2d([[1], [0], [1]]),
 *   b1: tf.tensor1d([-4]), // above 0 where features 0 and 2 are active together
 *   W2: tf.tensor2d([[2]]),
 * });
 * const indices = tf.tensor2d([[0, 2], [0, 1]], [2, 2], "int32");
 * const codes = { indices, values: tf.tensor2d([[3, 3], [3, 3]]) };
 * assertEquals([...await mlp.predict(codes).data()], [10 + 2 * 2, 10]);
 * mlp.dispose();
 * ```
 */
export class CodesMlp {
  /** Its shape. */
  readonly shape: CodesMlpShape;
  /** Its parameters. */
  readonly weights: CodesMlpWeights;
  /** Its units. */
  readonly scales: CodesMlpScales;

  /**
   * @param shape Its shape.
   * @param weights Its parameters, which it owns from now on.
   * @param scales Its units. Default: 1.
   * @throws {RangeError} If a parameter is missing or has another shape.
   */
  constructor(
    shape: CodesMlpShape,
    weights: CodesMlpWeights,
    scales: CodesMlpScales = { code: 1, target: 1 },
  ) {
    for (const [name, expected] of Object.entries(mlpShapes(shape))) {
      const given = weights[name as keyof CodesMlpWeights]?.shape;
      if (`${given}` !== `${expected}`) {
        throw new RangeError(
          `Cannot make a network with ${name} ` +
            `${given ? `of shape [${given}]` : "missing"}: expected [${expected}]`,
        );
      }
    }
    this.shape = shape;
    this.weights = weights;
    this.scales = scales;
    for (const tensor of Object.values(weights)) tf.keep(tensor);
  }

  /**
   * Predicts the residual.
   *
   * @param codes Active features, `[tokens, n]`, in the dictionary's units.
   * @returns `[tokens, dOut]`, in the units of the activations.
   */
  predict(codes: SparseCodes): tf.Tensor2D {
    return tf.tidy(() => {
      const { b, W1, b1, W2, W } = this.weights;
      const scaled = {
        indices: codes.indices,
        values: tf.mul(codes.values, this.scales.code) as tf.Tensor2D,
      };
      const hidden = tf.relu(tf.add(linearTerm(scaled, W1), b1)) as tf.Tensor2D;
      const out = tf.add(tf.matMul(hidden, W2), b);
      return tf.mul(
        W ? tf.add(out, linearTerm(scaled, W)) : out,
        this.scales.target,
      ) as tf.Tensor2D;
    });
  }

  /** Frees its tensors. */
  dispose(): void {
    tf.dispose(Object.values(this.weights));
  }
}

/** The parameters of a network and their shapes. */
export function mlpShapes(
  { dSae, dOut, hidden, linear }: Omit<CodesMlpShape, "topN">,
): Record<string, number[]> {
  return {
    b: [dOut],
    W1: [dSae, hidden],
    b1: [hidden],
    W2: [hidden, dOut],
    ...linear && { W: [dSae, dOut] },
  };
}

/**
 * Numbers that a network has to learn.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { mlpParameterCount } from "interlens";
 *
 * const shape = { dSae: 10, dOut: 4, hidden: 3, linear: false };
 * assertEquals(mlpParameterCount(shape), 10 * 3 + 3 + 3 * 4 + 4);
 * assertEquals(mlpParameterCount({ ...shape, linear: true }), 49 + 10 * 4);
 * ```
 */
export function mlpParameterCount(shape: Omit<CodesMlpShape, "topN">): number {
  return Object.values(mlpShapes(shape)).reduce(
    (sum, size) => sum + size.reduce((product, n) => product * n, 1),
    0,
  );
}

/**
 * Hidden units with which a network has as many parameters as another model, to the nearest.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { equalMlpWidth, mlpParameterCount, parameterCount } from "interlens";
 *
 * const sizes = { dSae: 2048, dOut: 576 };
 * const nfm = parameterCount({ ...sizes, parts: "both", head: "linear", K: 64 }).total;
 * const hidden = equalMlpWidth(nfm, { ...sizes, linear: true });
 * assertEquals(hidden, 64); // W1 is as wide as V, W2 as the head
 * assertEquals(mlpParameterCount({ ...sizes, linear: true, hidden }) - nfm, 64); // b1
 * ```
 *
 * @param parameters Numbers that the other model has learnt.
 * @param shape The rest of the shape.
 * @throws {RangeError} If they are not enough for one hidden unit.
 */
export function equalMlpWidth(
  parameters: number,
  shape: Omit<CodesMlpShape, "topN" | "hidden">,
): number {
  const fixed = mlpParameterCount({ ...shape, hidden: 0 });
  const each = mlpParameterCount({ ...shape, hidden: 1 }) - fixed;
  const hidden = Math.round((parameters - fixed) / each);
  if (!(hidden >= 1)) {
    throw new RangeError(
      `Cannot make a network of ${parameters} parameters: ${fixed} are fixed and each hidden unit ` +
        `takes ${each}; expected at least ${fixed + each}`,
    );
  }
  return hidden;
}

/** Loss and gradients of the scaled residual's mean squared error, in closed form. */
export function mlpLoss(
  { b, W1, b1, W2, W }: CodesMlpWeights,
  codes: SparseCodes,
  target: tf.Tensor2D,
  gradOf: (g: tf.Tensor2D) => tf.Tensor2D,
): { loss: tf.Scalar; grads: Record<string, tf.Tensor> } {
  const pre = tf.add(embeddingBag(codes, W1), b1);
  const hidden = tf.relu(pre) as tf.Tensor2D;
  const linear = W && embeddingBag(codes, W);
  const out = tf.add(tf.matMul(hidden, W2), b);
  const error = tf.sub(linear ? tf.add(out, linear) : out, target) as tf.Tensor2D;
  const g = tf.mul(error, 2 / error.size) as tf.Tensor2D;
  const gHidden = tf.mul(tf.matMul(g, W2, false, true), tf.step(pre)) as tf.Tensor2D;
  return {
    loss: tf.mean(tf.square(error)) as tf.Scalar,
    grads: {
      b: tf.sum(g, 0),
      W2: tf.matMul(hidden, g, true),
      b1: tf.sum(gHidden, 0),
      W1: gradOf(gHidden),
      ...W && { W: gradOf(g) },
    },
  };
}
