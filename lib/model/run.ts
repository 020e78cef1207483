/**
 * What a layer needs to know about the run that it is part of.
 *
 * @module
 */
import type { tf } from "../tensor/mod.ts";
import type { KeyValues } from "./attention.ts";
import type { ModelConfig } from "./config.ts";
import type { RopeTables } from "./rope.ts";
import type { Scope } from "./scope.ts";
import type { Steps } from "./steps.ts";

/** Passes a tensor by a hook point; what comes back flows on and belongs to the scope if new. */
export type RunPoint<Name extends string> = <T extends tf.Tensor>(
  name: Name,
  tensor: T,
  scope: Scope,
) => Steps<T>;

/** What a block knows of earlier positions. The cache owns all tensors in it. */
export interface PastKeys {
  /** Keys and values so far; undefined in the first run. */
  readonly held: KeyValues | undefined;
  /** Takes over keys and values that continue those held, and returns all of them. */
  append(now: KeyValues): KeyValues;
  /** Takes over keys and values in place of those held. */
  replace(all: KeyValues): void;
}

/** One run as a block sees it. */
export interface BlockRun {
  readonly cfg: ModelConfig;
  /** Hook points by their name inside the block. */
  readonly at: RunPoint<string>;
  /** True if something waits at this point of the block. */
  hooked(name: string): boolean;
  /** Tables of the positions of this run. */
  readonly rope: RopeTables;
  /** `[pos, past + pos]`, absent where a single query sees all keys. */
  readonly mask: tf.Tensor2D | undefined;
  /** Keys and values that go on from run to run; absent where a run stands alone. */
  readonly past?: PastKeys;
}
