/**
 * What a harvest needs of a model, and what it takes from it.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { PackTokenizer } from "../corpus/mod.ts";

/** The part of a model that a harvest uses; `Model` has it. */
export interface ActivationSource {
  /** Sizes and identity of the model. */
  readonly cfg: {
    /** Name, for the manifest. */
    readonly name: string;
    /** Hash of the weights: another model is another store. */
    readonly hash: string;
    /** Longest sequence in tokens. */
    readonly contextLength: number;
  };
  /** Text to ids, without BOS. */
  readonly tokenizer: PackTokenizer;
  /** Names of the hook points. */
  hookNames(): string[];
  /** Runs the model on padded sequences and keeps one activation, `[batch, pos, width]`. */
  runWithCache(
    tokens: number[][],
    options: { names: string; stopAtLayer?: number },
  ): Promise<{
    logits: tf.Tensor | undefined;
    cache: { get(name: string): tf.Tensor; dispose(): void };
  }>;
}

/** Block at which a run may stop once the hook point was reached; undefined: it must run to its end. */
export function stopAfter(hook: string): number | undefined {
  const block = /^blocks\.(\d+)\./.exec(hook);
  return block ? Number(block[1]) + 1 : undefined;
}

/**
 * Activations of a batch of sequences.
 *
 * @returns Values `[batch, pos, width]` in row-major order; `pos` is the longest sequence's length.
 * @throws {Error} If the hook point's tensor is not `[batch, pos, width]`.
 */
export async function activationsOf(
  model: ActivationSource,
  tokens: number[][],
  hook: string,
): Promise<{ values: Float32Array; pos: number; width: number }> {
  const { logits, cache } = await model.runWithCache(tokens, {
    names: hook,
    stopAtLayer: stopAfter(hook),
  });
  try {
    const tensor = cache.get(hook);
    const [batch, pos, width] = tensor.shape;
    if (tensor.shape.length !== 3 || batch !== tokens.length) {
      throw new RangeError(
        `Cannot harvest "${hook}" of shape [${tensor.shape}]: expected [batch, pos, width], one ` +
          `vector for each token, such as "blocks.0.hook_resid_post" has`,
      );
    }
    return { values: await tensor.data<"float32">(), pos, width };
  } finally {
    cache.dispose();
    if (logits) tf.dispose(logits);
  }
}
