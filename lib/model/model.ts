/**
 * A language model with named hook points.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { type Attachment, withAttachments } from "./attachment.ts";
import { ActivationCache, type NameFilter, nameTest } from "./cache.ts";
import { checkConfig, type ModelConfig } from "./config.ts";
import { type GenerateOptions, stream, type StreamOptions } from "./generate.ts";
import { lossGradients, type Watch } from "./gradient.ts";
import { checkHook, type HookFn, hookPairs, type Hooks, HookTable, unknownName } from "./hooks.ts";
import { checkFits } from "./limits.ts";
import { allTensors, forward, type ForwardOptions, type LlamaWeights } from "./llama.ts";
import { hookNames } from "./names.ts";
import { atPositions, type Positions, resolvePositions } from "./positions.ts";
import { Rope } from "./rope.ts";
import { runAsync, runSync, type Steps } from "./steps.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { checkTokens, padTokens, type Tokens } from "./tokens.ts";

/** Options of {@link Model.runWithHooks}, and of every run. */
export interface RunOptions {
  /** What to call at which hook point. */
  hooks?: Hooks;
  /** What is spliced in, such as a dictionary, with hook points of its own. */
  attach?: readonly Attachment[];
  /** Ends before this block: pass l + 1 to reach `blocks.{l}`. Default: runs to the logits. */
  stopAtLayer?: number;
}

/** Options of {@link Model.runWithCache}. */
export interface RunWithCacheOptions extends RunOptions {
  /** What to keep. Default: every hook point, which is much memory. */
  names?: NameFilter;
  /**
   * Positions to keep, counted in the longest sequence. They are an axis of what is kept: axis 1,
   * or the queries, axis 2, of attention scores and patterns. Default: all.
   */
  positions?: Positions;
}

/** What a loss may depend on. */
export interface LossInput {
  /** `[batch, pos, vocab]`; undefined if the run stops at a layer. */
  readonly logits: tf.Tensor3D | undefined;
  /** The activations that are kept, as they are kept. */
  readonly cache: ActivationCache;
}

/** What {@link Model.runWithCache} gives; the caller owns all of it. */
export interface CachedRun {
  /** `[batch, pos, vocab]`; undefined if the run stopped at a layer. */
  logits: tf.Tensor3D | undefined;
  /** Activations by the name of their hook point. */
  cache: ActivationCache;
}

/** A cached run with gradients. */
export interface CachedRunWithGradients extends CachedRun {
  /** The loss. */
  loss: number;
  /** Gradients of the loss, with the names and shapes of the cache; 0 where it does not depend. */
  gradients: ActivationCache;
}

/** An intervention that holds until it is removed; `using` removes it at the end of the scope. */
export interface Splice extends Disposable {
  /** Its hook point. */
  readonly name: string;
  /** Ends it; runs that start later are without it. */
  remove(): void;
}

/**
 * A LLaMA-family language model: text to tokens to logits, and everything in between.
 *
 * Made by `loadModel` or `randomModel`. Hook points have TransformerLens' names
 * (`blocks.3.hook_resid_post`), weights are raw. Runs are independent of each other: a hook belongs
 * to the call it is given to, and only a splice, which `splices` lists, holds for later ones.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, randomModel, tf } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ nLayers: 2 }, 0);
 * const tokens = model.toTokens("abc");
 *
 * // What does the model predict if the second block sees nothing?
 * const logits = await model.runWithHooks(tokens, {
 *   hooks: { "blocks.1.hook_resid_pre": (x) => tf.zerosLike(x) }, // [batch, pos, d_model]
 * });
 * assertEquals(logits?.shape, [1, 4, model.cfg.vocabSize]); // BOS, a, b, c
 * logits?.dispose();
 * model.dispose();
 * ```
 */
export class Model implements Disposable {
  /** Sizes and constants. */
  readonly cfg: ModelConfig;
  /** Text to ids and back; never adds BOS. */
  readonly tokenizer: Tokenizer;
  /** Blocks that are in memory: fewer than `cfg.nLayers` if loaded with `stopAtLayer`. */
  readonly loadedLayers: number;
  readonly #weights: LlamaWeights;
  readonly #rope: Rope;
  readonly #splices = new Map<Splice, HookFn>();

