/**
 * Examples of features: the contexts in which they are strongest and weakest, a fair sample of those
 * in which they are active, and of those in which they are not.
 *
 * All features that are asked for are measured in one pass over the text. What is kept of it, some
 * windows of tokens a feature, does not grow with the text.
 *
 * @module
 */
import type { ActivationSource } from "../activations/mod.ts";
import { type Sae, toStoreUnits } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { Rng, tf } from "../tensor/mod.ts";
import { TextStream, type Tokenizer } from "../tokenizer/mod.ts";
import { whileRunning } from "../training/mod.ts";
import { Best, Reservoir } from "./kept.ts";
import { TokenCounts, type TokenStatistic } from "./token_statistics.ts";

/** A window of tokens around the one that it was chosen for. */
export interface Example {
  /** Number of its sequence among those that were given. */
  readonly sequence: number;
  /** Number of the sequence's document. */
  readonly document: number;
  /** Place of the chosen token in the sequence. */
  readonly position: number;
  /** Ids of the window's tokens. */
  readonly ids: Int32Array;
  /** Value of the feature at each of them; NaN at sinks, where nothing is measured. */
  readonly values: Float32Array;
  /** Place of the chosen token in the window. */
  readonly peak: number;
  /** Value at the chosen token. */
  readonly value: number;
}

/** What was found of one feature. Values are codes, in the units of the dictionary, unless said. */
export interface FeatureExamples {
  /** Number of the feature. */
  readonly feature: number;
  /** Share of measured tokens on which it is active, 0 to 1. */
  readonly density: number;
  /** Largest code. */
  readonly max: number;
  /** Strongest contexts, strongest first; at most one a sequence. */
  readonly top: readonly Example[];
  /**
   * Contexts with the lowest pre-activation, lowest first; at most one a sequence. Their values are
   * pre-activations.
   */
  readonly bottom: readonly Example[];
  /** Contexts with the lowest code, in the order of the text; only with `faithful: ["B24"]`. */
  readonly lowestCodes?: readonly Example[];
  /**
   * A fair sample of the tokens on which it is active, strongest first; like the two below without
   * windows that overlap or repeat, so it may be shorter than asked for.
   */
  readonly active: readonly Example[];
  /** A fair sample of all tokens. */
  readonly random: readonly Example[];
  /** A fair sample of the tokens with nothing but zeros in their window. */
  readonly inactive: readonly Example[];
  /** The tokens on which it is active, with the largest share of its activation first. */
  readonly tokens: readonly TokenStatistic[];
}

/** Examples of several features. */
export interface Examples {
  /** One entry a feature, in the order in which they were asked for. */
  readonly features: readonly FeatureExamples[];
  /** Tokens that were measured. */
  readonly tokens: number;
  /** Text of each token of an example; a token that is part of a character may have none. */
  texts(example: Pick<Example, "ids">): string[];
}

/** What to look for; see {@linkcode collectExamples}. */
export interface ExamplesOptions {
  /** Numbers of the features. Default: all, which is much memory for a large dictionary. */
  features?: readonly number[];
  /** Hook point. Default: where the dictionary was trained, `sae.metadata.hook_name`. */
  hook?: string;
  /** Strongest and weakest contexts, and random ones, a feature. Default 10. */
  count?: number;
  /** Size of the samples of active and of inactive tokens. Default 40. */
  sample?: number;
  /** Tokens of the window before and after the chosen one. Default 10 each. */
  window?: { readonly before: number; readonly after: number };
  /** Ids that are neither measured nor shown. Default: the beginning-of-sequence token. */
  maskedTokens?: readonly number[];
  /** Tokens whose activation has a larger norm, in the units of the model, are not measured. Default: none. */
  maxNorm?: number;
  /** Sequences that run together. Default 16. */
  batchSize?: number;
  /** Names the samples. Default 0. */
  seed?: number;
  /**
   * `"B24"`: beside `bottom`, what the study calls the opposite of a feature, contexts with the lowest
   * code. A code is 0 nearly everywhere, so they are the first contexts of the text. Default: none.
   */
  faithful?: readonly "B24"[];
  /** Stops it. */
  signal?: AbortSignal;
}

/** A sequence of tokens and where it is from. */
export interface ExampleSequence {
  /** Token ids. */
  readonly tokens: ArrayLike<number>;
  /** The document's number. */
  readonly document: number;
}

/** What it needs of a model; `Model` has it. */
export type ExamplesModel = ActivationSource & { readonly tokenizer: Tokenizer };

