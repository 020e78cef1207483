/**
 * Which tokens directions of the residual stream make more and less likely by themselves: what
 * `effectOnLogits` says of a few vectors, for thousands, of which only the best tokens leave the device.
 *
 * @module
 */
import type { Model } from "../../model/mod.ts";
import { tf } from "../../tensor/mod.ts";

/** A token and the direct effect of a direction on its logit. */
export interface LogitEffect {
  /** Token id. */
  readonly id: number;
  /** Effect of a unit of activation, less the mean over the vocabulary; it ranks tokens. */
  readonly effect: number;
}

/** Tokens that a direction raises and lowers most. */
export interface LogitTokens {
  /** Largest first. */
  readonly raised: readonly LogitEffect[];
  /** Most negative first. */
  readonly lowered: readonly LogitEffect[];
}

/** A point behind which nothing but the norm's weight and the unembedding follows. */
const LAST = "ln_final.hook_normalized";
/** Directions whose effects on the whole vocabulary are on the device at a time. */
const CHUNK = 128;

/**
 * Effects of unit directions on the logits, less their mean over the vocabulary: the unembedding through
 * the weight of the final norm. A product with it is the effect of any direction.
 *
 * @param model A whole model.
 * @returns `[d_model, vocab]`, the caller's.
 */
export async function unembedding(
  model: Pick<Model, "cfg" | "runWithHooks" | "tokenizer">,
): Promise<tf.Tensor2D> {
  const { dModel } = model.cfg;
  const parts: tf.Tensor[] = [];
  for (let start = 0; start < dModel; start += CHUNK) {
    const rows = Math.min(CHUNK, dModel - start);
    const units = () => {
      const chosen = tf.oneHot(tf.range(start, start + rows, 1, "int32"), dModel);
      return tf.reshape(tf.cast(chosen, "float32"), [rows, 1, dModel]);
    };
    // Whatever the token is, what leaves the last norm is the direction.
    const logits = await model.runWithHooks(
      Array.from({ length: rows }, () => [model.tokenizer.bosId]),
      { hooks: { [LAST]: units } },
    );
    parts.push(logits!);
  }
  const effects = tf.tidy(() => {
    const all = tf.reshape(tf.concat(parts), [dModel, -1]);
    return tf.sub(all, tf.mean(all, 1, true)) as tf.Tensor2D;
  });
  tf.dispose(parts);
  return effects;
}

/**
 * The tokens that each direction raises and lowers most.
 *
 * @param unembedding From `unembedding`, `[d_model, vocab]`.
 * @param directions `[n, d_model]`, in the units of the model.
 * @param options `count`: tokens of each kind; `step`: told how many directions were done.
 */
export async function logitTokens(
  unembedding: tf.Tensor2D,
  directions: tf.Tensor2D,
  { count, step }: { count: number; step?: (rows: number) => void },
): Promise<LogitTokens[]> {
  const [n, dModel] = directions.shape;
  const most = Math.min(count, unembedding.shape[1]);
  const found: LogitTokens[] = [];
  for (let start = 0; start < n; start += CHUNK) {
    const rows = Math.min(CHUNK, n - start);
    const tensors = tf.tidy(() => {
      const effects = tf.matMul(tf.slice(directions, [start, 0], [rows, dModel]), unembedding);
      const high = tf.topk(effects, most);
      const low = tf.topk(tf.neg(effects), most);
      return [high.indices, high.values, low.indices, low.values];
    });
    const [highId, high, lowId, low] = await Promise.all(tensors.map((t) => t.data()));
    tf.dispose(tensors);
    for (let row = 0; row < rows; row++) {
      const list = (ids: ArrayLike<number>, effects: ArrayLike<number>, sign: number) =>
        Array.from({ length: most }, (_, i) => ({
          id: ids[row * most + i],
          effect: sign * effects[row * most + i],
        }));
      found.push({ raised: list(highId, high, 1), lowered: list(lowId, low, -1) });
    }
    step?.(rows);
  }
  return found;
}
