import { tf } from "../../lib/tensor/mod.ts";
import type { ActivationSource } from "../../lib/activations/mod.ts";

export const HOOK = "blocks.3.hook_resid_post";
/** Another hook point, with twice as many elements and the negative of the values. */
export const OTHER = "blocks.1.hook_mlp_out";
export const BOS = 0;

/** What a fake run was asked for. */
export interface FakeRun {
  lengths: number[];
  names: string | string[];
  stopAtLayer?: number;
}

/**
 * A model whose activation at a token is known: dimension j is `token + position / 1000 + j`, and
 * BOS is a sink. Its tokens are letters, "a" being 1.
 */
export function fakeSource(
  width: number,
  { contextLength = 64, hash = "fake", at = activationAt, afterRun }: {
    contextLength?: number;
    hash?: string;
    at?: (token: number, position: number, j: number) => number;
    afterRun?: (run: FakeRun) => void;
  } = {},
): ActivationSource & { runs: FakeRun[] } {
  const runs: FakeRun[] = [];
  return {
    runs,
    cfg: { name: "fake", hash, contextLength },
    tokenizer: {
      bosId: BOS,
      encode: (text) => [...text].map((letter) => letter.charCodeAt(0) - 96),
    },
    hookNames: () => ["blocks.3.attn.hook_pattern", OTHER, HOOK],
    runWithCache: (tokens, { names, stopAtLayer }) => {
      const lengths = tokens.map((sequence) => sequence.length);
      const pos = Math.max(...lengths);
      const values = new Float32Array(tokens.length * pos * width).fill(NaN);
      tokens.forEach((sequence, i) =>
        sequence.forEach((token, position) => {
          for (let j = 0; j < width; j++) {
            values[(i * pos + position) * width + j] = token === BOS ? 1e6 : at(token, position, j);
          }
        })
      );
      const wide = Float32Array.from(
        { length: 2 * values.length },
        (_, i) => -values[Math.floor(i / 2)],
      );
      const tensors = [names].flat().map((name) => {
        if (name === OTHER) return tf.tensor(wide, [tokens.length, pos, 2 * width]);
        const whole = name === HOOK;
        return tf.tensor(
          values,
          whole ? [tokens.length, pos, width] : [tokens.length, pos, 1, width],
        );
      });
      const run = { lengths, names, stopAtLayer };
      runs.push(run);
      afterRun?.(run);
      const cache = {
        get: (name: string) => tensors[[names].flat().indexOf(name)],
        dispose: () => tf.dispose(tensors),
      };
      return Promise.resolve({ logits: undefined, cache });
    },
  };
}

export function activationAt(token: number, position: number, j: number): number {
  return Math.fround(token + position / 1000 + j);
}

/** Runs `use` without what it prints. */
export async function quietly<T>(use: () => Promise<T>): Promise<T> {
  const { log } = console;
  const { writeSync } = Deno.stderr;
  console.log = () => {};
  Deno.stderr.writeSync = (bytes) => bytes.length;
  try {
    return await use();
  } finally {
    console.log = log;
    Deno.stderr.writeSync = writeSync;
  }
}