/**
 * Runs sequences through a model up to the hook, normalises and encodes them, and keeps examples of
 * features. Give held-out text: on training text a feature shows what it has memorised.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { collectExamples, openDevice, randomModel, Sae, tf } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ dModel: 4, nHeads: 2 }, 0);
 * const sae = new Sae({ architecture: "standard", dIn: 4, dSae: 2 }, {
 *   W_enc: tf.tensor2d([[1, -1], [0, 0], [0, 0], [0, 0]]),
 *   b_enc: tf.zeros([2]),
 *   W_dec: tf.tensor2d([[1, 0, 0, 0], [-1, 0, 0, 0]]),
 *   b_dec: tf.zeros([4]),
 * });
 * const sequences = model.toTokens(["a lamp", "a kettle"]).map((tokens, document) => ({ tokens, document }));
 * const { features, tokens } = await collectExamples(model, sae, sequences, {
 *   features: [1],
 *   hook: "blocks.0.hook_resid_post",
 * });
 * assertEquals(tokens, 14); // BOS is not measured
 * const [{ top, bottom }] = features;
 * assertEquals(top.every(({ value, values }) => value === Math.max(...values)), true);
 * assertEquals(bottom.every(({ value, values }) => value === Math.min(...values)), true);
 * sae.dispose();
 * ```
 *
 * @param model The model.
 * @param sae The dictionary; its normaliser is applied.
 * @param sequences Text, as `packSequences` gives it, in the order that breaks ties.
 * @param options What to look for.
 * @throws {RangeError} If there are no sequences, a feature or hook point does not exist, or an
 * option is out of range.
 * @throws {DOMException} If the signal stops it.
 */
export async function collectExamples(
  model: ExamplesModel,
  sae: Sae,
  sequences: readonly ExampleSequence[],
  options: ExamplesOptions = {},
): Promise<Examples> {
  const settings = checked(model, sae, sequences, options);
  const { features, hook, batchSize, signal, masked, maxNorm } = settings;
  const seed = options.seed ?? 0;
  const kept = Array.from(
    features,
    (feature) => new Kept(settings, new Rng(seed, "examples", feature)),
  );
  const background = new Map<number, number>();
  let measured = 0;
  const line = progress("Collecting examples", { total: sequences.length, unit: "sequences" });
  await whileRunning(signal, async () => {
    for (let start = 0; start < sequences.length; start += batchSize) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // the Stop button can be heard
      signal?.throwIfAborted();
      const batch = sequences.slice(start, start + batchSize);
      const { pre, codes, norms, pos } = await measure(model, sae, { batch, hook, features });
      for (const [i, { tokens, document }] of batch.entries()) {
        const places: Place[] = [];
        for (let p = 0; p < tokens.length; p++) {
          if (masked.has(tokens[p])) continue;
          const sink = norms[i * pos + p] > maxNorm;
          places.push({ position: p, id: tokens[p], sink });
          if (sink) continue;
          measured++;
          background.set(tokens[p], (background.get(tokens[p]) ?? 0) + 1);
        }
        const where = { sequence: start + i, document, places };
        const row = batch.length * pos;
        for (const [f, of] of kept.entries()) {
          const from = f * row + i * pos;
          of.see(where, codes.subarray(from, from + pos), pre.subarray(from, from + pos));
        }
      }
      line.update(start + batch.length);
    }
  });
  line.finish();
  if (measured === 0) {
    throw new RangeError(
      `Cannot find examples in ${sequences.length} sequences: all of their tokens are masked or sinks`,
    );
  }
  return {
    features: kept.map((of, i) => of.result(features[i], { measured, background })),
    tokens: measured,
    texts: ({ ids }) => {
      const stream = new TextStream(model.tokenizer);
      const pieces = Array.from(ids, (id) => stream.push(id));
      const rest = stream.end();
      if (pieces.length > 0) pieces[pieces.length - 1] += rest;
      return pieces;
    },
  };
}

interface Settings {
  readonly features: Int32Array;
  readonly hook: string;
  readonly count: number;
  readonly sample: number;
  readonly before: number;
  readonly after: number;
  readonly batchSize: number;
  readonly maxNorm: number;
  readonly masked: ReadonlySet<number>;
  readonly lowestCodes: boolean;
  readonly signal: AbortSignal | undefined;
}

