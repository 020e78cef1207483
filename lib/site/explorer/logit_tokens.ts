/**
 * Which tokens a direction makes more and less likely by itself.
 *
 * @module
 */
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

/** What it needs of a model; `Model` has it. */
export interface LogitModel {
  /** `[n, d_model]` to `[n, vocab]`. */
  logitEffects(directions: tf.Tensor2D): tf.Tensor2D;
}

/** Directions whose effects on the whole vocabulary are on the device at a time. */
const CHUNK = 128;

/**
 * The tokens that each direction raises and lowers most.
 *
 * @param model Gives effects on logits.
 * @param directions `[n, d_model]`, in the units of the model.
 * @param count Tokens of each kind.
 */
export async function logitTokens(
  model: LogitModel,
  directions: tf.Tensor2D,
  count: number,
): Promise<LogitTokens[]> {
  const [n, dModel] = directions.shape;
  const found: LogitTokens[] = [];
  for (let start = 0; start < n; start += CHUNK) {
    const rows = Math.min(CHUNK, n - start);
    const tensors = tf.tidy(() => {
      const effects = model.logitEffects(tf.slice(directions, [start, 0], [rows, dModel]));
      const most = Math.min(count, effects.shape[1]);
      const high = tf.topk(effects, most);
      const low = tf.topk(tf.neg(effects), most);
      return [high.indices, high.values, low.indices, low.values];
    });
    const [highId, high, lowId, low] = await Promise.all(tensors.map((t) => t.data()));
    const most = tensors[0].shape[1]!;
    tf.dispose(tensors);
    for (let row = 0; row < rows; row++) {
      const list = (ids: ArrayLike<number>, effects: ArrayLike<number>, sign: number) =>
        Array.from({ length: most }, (_, i) => ({
          id: ids[row * most + i],
          effect: sign * effects[row * most + i],
        }));
      found.push({ raised: list(highId, high, 1), lowered: list(lowId, low, -1) });
    }
  }
  return found;
}
