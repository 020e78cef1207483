/**
 * What a vector in the residual stream says about the next token, if nothing after it looks at it.
 *
 * @module
 */
import type { Model } from "../model/mod.ts";
import { tf } from "../tensor/mod.ts";

/** A token and how much its logit changes. */
export interface TokenEffect {
  readonly id: number;
  readonly text: string;
  /** Change of the logit, against the mean over all tokens. */
  readonly effect: number;
}

/** The tokens that a vector speaks for, and against. */
export interface LogitEffect {
  /** Largest first. */
  readonly promoted: readonly TokenEffect[];
  /** Smallest first. */
  readonly suppressed: readonly TokenEffect[];
}

/** A point behind which nothing but a weight and the unembedding follows. */
const LAST = "ln_final.hook_normalized";

/**
 * Direct effect of vectors on the logits: `(v / scale) ∘ w · W_U`, with w the weight of the final norm.
 * What later blocks make of the vectors is not in it, and the norm is taken as the constant `scale`,
 * since a small vector hardly changes it.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { effectOnLogits, openDevice, randomModel, Rng } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const v = new Rng(0).normals(4, 1);
 * const [there, back] = await effectOnLogits(model, [v, v.map((x) => -x)], { top: 3 });
 * assertEquals(there.promoted[0].id, back.suppressed[0].id);
 * assert(there.promoted[0].effect > 0);
 * ```
 *
 * @param model A whole model.
 * @param vectors In the units of the residual stream: what a factorization machine gives, divided by
 * the scale of the store's normaliser; each `[dModel]`.
 * @param options `top`: tokens on either side, default 10; `scale`: root mean square of the residual
 * stream at the end, default 1: effects are then in logits for a vector of that share of it.
 * @returns One a vector.
 * @throws {RangeError} If the model was loaded without its end, or a vector has another width.
 */
export async function effectOnLogits(
  model: Model,
  vectors: readonly ArrayLike<number>[],
  { top = 10, scale = 1 }: { top?: number; scale?: number } = {},
): Promise<LogitEffect[]> {
  const { dModel, vocabSize } = model.cfg;
  const wrong = vectors.find((vector) => vector.length !== dModel);
  if (wrong || !(scale > 0) || !model.hookNames().includes(LAST)) {
    throw new RangeError(
      wrong
        ? `Cannot project a vector of ${wrong.length} elements onto logits: the model has ${dModel}`
        : !(scale > 0)
        ? `Cannot project onto logits with scale ${scale}: expected above 0`
        : "Cannot project onto logits: the model was loaded without its end, load it whole",
    );
  }
  const count = vectors.length;
  if (count === 0) return [];
  const rows = Float32Array.from(
    { length: count * dModel },
    (_, i) => vectors[Math.floor(i / dModel)][i % dModel] / scale,
  );
  // Whatever the tokens are, what leaves the last norm is the vector.
  const logits = (await model.runWithHooks(vectors.map(() => [model.tokenizer.bosId]), {
    hooks: { [LAST]: () => tf.tensor3d(rows, [count, 1, dModel]) },
  }))!;
  const values = await logits.data<"float32">();
  logits.dispose();
  return vectors.map((_, at) => {
    const row = values.subarray(at * vocabSize, (at + 1) * vocabSize);
    const mean = row.reduce((all, value) => all + value, 0) / vocabSize;
    const order = Array.from(row, (_, id) => id).sort((a, b) => row[b] - row[a]);
    const named = (id: number): TokenEffect => ({
      id,
      text: model.tokenizer.decode([id]),
      effect: row[id] - mean,
    });
    return {
      promoted: order.slice(0, top).map(named),
      suppressed: order.slice(-top).reverse().map(named),
    };
  });
}
