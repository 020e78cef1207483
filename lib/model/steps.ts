/**
 * One forward pass that runs in two ways.
 *
 * A hook may return a promise, so a run must be able to wait for it; tfjs records gradients only
 * while nothing waits. So the pass is written once, as generator functions: where a hook returned
 * a promise they yield it and go on with what it resolves to. A driver decides what that means:
 * {@link runAsync} awaits, {@link runSync} refuses.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";

/** What a hook returned that is not there yet. */
export interface Pending {
  /** Name of the hook point. */
  readonly hook: string;
  readonly promise: Promise<unknown>;
}

/** A computation that pauses where a hook returned a promise; call it with `yield*`. */
export type Steps<T> = Generator<Pending, T, unknown>;

/** Runs to the end, awaiting the promises of hooks. */
export async function runAsync<T>(steps: Steps<T>): Promise<T> {
  let turn = steps.next();
  while (!turn.done) {
    let value: unknown;
    try {
      value = await turn.value.promise;
    } catch (error) {
      turn = steps.throw(error);
      continue;
    }
    turn = steps.next(value);
  }
  return turn.value;
}

/**
 * Runs to the end without leaving the current turn of the event loop.
 *
 * @throws {TypeError} If a hook returns a promise, naming it.
 */
export function runSync<T>(steps: Steps<T>): T {
  const turn = steps.next();
  if (turn.done) return turn.value;
  const { hook, promise } = turn.value;
  // Nobody waits for it any more: neither its tensor nor its error may be left behind.
  promise.then((late) => late instanceof tf.Tensor && late.dispose(), () => {});
  steps.throw(
    new TypeError(
      `The hook at "${hook}" returned a promise: gradients need hooks that do not return promises`,
    ),
  );
  throw new Error("unreachable: a run does not go on after an error");
}