function checked(
  model: ExamplesModel,
  sae: Sae,
  sequences: readonly ExampleSequence[],
  options: ExamplesOptions,
): Settings {
  const { dSae } = sae.config;
  const hook = options.hook ?? sae.metadata.hook_name;
  if (typeof hook !== "string" || !model.hookNames().includes(hook)) {
    throw new RangeError(
      `Cannot find examples at the hook point ${JSON.stringify(hook)} of "${model.cfg.name}": ` +
        `give hook, such as "${model.hookNames().at(-1)}"`,
    );
  }
  if (sequences.length === 0) {
    throw new RangeError("Cannot find examples in 0 sequences: give at least one");
  }
  const features = Int32Array.from(options.features ?? Array(dSae).keys());
  const wrong = Array.from(options.features ?? []).find((f) =>
    !Number.isInteger(f) || f < 0 || f >= dSae
  );
  if (features.length === 0 || wrong !== undefined) {
    throw new RangeError(
      `Cannot find examples of ${wrong === undefined ? "no features" : `feature ${wrong}`}: ` +
        `expected numbers in 0…${dSae - 1}`,
    );
  }
  const { before, after } = options.window ?? { before: 10, after: 10 };
  const { count = 10, sample = 40, batchSize = 16, maxNorm = Infinity } = options;
  const least = { count: 0, sample: 0, before: 0, after: 0, batchSize: 1 };
  const given = { count, sample, before, after, batchSize };
  for (const [name, value] of Object.entries(given)) {
    const low = least[name as keyof typeof least];
    if (!Number.isInteger(value) || value < low) {
      throw new RangeError(
        `Cannot find examples with ${name} = ${value}: expected an integer from ${low} on`,
      );
    }
  }
  if (!(maxNorm > 0)) {
    throw new RangeError(`Cannot leave out norms above ${maxNorm}: expected a number above 0`);
  }
  return {
    features,
    hook,
    ...given,
    maxNorm,
    masked: new Set(options.maskedTokens ?? [model.tokenizer.bosId]),
    lowestCodes: options.faithful?.includes("B24") ?? false,
    signal: options.signal,
  };
}

/** Rows of activations that are encoded at once: dense codes of a large dictionary are long. */
const ROWS = 1024;

/** Pre-activations and codes of some features, `[features, batch · pos]`, and norms `[batch · pos]`. */
async function measure(
  model: ExamplesModel,
  sae: Sae,
  { batch, hook, features }: {
    batch: readonly ExampleSequence[];
    hook: string;
    features: Int32Array;
  },
): Promise<{ pre: Float32Array; codes: Float32Array; norms: Float32Array; pos: number }> {
  const block = /^blocks\.(\d+)\./.exec(hook)?.[1];
  const { cache, logits } = await model.runWithCache(
    batch.map(({ tokens }) => Array.from(tokens)),
    {
      names: hook,
      stopAtLayer: block === undefined ? undefined : Number(block) + 1,
    },
  );
  const activation = cache.get(hook);
  const [sequences, pos] = activation.shape;
  const rows = sequences * pos;
  const { dIn } = sae.config;
  if (activation.size !== rows * dIn) {
    const shape = activation.shape;
    cache.dispose();
    logits?.dispose();
    throw new RangeError(
      `Cannot encode "${hook}" of shape [${shape}] with a dictionary of width ${dIn}: expected ` +
        `[batch, pos, ${dIn}]`,
    );
  }
  const pre = new Float32Array(features.length * rows);
  const codes = new Float32Array(features.length * rows);
  const raw = tf.reshape(activation, [rows, dIn]);
  const norm = tf.norm(raw, 2, 1);
  const norms = await norm.data<"float32">();
  for (let start = 0; start < rows; start += ROWS) {
    const count = Math.min(ROWS, rows - start);
    const both = tf.tidy(() => {
      const x = toStoreUnits(tf.slice(raw, [start, 0], [count, dIn]), sae.normalizer);
      const before = sae.preActivations(x as tf.Tensor2D);
      const index = tf.tensor1d(features, "int32");
      return [before, sae.activate(before)].map((t) => tf.transpose(tf.gather(t, index, 1)));
    });
    for (const [k, to] of [pre, codes].entries()) {
      const values = await both[k].data<"float32">();
      both[k].dispose();
      for (let f = 0; f < features.length; f++) {
        to.set(values.subarray(f * count, (f + 1) * count), f * rows + start);
      }
    }
  }
  tf.dispose([raw, norm]);
  cache.dispose();
  logits?.dispose();
  return { pre, codes, norms, pos };
}

/** A token of a sequence that is shown. */
interface Place {
  readonly position: number;
  readonly id: number;
  readonly sink: boolean;
}

interface Where {
  readonly sequence: number;
  readonly document: number;
  readonly places: readonly Place[];
}

