/**
 * Token ids on their way into a run.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { ModelConfig } from "./config.ts";

/** Token ids of several sequences; shorter ones are padded at their end. */
export type Tokens = readonly ArrayLike<number>[];

/**
 * Refuses what no run can take.
 *
 * @param past Positions that came before.
 * @returns The length of the longest sequence.
 * @throws {RangeError} Naming the sequence and the position.
 */
export function checkTokens(
  tokens: Tokens,
  { name, vocabSize, contextLength }: ModelConfig,
  past = 0,
): number {
  if (!(tokens.length > 0)) {
    throw new RangeError("Cannot run on no tokens: expected at least one sequence");
  }
  const pos = Math.max(...tokens.map(({ length }) => length));
  if (past + pos > contextLength) {
    throw new RangeError(
      `Cannot run on a sequence of ${past + pos} tokens: the context of "${name}" holds ` +
        `${contextLength}; cut the text or split it`,
    );
  }
  tokens.forEach((sequence, i) => {
    if (!(sequence.length > 0)) {
      throw new RangeError(
        `Cannot run on sequence ${i}: it is ${
          sequence.length === 0 ? "empty" : "not a list of token ids"
        }; tokens are given as [[id, …], …]`,
      );
    }
    for (let p = 0; p < sequence.length; p++) {
      const id = sequence[p];
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
        throw new RangeError(
          `Cannot run on token ${id} at position ${p} of sequence ${i}: expected an integer in ` +
            `0…${vocabSize - 1}`,
        );
      }
    }
  });
  return pos;
}

/** Sequences padded with 0 at their end, int32 `[batch, pos]`. */
export function padTokens(tokens: Tokens, pos: number): tf.Tensor2D {
  const ids = new Int32Array(tokens.length * pos);
  tokens.forEach((sequence, i) => ids.set(sequence, i * pos));
  return tf.tensor2d(ids, [tokens.length, pos], "int32");
}
