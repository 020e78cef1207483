/**
 * The gated MLP of LLaMA, SwiGLU (Shazeer, 2020, equation 6).
 *
 *     y = (silu(x W_gate) ∘ x W_up) W_down,  silu(a) = a / (1 + e^-a)
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { BlockRun } from "./run.ts";
import { Scope } from "./scope.ts";
import type { Steps } from "./steps.ts";

/** Weights of a gated MLP. */
export interface MlpWeights {
  /** `[d_model, d_mlp]` */
  readonly gate: tf.Tensor2D;
  /** `[d_model, d_mlp]` */
  readonly up: tf.Tensor2D;
  /** `[d_mlp, d_model]` */
  readonly down: tf.Tensor2D;
}

/** silu(gate) ∘ up. */
export function swiGlu(gate: tf.Tensor, up: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.mul(tf.mul(gate, tf.sigmoid(gate)), up));
}

/**
 * What the MLP adds to the residual stream.
 *
 * @param x Normalised residual, `[batch, pos, d_model]`.
 * @returns `[batch, pos, d_model]`, owned by the caller.
 */
export function* mlp(
  x: tf.Tensor3D,
  weights: MlpWeights,
  { at }: BlockRun,
): Steps<tf.Tensor3D> {
  using scope = new Scope();
  const [batch, pos, dModel] = x.shape;
  const rows = scope.run(() => tf.reshape(x, [batch * pos, dModel]) as tf.Tensor2D);
  const project = (w: tf.Tensor2D) =>
    scope.run(() => tf.reshape(tf.matMul(rows, w), [batch, pos, -1]) as tf.Tensor3D);

  const gate = yield* at("mlp.hook_pre", project(weights.gate), scope);
  const up = yield* at("mlp.hook_pre_linear", project(weights.up), scope);
  const hidden = scope.run(() => swiGlu(gate, up));
  scope.free(gate, up);
  const post = yield* at("mlp.hook_post", hidden, scope);
  return tf.tidy(() =>
    tf.reshape(tf.matMul(tf.reshape(post, [batch * pos, -1]), weights.down), [batch, pos, -1])
  );
}
