/**
 * Hooks: functions that see, and may replace, a tensor inside the forward pass.
 *
 * Hooks belong to one call. Nothing is registered on the model, so nothing can
 * be left behind by an error or meet a run that it was not meant for.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { nearest } from "./names.ts";
import type { Scope } from "./scope.ts";

/**
 * Sees a tensor of the forward pass; what it returns flows on instead.
 *
 * - The tensor it is given belongs to the run: it is valid during the call, and a hook that wants
 *   to keep it clones it.
 * - The tensor it returns belongs to the run from then on: return `tf.clone(mine)` to keep yours.
 *   Returning nothing, or the tensor it was given, changes nothing.
 * - A hook that does not return a promise runs inside `tf.tidy`: what it makes and neither returns
 *   nor marks with `tf.keep` is disposed of. One that does disposes of what it makes.
 */
export type HookFn = (
  tensor: tf.Tensor,
  point: { readonly name: string },
) => tf.Tensor | void | Promise<tf.Tensor | void>;

/** Hooks of one call: by name, or in pairs where several share a point; pairs run in order. */
export type Hooks = Readonly<Record<string, HookFn>> | readonly (readonly [string, HookFn])[];

/** Hooks by the point they are called at, in the order in which they were given. */
export class HookTable {
  readonly #byName = new Map<string, HookFn[]>();

  /**
   * @param hooks Hooks of the call.
   * @param reached Names that the call will reach.
   * @throws {RangeError} If a hook's name is not among them, listing near names.
   * @throws {TypeError} If a hook is not a function.
   */
  constructor(hooks: Hooks, reached: string[]) {
    const known = new Set(reached);
    const pairs = (Array.isArray(hooks) ? hooks : Object.entries(hooks)) as [string, HookFn][];
    for (const [name, hook] of pairs) {
      if (!known.has(name)) throw unknownName(name, reached);
      if (typeof hook !== "function") {
        throw new TypeError(`Cannot hook "${name}" with a ${typeof hook}: expected a function`);
      }
      const fns = this.#byName.get(name);
      fns ? fns.push(hook) : this.#byName.set(name, [hook]);
    }
  }

  /** True if a hook waits at this point. */
  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /**
   * Calls the hooks of a point, each with what the one before it returned.
   *
   * @param scope Takes over what the hooks return, and frees what they replace.
   * @throws {RangeError} If a replacement has another shape or data type.
   */
  async at<T extends tf.Tensor>(name: string, tensor: T, scope: Scope): Promise<T> {
    let current = tensor;
    for (const hook of this.#byName.get(name) ?? []) {
      const replacement = await call(hook, current, name);
      if (replacement === undefined || replacement === current) continue;
      try {
        checkReplacement(replacement, current, name);
      } catch (error) {
        if (replacement instanceof tf.Tensor) replacement.dispose();
        throw error;
      }
      scope.free(current);
      current = scope.own(replacement as T);
    }
    return current;
  }
}

/** An error that names what was asked for and what it may have meant. */
export function unknownName(name: string, reached: string[]): RangeError {
  return new RangeError(
    `No hook point "${name}" in this run: did you mean ${
      nearest(name, reached).map((near) => `"${near}"`).join(", ")
    }? hookNames() lists all; a point at or after stopAtLayer is not reached`,
  );
}

/** `tf.tidy` for a function that may turn out to be asynchronous. */
function call(hook: HookFn, tensor: tf.Tensor, name: string): ReturnType<HookFn> {
  const engine = tf.engine();
  let result: ReturnType<HookFn>;
  let kept: tf.TensorContainer = [];
  engine.startScope(name);
  try {
    result = hook(tensor, { name });
    // A promise still computes with what it made so far: that outlives the scope.
    kept = result instanceof Promise ? [...engine.state.activeScope.track] : result ?? [];
  } finally {
    engine.endScope(kept);
  }
  return result;
}

function checkReplacement(replacement: unknown, given: tf.Tensor, name: string): void {
  if (!(replacement instanceof tf.Tensor)) {
    throw new TypeError(
      `The hook at "${name}" returned a ${typeof replacement}: expected a tensor of shape ` +
        `[${given.shape}], or nothing to leave the activation as it is`,
    );
  }
  if (`${replacement.shape}` !== `${given.shape}` || replacement.dtype !== given.dtype) {
    throw new RangeError(
      `The hook at "${name}" returned ${replacement.dtype} of shape [${replacement.shape}]: ` +
        `expected ${given.dtype} of shape [${given.shape}]`,
    );
  }
}