/** What is kept of one feature while the text passes by. */
class Kept {
  readonly #settings: Settings;
  readonly #top: Best<Example>;
  readonly #bottom: Best<Example>;
  readonly #lowestCodes: Best<Example> | undefined;
  readonly #active: Reservoir<Example>;
  readonly #random: Reservoir<Example>;
  readonly #inactive: Reservoir<Example>;
  readonly #counts = new TokenCounts();
  #max = 0;

  constructor(settings: Settings, rng: Rng) {
    const { count, sample, lowestCodes } = settings;
    this.#settings = settings;
    this.#top = new Best(count);
    this.#bottom = new Best(count);
    this.#lowestCodes = lowestCodes ? new Best(count) : undefined;
    this.#active = new Reservoir(sample, rng);
    this.#random = new Reservoir(count, rng);
    this.#inactive = new Reservoir(sample, rng);
  }

  /** Sees a sequence; `codes` and `pre` are read at the positions of its places. */
  see(where: Where, codes: Float32Array, pre: Float32Array): void {
    const { before, after } = this.#settings;
    const { places } = where;
    const below = (of: Float32Array, i: number, than: number) =>
      than < 0 || of[places[i].position] < of[places[than].position];
    let [highest, lowest, lowestCode] = [-1, -1, -1];
    // Place of the last active token so far: a window without one behind it is inactive.
    let last = -Infinity;
    for (let i = 0, open = 0; i < places.length + after; i++) {
      if (i < places.length && !places[i].sink) {
        const { position, id } = places[i];
        const code = codes[position];
        if (below(pre, i, lowest)) lowest = i;
        if (this.#lowestCodes && below(codes, i, lowestCode)) lowestCode = i;
        if (code > 0) {
          last = i;
          this.#counts.add(id, code);
          if (highest < 0 || code > codes[places[highest].position]) highest = i;
          if (this.#active.wants()) this.#active.keep(this.#example(where, codes, i));
        }
        if (this.#random.wants()) this.#random.keep(this.#example(where, codes, i));
      }
      // The window of `open` ends here, or where the sequence does.
      if (i >= after && open < places.length) {
        const quiet = last < open - before && !places[open].sink;
        if (quiet && this.#inactive.wants()) this.#inactive.keep(this.#example(where, codes, open));
        open++;
      }
    }
    const offer = (best: Best<Example>, of: Float32Array, place: number, sign: 1 | -1) => {
      const score = sign * of[places[place].position];
      if (!best.wants(score)) return;
      const example = this.#example(where, of, place);
      best.offer(score, example.ids.join(), example);
    };
    if (highest >= 0) {
      this.#max = Math.max(this.#max, codes[places[highest].position]);
      offer(this.#top, codes, highest, 1);
    }
    if (lowest >= 0) offer(this.#bottom, pre, lowest, -1);
    if (this.#lowestCodes && lowestCode >= 0) offer(this.#lowestCodes, codes, lowestCode, -1);
  }

  result(
    feature: number,
    { measured, background }: { measured: number; background: ReadonlyMap<number, number> },
  ): FeatureExamples {
    return {
      feature,
      density: this.#counts.active / measured,
      max: this.#max,
      top: this.#top.items(),
      bottom: this.#bottom.items(),
      ...this.#lowestCodes && { lowestCodes: this.#lowestCodes.items() },
      active: this.#apart(this.#active).toSorted((a, b) => b.value - a.value),
      random: this.#apart(this.#random),
      inactive: this.#apart(this.#inactive),
      tokens: this.#counts.statistics(background),
    };
  }

  /** A sample without contexts that share a token's place or say the same. */
  #apart(sample: Reservoir<Example>): Example[] {
    const reach = this.#settings.before + this.#settings.after;
    const kept: Example[] = [];
    const said = new Set<string>();
    for (const example of sample.items()) {
      const { sequence, position } = example;
      const text = example.ids.join();
      const near = kept.some((other) =>
        other.sequence === sequence && Math.abs(other.position - position) <= reach
      );
      if (near || said.has(text)) continue;
      said.add(text);
      kept.push(example);
    }
    return kept;
  }

  #example({ sequence, document, places }: Where, of: Float32Array, place: number): Example {
    const { before, after } = this.#settings;
    const start = Math.max(0, place - before);
    const shown = places.slice(start, place + after + 1);
    const { position } = places[place];
    return {
      sequence,
      document,
      position,
      ids: Int32Array.from(shown, ({ id }) => id),
      values: Float32Array.from(shown, ({ position, sink }) => sink ? NaN : of[position]),
      peak: place - start,
      value: of[position],
    };
  }
}