  /** Takes the weights over. Use `loadModel` or `randomModel`. */
  constructor(cfg: ModelConfig, tokenizer: Tokenizer, weights: LlamaWeights) {
    checkConfig(cfg);
    this.cfg = cfg;
    this.tokenizer = tokenizer;
    this.loadedLayers = weights.blocks.length;
    this.#weights = weights;
    this.#rope = new Rope(cfg);
  }

  /**
   * Token ids of texts, with BOS in front of each unless told otherwise.
   *
   * @param text One text or several.
   * @returns One sequence a text; not padded.
   */
  toTokens(
    text: string | readonly string[],
    { prependBos = true }: { prependBos?: boolean } = {},
  ): number[][] {
    return [text].flat().map((one) => [
      ...prependBos ? [this.tokenizer.bosId] : [],
      ...this.tokenizer.encode(one),
    ]);
  }

  /** Names of every hook point in the order in which a run reaches them. */
  hookNames(): string[] {
    return hookNames(this.cfg, this.#weights.head ? undefined : this.loadedLayers);
  }

  /**
   * Logits of every position.
   *
   * Shorter sequences are padded at their end, which changes nothing before it: read the logits of
   * sequence i up to its own length.
   *
   * @returns `[batch, pos, vocab]`, owned by the caller.
   * @throws {RangeError} If the tokens are not valid, or the model was loaded with `stopAtLayer`.
   */
  async forward(tokens: Tokens): Promise<tf.Tensor3D> {
    this.#requireHead("compute logits");
    return (await runAsync(this.#run(tokens, {})))!;
  }

  /**
   * Runs the model and keeps activations.
   *
   * What is kept is what flows on: hooks of this call and splices come first.
   *
   * With `gradientOf` it also computes the gradient of a loss with respect to every activation that
   * is kept (`<name>_grad` in TransformerLens). The loss may depend on the logits and on the cache,
   * so it can be taken in the middle of the model with `stopAtLayer`. Hooks must not return
   * promises then.
   *
   * ```ts
   * import { assert, assertAlmostEquals } from "@std/assert";
   * import { openDevice, randomModel, tf } from "interlens";
   *
   * await openDevice();
   * using model = randomModel({ nLayers: 2 }, 0);
   * const name = "blocks.0.hook_resid_post";
   * const { loss, cache, gradients } = await model.runWithCache([[1, 5, 9]], {
   *   names: name,
   *   stopAtLayer: 1,
   *   gradientOf: ({ cache }) => tf.sum(tf.square(cache.get(name))),
   * });
   * const [x] = await cache.get(name).data(); // [batch, pos, d_model]
   * assertAlmostEquals((await gradients.get(name).data())[0], 2 * x, 1e-6);
   * assert(loss > 0);
   * cache.dispose();
   * gradients.dispose();
   * ```
   *
   * @param tokens Sequences of token ids.
   * @param options What to keep; `gradientOf`: the loss, a float32 scalar tensor, made of ops that
   * have gradients.
   * @returns Cache, gradients and logits are owned by the caller.
   * @throws {RangeError} If the tokens are not valid, a name is not a hook point of the run, a
   * position does not exist, or a hook returns another shape.
   * @throws {TypeError} If `gradientOf` returns anything but a scalar, or a hook a promise.
   */
  async runWithCache(
    tokens: Tokens,
    options: RunWithCacheOptions & { gradientOf: (run: LossInput) => tf.Tensor },
  ): Promise<CachedRunWithGradients>;
  async runWithCache(tokens: Tokens, options?: RunWithCacheOptions): Promise<CachedRun>;
  async runWithCache(
    tokens: Tokens,
    { names, positions, gradientOf, ...options }: RunWithCacheOptions & {
      gradientOf?: (run: LossInput) => tf.Tensor;
    } = {},
  ): Promise<CachedRun | CachedRunWithGradients> {
    const kept = selectNames(names, this.#reached(options));
    const length = checkTokens(tokens, this.cfg);
    const rows = positions === undefined ? undefined : resolvePositions(positions, length);
    const part = (t: tf.Tensor, name: string) => rows ? atPositions(t, name, rows) : tf.clone(t);
    const cache = new ActivationCache();
    const run = (watch?: Watch) => {
      const keep: HookFn = (tensor, { name }) => {
        const watched = watch ? watch(name, tensor) : tensor;
        cache.set(name, tf.keep(part(watched, name)));
        return watched;
      };
      const hooks = hookPairs(options.hooks ?? []).concat(kept.map((name) => [name, keep]));
      return this.#run(tokens, { ...options, hooks });
    };
    let logits: tf.Tensor3D | undefined;
    try {
      if (!gradientOf) return { logits: await runAsync(run()), cache };
      const { loss, gradients } = lossGradients((watch) => {
        logits = runSync(run(watch));
        if (logits) tf.keep(logits);
        return gradientOf({ logits, cache });
      });
      const all = new ActivationCache();
      for (const name of kept) {
        const gradient = gradients.get(name);
        all.set(name, gradient ? part(gradient, name) : tf.zerosLike(cache.get(name)));
        gradient?.dispose();
      }
      const [value] = await loss.data();
      loss.dispose();
      return { logits, cache, loss: value, gradients: all };
    } catch (error) {
      cache.dispose();
      logits?.dispose();
      throw error;
    }
  }

  /**
   * Runs the model with functions that see and may replace activations.
   *
   * @returns Logits `[batch, pos, vocab]`, owned by the caller; undefined if the run stops at a
   * layer.
   * @throws {RangeError} If the tokens are not valid, a name is not a hook point of the run, or a
   * hook returns another shape. What a hook throws passes through.
   */
  async runWithHooks(
    tokens: Tokens,
    options: RunOptions,
  ): Promise<tf.Tensor3D | undefined> {
    return await runAsync(this.#run(tokens, options));
  }

  /**
   * Holds an intervention in every later run of this model, each step of `generate` included, until
   * it is removed. Splices come before the hooks of a call, in the order in which they were made.
   *
   * ```ts
   * import { assertEquals, assertNotEquals } from "@std/assert";
   * import { openDevice, randomModel, tf } from "interlens";
   *
   * await openDevice();
   * const model = randomModel({}, 0);
   * const write = () => model.generate("abc", { maxNewTokens: 8 });
   * const before = await write();
   * {
   *   using _silenced = model.splice("blocks.1.hook_attn_out", (x) => tf.zerosLike(x));
   *   assertEquals(model.splices.map(({ name }) => name), ["blocks.1.hook_attn_out"]);
   *   assertNotEquals(await write(), before);
   * }
   * assertEquals(await write(), before);
   * model.dispose();
   * ```
   *
   * @param name Hook point.
   * @param fn What to do there.
   * @returns A handle that ends it.
   * @throws {RangeError} If the model has no such hook point.
   */
  splice(name: string, fn: HookFn): Splice {
    const names = this.hookNames();
    if (!names.includes(name)) throw unknownName(name, names);
    checkHook(name, fn);
    const remove = () => void this.#splices.delete(handle);
    const handle: Splice = { name, remove, [Symbol.dispose]: remove };
    this.#splices.set(handle, fn);
    return handle;
  }

  /** Interventions that hold now. */
  get splices(): readonly Splice[] {
    return [...this.#splices.keys()];
  }

  /**
   * Goes on writing where the prompt ends.
   *
   * Hooks, attachments and splices hold at every step; how a hook sees the positions is said at
   * `HookFn`.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { openDevice, randomModel } from "interlens";
   *
   * await openDevice();
   * const model = randomModel({}, 0);
   * let streamed = "";
   * const text = await model.generate("abc", {
   *   maxNewTokens: 8,
   *   onText: (piece) => streamed += piece,
   * });
   * assertEquals(streamed, text);
   * model.dispose();
   * ```
   *
   * @param prompt Text; BOS is put in front if the model was trained with it.
   * @returns The text that follows the prompt, without it. It ends at an end-of-sequence token,
   * after `maxNewTokens`, where the context is full, or where the signal stops it.
   * @throws {RangeError} If an option is out of range or the prompt does not fit the context.
   */
  async generate(prompt: string, options: GenerateOptions): Promise<string> {
    const { onText, ...rest } = options;
    let text = "";
    for await (const piece of this.stream(prompt, rest)) {
      text += piece;
      onText?.(piece);
    }
    return text;
  }

  /**
   * Goes on writing where the prompt ends, piece by piece. Ends early where the reader leaves its
   * loop.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { openDevice, randomModel } from "interlens";
   *
   * await openDevice();
   * using model = randomModel({}, 0);
   * const pieces: string[] = [];
   * for await (const piece of model.stream("abc", { maxNewTokens: 8, temperature: 1 })) {
   *   pieces.push(piece); // whole characters
   * }
   * const text = await model.generate("abc", { maxNewTokens: 8, temperature: 1 });
   * assertEquals(pieces.join(""), text);
   * ```
   *
   * @param prompt As for `generate`.
   * @throws {RangeError} As `generate` does.
   */
  async *stream(prompt: string, options: StreamOptions): AsyncGenerator<string, void> {
    this.#requireHead("generate text");
    const { hooks, attach } = options;
    yield* stream(prompt, options, {
      cfg: this.cfg,
      tokenizer: this.tokenizer,
      logits: async (tokens, past) =>
        (await runAsync(this.#run([tokens], { hooks, attach, past, lastOnly: true })))!,
    });
  }

  /** Disposes of the weights; the model cannot run any more. */
  dispose(): void {
    tf.dispose(allTensors(this.#weights));
    this.#rope.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  *#run(
    tokens: Tokens,
    { hooks = [], attach, past, lastOnly, ...options }:
      & RunOptions
      & Pick<ForwardOptions, "past" | "lastOnly">,
  ): Steps<tf.Tensor3D | undefined> {
    const { stopAtLayer } = options;
    const reached = this.#reached({ attach, stopAtLayer });
    const splices = [...this.#splices]
      .filter(([{ name }]) => reached.includes(name))
      .map(([{ name }, fn]) => [name, fn] as const);
    const all = [...splices, ...hookPairs(hooks)];
    const table = new HookTable({ hooks: all, reached, attach, tokens });
    const pos = checkTokens(tokens, this.cfg, past?.length);
    const batch = tokens.length;
    const keys = pos + (past?.length ?? 0);
    const advice = "use fewer or shorter sequences at once";
    checkFits("attention scores", [batch, this.cfg.nHeads, pos, keys], advice);
    checkFits("MLP activations", [batch, pos, this.cfg.dMlp], advice);
    if (stopAtLayer === undefined && this.#weights.head) {
      checkFits("logits", [batch, lastOnly ? 1 : pos, this.cfg.vocabSize], advice);
    }
    const model = { cfg: this.cfg, weights: this.#weights, rope: this.#rope };
    const ids = padTokens(tokens, pos);
    try {
      return yield* forward(ids, model, { hooks: table, stopAtLayer, past, lastOnly });
    } finally {
      ids.dispose();
    }
  }

  /** Hook points that a run reaches. */
  #reached({ stopAtLayer, attach = [] }: RunOptions): string[] {
    if (stopAtLayer === undefined) return withAttachments(this.hookNames(), attach);
    if (!Number.isInteger(stopAtLayer) || stopAtLayer < 0 || stopAtLayer > this.loadedLayers) {
      throw new RangeError(
        `Cannot stop at layer ${stopAtLayer}: expected an integer in 0…${this.loadedLayers}` +
          (this.#weights.head ? "" : ", the layers that were loaded"),
      );
    }
    return withAttachments(hookNames(this.cfg, stopAtLayer), attach);
  }

  #requireHead(what: string): void {
    if (!this.#weights.head) {
      throw new RangeError(
        `Cannot ${what} with a model that was loaded with stopAtLayer = ${this.loadedLayers}: ` +
          `load it without`,
      );
    }
  }
}

/** The hook points that a filter selects; each that it names must be reached. */
function selectNames(names: NameFilter | undefined, reached: string[]): string[] {
  for (const name of typeof names === "string" ? [names] : Array.isArray(names) ? names : []) {
    if (!reached.includes(name)) throw unknownName(name, reached);
  }
  const kept = reached.filter(nameTest(names));
  if (kept.length === 0) {
    throw new RangeError(
      `No hook point of this run matches ${names}: hookNames() lists all, such as ` +
        `"${reached.at(-1)}"; a point at or after stopAtLayer is not reached`,
    );
  }
  return kept;
}
