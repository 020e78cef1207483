/**
 * What a step of training costs, by arithmetic.
 *
 * @module
 */
import { type NfmShape, parameterCount } from "./nfm_config.ts";

/** A step. */
export interface NfmStep {
  /** Tokens of the batch. */
  readonly tokens: number;
  /** Features that the batch uses. Default: as many as `topN` draws a token from all would use. */
  readonly used?: number;
}

/** Bytes and floating point operations of a step that updates rows. */
export interface NfmCost {
  /** Parameters and both moments of Adam, float32. */
  readonly stateBytes: number;
  /** Rows in use, their squares, gradients and updates, at the worst moment. */
  readonly stepBytes: number;
  /** The same of the study's formulation, of f_i v_ik for every feature: `[tokens, dSae, K]`. */
  readonly studyBytes: number;
  /** Multiplications and additions: forward, backward and update. */
  readonly flops: {
    /** `f W` and its gradient: 4 tokens · topN · dOut. */
    readonly linear: number;
    /** S, Q and both products of their gradient: 8 tokens · topN · K. */
    readonly pooling: number;
    /** 6 tokens · K · dOut, and 6 tokens · K² for the ReLU head. */
    readonly head: number;
    /** Some 15 an element of what is updated. */
    readonly adam: number;
    readonly total: number;
  };
}

/** Bytes of a float32. */
const FLOAT = 4;

/**
 * Predicts a step on a CPU.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { nfmCost } from "interlens";
 *
 * const study = { parts: "both", head: "linear", dSae: 50_000, dOut: 3200, K: 150, topN: 100 } as const;
 * const { flops, studyBytes, stateBytes } = nfmCost(study, { tokens: 4096 });
 * assertAlmostEquals(flops.pooling, 0.49e9, 0.01e9);
 * assertAlmostEquals(studyBytes, 123e9, 1e9);
 * assertEquals(stateBytes, 12 * (50_000 * 3200 + 50_000 * 150 + 150 * 3200 + 3200));
 * ```
 *
 * @param shape The model.
 * @param step The batch.
 */
export function nfmCost(shape: NfmShape, { tokens, used }: NfmStep): NfmCost {
  const { parts, head, dSae, dOut, K, topN } = shape;
  const pairs = parts !== "linear";
  const rows = used ?? dSae * (1 - (1 - topN / dSae) ** tokens);
  const [W, V] = [parts === "interaction" ? 0 : rows * dOut, pairs ? rows * K : 0];
  const { total, head: headCount } = parameterCount(shape);
  // W: rows and gradient. V: rows, squares, two products and their difference.
  const elements = 2 * W + 5 * V + 3 * headCount + tokens * (4 * dOut + 6 * (pairs ? K : 0));
  const linear = 4 * tokens * topN * (parts === "interaction" ? 0 : dOut);
  const pooling = pairs ? 8 * tokens * topN * K : 0;
  const heads = pairs ? 6 * tokens * K * (dOut + (head === "relu" ? K : 0)) : 0;
  const adam = 15 * (W + V + headCount + dOut);
  return {
    stateBytes: 3 * FLOAT * total,
    stepBytes: FLOAT * elements,
    studyBytes: pairs ? FLOAT * tokens * dSae * K : 0,
    flops: { linear, pooling, head: heads, adam, total: linear + pooling + heads + adam },
  };
}
