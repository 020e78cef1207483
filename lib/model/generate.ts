/**
 * Writing on: one token after the other, each chosen from the logits of the last position.
 *
 * @module
 */
import { Rng, type tf } from "../tensor/mod.ts";
import { TextStream, type Tokenizer } from "../tokenizer/mod.ts";
import { whileRunning } from "../training/mod.ts";
import type { Attachment } from "./attachment.ts";
import type { ModelConfig } from "./config.ts";
import type { Hooks } from "./hooks.ts";
import { KvCache } from "./llama.ts";

/** How to choose tokens, how many, and what to do on the way. */
export interface StreamOptions extends SampleOptions {
  /** Tokens to write at most. */
  maxNewTokens: number;
  /** Seed of the sampling; the same seed gives the same text. Default 0. */
  seed?: number;
  /** What to call at which hook point, at every step. */
  hooks?: Hooks;
  /** What is spliced in at every step, such as a dictionary. */
  attach?: readonly Attachment[];
  /** Ends the text where it is; `stopSignal()` listens to the Stop button. */
  signal?: AbortSignal;
}

/** How to choose a token from logits. */
export interface SampleOptions {
  /** Divides the logits: 0 (default) always takes the likeliest token, 1 samples as trained. */
  temperature?: number;
  /** Samples from this many of the likeliest tokens only. Default: all. */
  topK?: number;
  /** Samples from the fewest tokens whose probabilities reach this sum, in (0, 1]. Default 1. */
  topP?: number;
}

/** Options of `generate`. */
export interface GenerateOptions extends StreamOptions {
  /** Called with each piece of text as it is written; the pieces join to what is returned. */
  onText?: (piece: string) => void;
}

/** What generation needs of a model. */
export interface Generator {
  readonly cfg: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Logits after the last of these tokens, `[1, 1, vocab]`, given what `past` holds. */
  logits(tokens: number[], past: KvCache): Promise<tf.Tensor3D>;
}

/**
 * The text that follows a prompt, in pieces of whole characters.
 *
 * @throws {RangeError} If an option is out of range, or the prompt does not fit the context.
 */
export async function* stream(
  prompt: string,
  options: StreamOptions,
  model: Generator,
): AsyncGenerator<string, void> {
  const { tokenizer } = model;
  const start = promptTokens(prompt, model);
  const text = new TextStream(tokenizer, start);
  for await (const id of tokenStream(start, options, model)) {
    const piece = text.push(id);
    if (piece) yield piece;
  }
  const rest = text.end();
  if (rest) yield rest;
}

function promptTokens(prompt: string, { tokenizer, cfg }: Generator): number[] {
  const tokens = [...tokenizer.addBos ? [tokenizer.bosId] : [], ...tokenizer.encode(prompt)];
  if (tokens.length === 0) {
    throw new RangeError(
      `Cannot go on from an empty prompt: "${cfg.name}" has no token that begins a text; write at ` +
        `least one`,
    );
  }
  if (tokens.length > cfg.contextLength) {
    throw new RangeError(
      `Cannot go on from a prompt of ${tokens.length} tokens: the context of "${cfg.name}" holds ` +
        `${cfg.contextLength}; shorten the prompt`,
    );
  }
  return tokens;
}

/** The tokens that follow; what ends a text is not among them. */
async function* tokenStream(
  prompt: number[],
  options: StreamOptions,
  { tokenizer, cfg, logits }: Generator,
): AsyncGenerator<number, void> {
  const { maxNewTokens, seed = 0, signal } = options;
  checkOptions(options);
  const rng = new Rng(seed, "generate");
  const ends = new Set([cfg.eosId, tokenizer.eosId, ...tokenizer.eosIds ?? []]);
  // An interrupt may abort the signal until the reader is done with the tokens, or leaves.
  const done = Promise.withResolvers<void>();
  const running = whileRunning(signal, () => done.promise);
  try {
    using past = new KvCache();
    let next = prompt;
    for (let written = 0; written < maxNewTokens; written++) {
      if (past.length + next.length > cfg.contextLength) return;
      // A turn of the event loop, in which the Stop button can be heard.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (signal?.aborted) return;
      const scores = await logits(next, past);
      const values = await scores.data<"float32">();
      scores.dispose();
      const id = sample(values, options, rng);
      if (ends.has(id)) return;
      yield id;
      next = [id];
    }
  } finally {
    done.resolve();
    await running;
  }
}

function checkOptions({ maxNewTokens, temperature = 0, topK, topP = 1 }: StreamOptions): void {
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new RangeError(`Cannot generate ${maxNewTokens} tokens: expected a positive integer`);
  }
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new RangeError(
      `Cannot sample at temperature ${temperature}: expected 0 (greedy) or a positive number`,
    );
  }
  if (!(topP > 0 && topP <= 1)) {
    throw new RangeError(`Cannot sample with topP = ${topP}: expected a number in (0, 1]`);
  }
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1)) {
    throw new RangeError(`Cannot sample with topK = ${topK}: expected a positive integer`);
  }
}

/** Index of the largest value, the first of equals. */
export function argMax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * Draws an index from softmax(logits / temperature), restricted to the `topK` likeliest and among
 * them to the nucleus (Holtzman et al., 2020): the fewest likeliest indices whose probabilities sum
 * to at least `topP`.
 */
export function sample(
  logits: ArrayLike<number>,
  { temperature = 0, topK = logits.length, topP = 1 }: SampleOptions,
  rng: Pick<Rng, "uniform">,
): number {
  const likeliest = argMax(logits);
  if (temperature === 0) return likeliest;
  const highest = logits[likeliest];
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const sum = (indices: Iterable<number>) => {
    let total = 0;
    for (const index of indices) total += weights[index];
    return total;
  };
  let chosen = Array.from(weights.keys());
  // Without a limit the order does not matter, and sorting a vocabulary takes a while.
  if (topK < chosen.length) chosen = descending(chosen, weights).slice(0, topK);
  if (topP < 1) {
    const total = sum(chosen);
    // What is less likely than this cannot be missed: all of it together is less than 1 - topP.
    const least = (1 - topP) * total / chosen.length;
    chosen = descending(chosen.filter((index) => weights[index] >= least), weights);
    let nucleus = 0;
    let size = 0;
    while (size < chosen.length && nucleus < topP * total) nucleus += weights[chosen[size++]];
    chosen = chosen.slice(0, size);
  }
  let left = rng.uniform() * sum(chosen);
  for (const index of chosen) {
    left -= weights[index];
    if (left < 0) return index;
  }
  return chosen.at(-1)!;
}

function descending(indices: number[], weights: Float64Array): number[] {
  return indices.sort((a, b) => weights[b] - weights[a]);
}
