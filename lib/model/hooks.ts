/**
 * Hooks: functions that see, and may replace, a tensor inside the forward pass.
 *
 * Hooks belong to one call. What holds for later calls too is a splice, which the model lists and
 * its handle removes; nothing else outlives a call, so nothing can be left behind by an error or
 * meet a run that it was not meant for.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { Attachment } from "./attachment.ts";
import { nearest } from "./names.ts";
import { Scope } from "./scope.ts";
import type { Steps } from "./steps.ts";
import type { Tokens } from "./tokens.ts";

/**
 * Sees a tensor of the forward pass; what it returns flows on instead.
 *
 * - The tensor it is given belongs to the run: it is valid during the call, and a hook that wants
 *   to keep it clones it.
 * - The tensor it returns belongs to the run from then on: return `tf.clone(mine)` to keep yours.
 *   Returning nothing, or the tensor it was given, changes nothing.
 * - A hook that does not return a promise runs inside `tf.tidy`: what it makes and neither returns
 *   nor marks with `tf.keep` is disposed of. One that does disposes of what it makes.
 * - While text is generated it is called once for the prompt and once for each token that is read
 *   after it, with those positions alone: `[1, prompt, …]`, then `[1, 1, …]`. Keys reach further:
 *   scores and patterns are `[1, head, pos, past + pos]`. From `ln_final` on there is only the last
 *   position.
 */
export type HookFn = (
  tensor: tf.Tensor,
  point: { readonly name: string },
) => tf.Tensor | void | Promise<tf.Tensor | void>;

/** Hooks of one call: by name, or in pairs where several share a point; pairs run in order. */
export type Hooks = Readonly<Record<string, HookFn>> | readonly (readonly [string, HookFn])[];

/** Hooks as pairs of name and function. */
export function hookPairs(hooks: Hooks): readonly (readonly [string, HookFn])[] {
  return Array.isArray(hooks) ? hooks : Object.entries(hooks);
}

/** What a run passes by. */
export interface Waiting {
  /** Hooks of the call. */
  hooks: Hooks;
  /** Names that the call will reach, the points of attachments included. */
  reached: string[];
  /** What is spliced in; hooks at the same point come before it. */
  attach?: readonly Attachment[];
  /** Token ids of the run. */
  tokens: Tokens;
}

/** Hooks and attachments by the point they wait at, in the order in which they were given. */
export class HookTable {
  readonly #hooks = new Map<string, HookFn[]>();
  readonly #attachments = new Map<string, Attachment[]>();
  readonly #tokens: Tokens;

  /**
   * @throws {RangeError} If a name is not among those that are reached, listing near names.
   * @throws {TypeError} If a hook is not a function.
   */
  constructor({ hooks, reached, attach = [], tokens }: Waiting) {
    const known = new Set(reached);
    for (const [name, hook] of hookPairs(hooks)) {
      if (!known.has(name)) throw unknownName(name, reached);
      checkHook(name, hook);
      const fns = this.#hooks.get(name);
      fns ? fns.push(hook) : this.#hooks.set(name, [hook]);
    }
    for (const attachment of attach) {
      const { hook } = attachment;
      if (!known.has(hook)) throw unknownName(hook, reached);
      const others = this.#attachments.get(hook);
      others ? others.push(attachment) : this.#attachments.set(hook, [attachment]);
    }
    this.#tokens = tokens;
  }

  /** True if something waits at this point. */
  has(name: string): boolean {
    return this.#hooks.has(name) || this.#attachments.has(name);
  }

  /**
   * Calls the hooks of a point, each with what the one before it returned, then the attachment.
   *
   * @param scope Takes over what they return, and frees what they replace.
   * @throws {RangeError} If a replacement has another shape or data type.
   */
  *at<T extends tf.Tensor>(name: string, tensor: T, scope: Scope): Steps<T> {
    let current = tensor;
    const replace = (replacement: unknown, by: string) => {
      if (replacement === undefined || replacement === current) return;
      try {
        checkReplacement(replacement, current, by);
      } catch (error) {
        if (replacement instanceof tf.Tensor) replacement.dispose();
        throw error;
      }
      scope.free(current);
      current = scope.own(replacement as T);
    };
    for (const hook of this.#hooks.get(name) ?? []) {
      const result = call(hook, current, name);
      const replacement = result instanceof Promise
        ? yield { hook: name, promise: result }
        : result;
      replace(replacement, `The hook at "${name}"`);
    }
    for (const attachment of this.#attachments.get(name) ?? []) {
      replace(yield* this.#attached(attachment, current), `What is attached to "${name}"`);
    }
    return current;
  }

  *#attached(attachment: Attachment, x: tf.Tensor): Steps<tf.Tensor> {
    using scope = new Scope();
    const result = yield* attachment.run(x, {
      tokens: this.#tokens,
      // A clone, since it may return what is not its own, such as x or a weight.
      own: (compute) => scope.run(() => tf.clone(compute())),
      at: (point, tensor) => this.at(`${attachment.hook}.${point}`, tensor, scope),
    });
    return result === x ? x : scope.release(result);
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

/** @throws {TypeError} If a hook is not a function. */
export function checkHook(name: string, hook: unknown): void {
  if (typeof hook !== "function") {
    throw new TypeError(`Cannot hook "${name}" with a ${typeof hook}: expected a function`);
  }
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

function checkReplacement(replacement: unknown, given: tf.Tensor, by: string): void {
  if (!(replacement instanceof tf.Tensor)) {
    throw new TypeError(
      `${by} returned a ${typeof replacement}: expected a tensor of shape [${given.shape}], or ` +
        `nothing to leave the activation as it is`,
    );
  }
  if (replacement.isDisposed) {
    throw new TypeError(
      `${by} returned a tensor that was disposed of: the run disposes of what a hook returns, so ` +
        `return tf.clone(yours) to keep yours`,
    );
  }
  if (`${replacement.shape}` !== `${given.shape}` || replacement.dtype !== given.dtype) {
    throw new RangeError(
      `${by} returned ${replacement.dtype} of shape [${replacement.shape}]: expected ` +
        `${given.dtype} of shape [${given.shape}]`,
    );
  }
}
