/**
 * Gradients of a loss with respect to activations.
 *
 * tfjs differentiates with respect to the inputs of a function, and an activation is none. So each
 * activation that is watched passes through an identity with a second input, the anchor, a scalar
 * without effect: differentiating with respect to the anchor walks back through every watched
 * activation, and there the identity keeps the gradient that comes in. That holds even where a
 * hook replaced the activation by a constant.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** Watches an activation; what flows on must be the tensor that it returns. */
export type Watch = <T extends tf.Tensor>(name: string, activation: T) => T;

/**
 * Computes a loss and its gradient with respect to each activation that was watched.
 *
 * @param compute Returns the loss; all tensors it makes are disposed of unless marked with
 * `tf.keep`.
 * @returns The loss, and a gradient for each watched activation that the loss depends on, all owned
 * by the caller.
 * @throws {TypeError} If the loss is not a scalar tensor.
 * @throws {Error} If an op on the way has no gradient, naming it.
 */
export function lossGradients(
  compute: (watch: Watch) => tf.Tensor,
): { loss: tf.Scalar; gradients: Map<string, tf.Tensor> } {
  const engine = tf.engine();
  const gradients = new Map<string, tf.Tensor>();
  const anchor = tf.scalar(0);
  const watch: Watch = (name, activation) => {
    const identity = tf.customGrad((x, anchor) => ({
      value: tf.clone(x as tf.Tensor),
      gradFunc: (dy: tf.Tensor) => {
        gradients.set(name, tf.keep(tf.clone(dy)));
        return [dy, tf.zerosLike(anchor as tf.Tensor)];
      },
    }));
    return identity(activation, anchor) as typeof activation;
  };
  try {
    const loss = tf.tidy(() =>
      // A clone, since the loss may be a tensor of the caller's; the last argument allows a loss
      // that depends on nothing that is watched.
      engine.gradients(() => tf.clone(checkLoss(compute(watch))), [anchor], undefined, true).value
    );
    return { loss: loss as tf.Scalar, gradients };
  } catch (error) {
    for (const gradient of gradients.values()) gradient.dispose();
    // What ops saved for the way back is only disposed of at its end.
    for (const { saved } of engine.state.activeTape ?? []) tf.dispose(saved);
    throw error;
  } finally {
    anchor.dispose();
  }
}

function checkLoss(loss: unknown): tf.Tensor {
  if (loss instanceof tf.Tensor && loss.rank === 0 && loss.dtype === "float32") return loss;
  const given = loss instanceof tf.Tensor
    ? `${loss.dtype} of shape [${loss.shape}]`
    : loss instanceof Promise
    ? "a promise"
    : `a ${typeof loss}`;
  throw new TypeError(
    `gradientOf returned ${given}: expected a float32 scalar tensor, such as tf.sum gives`,
  );
}
