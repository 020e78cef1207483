/**
 * A language model with named hook points.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import { ActivationCache, type NameFilter, nameTest } from "./cache.ts";
import { checkConfig, type ModelConfig } from "./config.ts";
import { generate, type GenerateOptions } from "./generate.ts";
import { type HookFn, type Hooks, HookTable, unknownName } from "./hooks.ts";
import { checkFits } from "./limits.ts";
import { allTensors, forward, type ForwardOptions, type LlamaWeights } from "./llama.ts";
import { hookNames } from "./names.ts";
import { type RopeTables, ropeTables } from "./rope.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";

/** Token ids of several sequences; shorter ones are padded at their end. */
export type Tokens = readonly ArrayLike<number>[];

/** Options of {@link Model.runWithCache}. */
export interface RunWithCacheOptions {
  /** What to keep. Default: every hook point, which is much memory. */
  names?: NameFilter;
  /** Ends before this block: pass l + 1 to reach `blocks.{l}`. Default: runs to the logits. */
  stopAtLayer?: number;
}

/** Options of {@link Model.runWithHooks}. */
export interface RunWithHooksOptions {
  /** What to call at which hook point. */
  hooks: Hooks;
  /** Ends before this block: pass l + 1 to reach `blocks.{l}`. Default: runs to the logits. */
  stopAtLayer?: number;
}

/**
 * A LLaMA-family language model: text to tokens to logits, and everything in between.
 *
 * Made by `loadModel` or `randomModel`. Hook points have TransformerLens' names
 * (`blocks.3.hook_resid_post`), weights are raw. Runs are independent of each other: a hook belongs
 * to the call it is given to.
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
  readonly #rope: RopeTables;

  /** Takes the weights over. Use `loadModel` or `randomModel`. */
  constructor(cfg: ModelConfig, tokenizer: Tokenizer, weights: LlamaWeights) {
    checkConfig(cfg);
    this.cfg = cfg;
    this.tokenizer = tokenizer;
    this.loadedLayers = weights.blocks.length;
    this.#weights = weights;
    this.#rope = ropeTables(cfg.contextLength, cfg.dHead, cfg.ropeTheta);
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
    return (await this.#run(tokens, []))!;
  }

  /**
   * Runs the model and keeps activations.
   *
   * @returns The cache, and the logits `[batch, pos, vocab]` unless the run stops at a layer. Both
   * are owned by the caller.
   * @throws {RangeError} If the tokens are not valid, or a name is not a hook point of the run.
   */
  async runWithCache(
    tokens: Tokens,
    { names, stopAtLayer }: RunWithCacheOptions = {},
  ): Promise<{ logits: tf.Tensor3D | undefined; cache: ActivationCache }> {
    const reached = this.#reached(stopAtLayer);
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
    const cache = new ActivationCache();
    try {
      const keep: HookFn = (tensor, { name }) => {
        cache.set(name, tf.keep(tf.clone(tensor)));
      };
      const hooks = Object.fromEntries(kept.map((name) => [name, keep]));
      const logits = await this.#run(tokens, hooks, { stopAtLayer });
      return { logits, cache };
    } catch (error) {
      cache.dispose();
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
    { hooks, stopAtLayer }: RunWithHooksOptions,
  ): Promise<tf.Tensor3D | undefined> {
    return await this.#run(tokens, hooks, { stopAtLayer });
  }

  /**
   * Goes on writing where the prompt ends.
   *
   * @param prompt Text; BOS is put in front if the model was trained with it.
   * @returns The text that follows the prompt, without it. It ends at the end-of-sequence token,
   * after `maxNewTokens`, or where the context is full.
   * @throws {RangeError} If an option is out of range or the prompt does not fit the context.
   */
  async generate(prompt: string, options: GenerateOptions): Promise<string> {
    this.#requireHead("generate text");
    return await generate(prompt, options, {
      cfg: this.cfg,
      tokenizer: this.tokenizer,
      logits: async (tokens, past) =>
        (await this.#run([tokens], [], { past, lastOnly: true })) as tf.Tensor3D,
    });
  }

  /** Disposes of the weights; the model cannot run any more. */
  dispose(): void {
    tf.dispose([...allTensors(this.#weights), this.#rope.cos, this.#rope.sin]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #run(
    tokens: Tokens,
    hooks: Hooks,
    { stopAtLayer, past, lastOnly }: Omit<ForwardOptions, "hooks"> = {},
  ): Promise<tf.Tensor3D | undefined> {
    const table = new HookTable(hooks, this.#reached(stopAtLayer));
    const ids = this.#pad(tokens, past?.length ?? 0);
    const [batch, pos] = ids.shape;
    const keys = pos + (past?.length ?? 0);
    const advice = "use fewer or shorter sequences at once";
    checkFits("attention scores", [batch, this.cfg.nHeads, pos, keys], advice);
    checkFits("MLP activations", [batch, pos, this.cfg.dMlp], advice);
    if (stopAtLayer === undefined && this.#weights.head) {
      checkFits("logits", [batch, lastOnly ? 1 : pos, this.cfg.vocabSize], advice);
    }
    const model = { cfg: this.cfg, weights: this.#weights, rope: this.#rope };
    try {
      return await forward(ids, model, { hooks: table, stopAtLayer, past, lastOnly });
    } finally {
      ids.dispose();
    }
  }

  #reached(stopAtLayer: number | undefined): string[] {
    if (stopAtLayer === undefined) return this.hookNames();
    if (!Number.isInteger(stopAtLayer) || stopAtLayer < 0 || stopAtLayer > this.loadedLayers) {
      throw new RangeError(
        `Cannot stop at layer ${stopAtLayer}: expected an integer in 0…${this.loadedLayers}` +
          (this.#weights.head ? "" : ", the layers that were loaded"),
      );
    }
    return hookNames(this.cfg, stopAtLayer);
  }

  #requireHead(what: string): void {
    if (!this.#weights.head) {
      throw new RangeError(
        `Cannot ${what} with a model that was loaded with stopAtLayer = ${this.loadedLayers}: ` +
          `load it without`,
      );
    }
  }

  /** Checks tokens and pads them at their end, `[batch, pos]`. */
  #pad(tokens: Tokens, offset: number): tf.Tensor2D {
    const { vocabSize, contextLength } = this.cfg;
    if (!(tokens.length > 0)) {
      throw new RangeError("Cannot run on no tokens: expected at least one sequence");
    }
    const pos = Math.max(...tokens.map(({ length }) => length));
    if (offset + pos > contextLength) {
      throw new RangeError(
        `Cannot run on a sequence of ${offset + pos} tokens: the context of "${this.cfg.name}" ` +
          `holds ${contextLength}; cut the text or split it`,
      );
    }
    const ids = new Int32Array(tokens.length * pos);
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
            `Cannot run on token ${id} at position ${p} of sequence ${i}: expected an integer ` +
              `in 0…${vocabSize - 1}`,
          );
        }
        ids[i * pos + p] = id;
      }
    });
    return tf.tensor2d(ids, [tokens.length, pos], "int32");
  }
}
