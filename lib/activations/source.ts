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
  /** Runs the model on padded sequences and keeps activations, `[batch, pos, width]`. */
  runWithCache(
    tokens: number[][],
    options: { names: string | string[]; stopAtLayer?: number },
  ): Promise<{
    logits: tf.Tensor | undefined;
    cache: { get(name: string): tf.Tensor; dispose(): void };
  }>;
}

/**
 * Block at which a run may stop once all hook points were reached; undefined: it must run to its
 * end.
 */
export function stopAfter(hooks: readonly string[]): number | undefined {
  const blocks = hooks.map((hook) => {
    if (hook === "hook_embed") return 0;
    const block = /^blocks\.(\d+)\./.exec(hook);
    return block ? Number(block[1]) + 1 : Infinity;
  });
  const last = Math.max(...blocks);
  return Number.isFinite(last) && last > 0 ? last : undefined;
}

/** Activations of one hook point, row by row. */
export interface HookValues {
  /** `[batch · pos, width]` in row-major order. */
  readonly values: Float32Array;
  /** Elements of a row. */
  readonly width: number;
}

/**
 * Activations of a batch of sequences at some hook points, in one run.
 *
 * @returns Values by hook, in the order of `hooks`; `pos` is the longest sequence's length.
 * @throws {Error} If a hook point's tensor is not `[batch, pos, width]`.
 */
export async function activationsOf(
  model: ActivationSource,
  tokens: number[][],
  hooks: readonly string[],
): Promise<{ at: HookValues[]; pos: number }> {
  const { logits, cache } = await model.runWithCache(tokens, {
    names: hooks.length === 1 ? hooks[0] : [...hooks],
    stopAtLayer: stopAfter(hooks),
  });
  try {
    const at: HookValues[] = [];
    for (const hook of hooks) {
      const tensor = cache.get(hook);
      const [batch, , width] = tensor.shape;
      if (tensor.shape.length !== 3 || batch !== tokens.length) {
        throw new RangeError(
          `Cannot harvest "${hook}" of shape [${tensor.shape}]: expected [batch, pos, width], one ` +
            `vector for each token, such as "blocks.0.hook_resid_post" has`,
        );
      }
      at.push({ values: await tensor.data<"float32">(), width });
    }
    return { at, pos: Math.max(...tokens.map((sequence) => sequence.length)) };
  } finally {
    cache.dispose();
    if (logits) tf.dispose(logits);
  }
}
