/**
 * A step of the ReLU autoencoder as one TensorFlow graph: element-wise ops on codes, `[dSae, tokens]`,
 * write where they read. The same arithmetic as `standard_loss.ts`, which is the portable twin.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { type CompiledGraph, Graph, type GraphTensor } from "../tensor/graph.ts";
import type { StepResult } from "../training/mod.ts";
import type { SaeWeights } from "./sae.ts";

interface StandardGraph {
  readonly graph: CompiledGraph;
  readonly outputs: Record<string, GraphTensor>;
}

let compiled: StandardGraph | undefined;

/** One step, as `standardLoss` gives it for an autoencoder; where graphs can run. */
export function standardGraphStep(
  { W_enc, b_enc, W_dec, b_dec }: SaeWeights,
  x: tf.Tensor2D,
  l1Coefficient: number,
): StepResult {
  const { graph, outputs } = compiled ??= build();
  return tf.tidy(() => {
    const constants = {
      lambda: tf.scalar(l1Coefficient),
      perToken: tf.scalar(1 / x.shape[0]),
    };
    const names = Object.keys(outputs);
    const tensors = graph.run(
      { W_enc, b_enc, W_dec, b_dec, x, ...constants },
      Object.values(outputs),
    );
    const found = Object.fromEntries(names.map((name, i) => [name, tensors[i]]));
    const { loss, fvu, l1, l0, ...grads } = found;
    return { grads, scalars: { loss, fvu, l1, l0 } as StepResult["scalars"] };
  });
}

function build(): StandardGraph {
  const g = new Graph();
  const [W_enc, b_enc, W_dec, b_dec, x, lambda, perToken] = [
    ...["W_enc", "b_enc", "W_dec", "b_dec", "x", "lambda", "perToken"].map((name) => g.input(name)),
  ];
  const product = (a: GraphTensor, b: GraphTensor, transpose_a: boolean, transpose_b: boolean) =>
    g.op("MatMul", [a, b], { T: "float32", transpose_a, transpose_b });
  const sum = (a: GraphTensor, axes: number[]) =>
    g.op("Sum", [a, g.ints(...axes)], { T: "float32", Tidx: "int32", keep_dims: false });
  const column = (a: GraphTensor) => g.reshape(a, g.ints(-1, 1));
  const add = (a: GraphTensor, b: GraphTensor) => g.op("AddV2", [a, b]);
  const sub = (a: GraphTensor, b: GraphTensor) => g.op("Sub", [a, b]);
  const mul = (a: GraphTensor, b: GraphTensor) => g.op("Mul", [a, b]);
  const square = (a: GraphTensor) => g.op("Square", [a]);

  const input = sub(x, b_dec);
  const f = g.op("Relu", [add(product(W_enc, input, true, true), column(b_enc))]);
  const norms = g.op("Sqrt", [sum(square(W_dec), [1])]);
  const activity = mul(sum(f, [1]), perToken);
  const l0 = mul(sum(sum(g.op("Sign", [f]), [1]), [0]), perToken);
  const error = sub(add(product(f, W_dec, true, false), b_dec), x);
  const squaredError = mul(sum(square(error), [0, 1]), perToken);
  const l1 = sum(mul(activity, norms), [0]);
  const variation = mul(sum(square(sub(x, mul(sum(x, [0]), perToken))), [0, 1]), perToken);

  const gError = mul(error, mul(perToken, g.scalar(2)));
  const toCode = product(W_dec, gError, false, true);
  const penalty = column(mul(norms, mul(lambda, perToken)));
  const preGrad = g.op("ReluGrad", [add(toCode, penalty), f]);
  const length = g.op("Maximum", [norms, g.scalar(1e-12)]);
  const directions = column(g.op("RealDiv", [mul(activity, lambda), length]));
  const b_encGrad = sum(preGrad, [1]);
  const throughInput = g.reshape(product(W_enc, column(b_encGrad), false, false), g.ints(-1));
  const outputs = {
    loss: add(squaredError, mul(l1, lambda)),
    fvu: g.op("RealDiv", [squaredError, variation]),
    l1,
    l0,
    W_enc: g.transpose(product(preGrad, input, false, false), [1, 0]),
    b_enc: b_encGrad,
    W_dec: add(product(f, gError, false, false), mul(W_dec, directions)),
    b_dec: sub(sum(gError, [0]), throughInput),
  };
  return { graph: g.compile(), outputs };
}
