/**
 * Writing on: one token after the other, each chosen from the logits of the last position.
 *
 * @module
 */
import { Rng, type tf } from "../tensor/mod.ts";
import { whileRunning } from "../training/mod.ts";
import type { Attachment } from "./attachment.ts";
import type { ModelConfig } from "./config.ts";
import type { Hooks } from "./hooks.ts";
import { KvCache } from "./llama.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";

/** How to choose tokens, how many, and what to do on the way. */
export interface GenerateOptions {
  /** Tokens to write at most. */
  maxNewTokens: number;
  /** Divides the logits: 0 (default) always takes the likeliest token, 1 samples as trained. */
  temperature?: number;
  /** Samples from the fewest tokens whose probabilities reach this sum, in (0, 1]. Default 1. */
  topP?: number;
  /** Seed of the sampling; the same seed gives the same text. Default 0. */
  seed?: number;
  /** What to call at which hook point, at every step. */
  hooks?: Hooks;
  /** What is spliced in at every step, such as a dictionary. */
  attach?: readonly Attachment[];
  /** Called with each piece of text as it is written; the pieces join to what is returned. */
  onText?: (piece: string) => void;
  /** Ends the text where it is; `stopSignal()` listens to the Stop button. */
  signal?: AbortSignal;
}

/** What generation needs of a model. */
export interface Generator {
  readonly cfg: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Logits after the last of these tokens, `[1, 1, vocab]`, given what `past` holds. */
  logits(tokens: number[], past: KvCache): Promise<tf.Tensor3D>;
}

/**
 * The text that follows a prompt.
 *
 * @throws {RangeError} If an option is out of range, or the prompt does not fit the context.
 */
export async function generate(
  prompt: string,
  options: GenerateOptions,
  model: Generator,
): Promise<string> {
  const { maxNewTokens, temperature = 0, topP = 1, seed = 0, onText, signal } = options;
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
  const { tokenizer, cfg } = model;
  const rng = new Rng(seed, "generate");
  let next = [...tokenizer.addBos ? [tokenizer.bosId] : [], ...tokenizer.encode(prompt)];
  if (next.length > cfg.contextLength) {
    throw new RangeError(
      `Cannot go on from a prompt of ${next.length} tokens: the context of "${cfg.name}" holds ` +
        `${cfg.contextLength}; shorten the prompt`,
    );
  }
  const written: number[] = [];
  let text = "";
  const say = (piece: string) => {
    text += piece;
    if (piece) onText?.(piece);
  };
  await whileRunning(signal, async () => {
    using past = new KvCache();
    while (written.length < maxNewTokens && past.length + next.length <= cfg.contextLength) {
      // A turn of the event loop, in which the Stop button can be heard.
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (signal?.aborted) break;
      const logits = await model.logits(next, past);
      const values = await logits.data<"float32">();
      logits.dispose();
      const id = temperature === 0 ? argMax(values) : sample(values, temperature, topP, rng);
      if (id === cfg.eosId) break;
      written.push(id);
      const sofar = tokenizer.decode(written);
      // The bytes of a character may be split over tokens.
      if (!sofar.endsWith("\uFFFD")) say(sofar.slice(text.length));
      next = [id];
    }
  });
  say(tokenizer.decode(written).slice(text.length));
  return text;
}

/** Index of the largest value, the first of equals. */
export function argMax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * Draws an index from softmax(logits / temperature), restricted to the nucleus (Holtzman et al.,
 * 2020): the fewest likeliest indices whose probabilities sum to at least `topP`.
 */
export function sample(
  logits: ArrayLike<number>,
  temperature: number,
  topP: number,
  rng: Pick<Rng, "uniform">,
): number {
  const highest = logits[argMax(logits)];
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const order = Uint32Array.from(weights.keys());
  // Without a nucleus the order does not matter, and sorting a vocabulary takes a while.
  if (topP < 1) order.sort((a, b) => weights[b] - weights[a]);
  let nucleus = 0;
  let size = 0;
  while (size < order.length && nucleus < topP * total) nucleus += weights[order[size++]];
  let left = rng.uniform() * nucleus;
  for (const index of order.subarray(0, size)) {
    left -= weights[index];
    if (left < 0) return index;
  }
  return order[size - 1];
}
