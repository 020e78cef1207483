/**
 * What the feature explorer shows of a dictionary, measured on held-out text.
 *
 * @module
 */
import {
  collectExamples,
  type Example,
  type Examples,
  type ExampleSequence,
  type ExamplesModel,
  type FeatureExamples,
} from "../../analysis/mod.ts";
import { visible } from "../../analysis/examples_view.ts";
import { progress } from "../../display/mod.ts";
import { fingerprint, type Sae, type SplitReader } from "../../dictionary/mod.ts";
import { VERSION } from "../../files/mod.ts";
import { type Nfm, pairTensor, requireDictionary } from "../../interaction/mod.ts";
import type { Model } from "../../model/mod.ts";
import { tf } from "../../tensor/mod.ts";
import { type LogitTokens, logitTokens, unembedding } from "./logit_tokens.ts";
import {
  type Partner,
  type PartnerOptions,
  type PartnerTable,
  strongestPartners,
} from "./partners.ts";

/** Text around a token, with the activation of the feature at each token. */
export interface ExplorerContext {
  /** Number of the document. */
  readonly document: number;
  /** The tokens as text, without characters that act on the text around them. */
  readonly pieces: readonly string[];
  /** Activation at each token, 0 to 1 of the feature's largest. */
  readonly levels: readonly number[];
  /** Place of the token that the context was chosen for. */
  readonly peak: number;
  /** Activation at it, in the units of the dictionary. */
  readonly value: number;
}

/** A token and a number. */
export interface ExplorerToken {
  /** Its text. */
  readonly piece: string;
  /** Effect on its logit. */
  readonly effect: number;
}

/** A partner as it is shown. */
export interface ExplorerPartner extends Partner {
  /** Tokens that the pair's term raises most by itself; none where permuted embeddings do as well. */
  readonly raised: readonly string[];
}

/** A feature as it is shown. */
export interface ExplorerFeature {
  /** Its number in the dictionary. */
  readonly feature: number;
  /** Share of tokens on which it is active, 0 to 1. */
  readonly density: number;
  /** Largest activation. */
  readonly max: number;
  /** A label, if it has one. */
  readonly label?: string;
  /** Tokens that carry most of its activation, most first: what a search finds it by. */
  readonly words: readonly string[];
  /** Strongest contexts. */
  readonly top: readonly ExplorerContext[];
  /** A fair sample of contexts in which it is active, strongest first. */
  readonly active: readonly ExplorerContext[];
  /** Tokens that its direction raises most. */
  readonly raised: readonly ExplorerToken[];
  /** Tokens that its direction lowers most. */
  readonly lowered: readonly ExplorerToken[];
  /** Strongest partners in the factorization machine. */
  readonly partners: readonly ExplorerPartner[];
}

/** What the numbers are of. */
export interface ExplorerAbout {
  /** Name of the model. */
  readonly model: string;
  /** Hook point of the dictionary. */
  readonly hook: string;
  /** Name of the text. */
  readonly text: string;
  /** Tokens on which features were measured. */
  readonly tokens: number;
  /** Tokens on which pairs were measured; 0 without a machine. */
  readonly pairTokens: number;
  /** Draws of permuted embeddings that pairs are compared with. */
  readonly draws: number;
  /** Configurations of what was trained, as plain data. */
  readonly configuration: Readonly<Record<string, unknown>>;
  /** Names the dictionary by its weights. */
  readonly fingerprint: string;
  /** Version of this library. */
  readonly version: string;
}

/** All that the explorer shows. */
export interface ExplorerData {
  readonly about: ExplorerAbout;
  /** In the order of their numbers. */
  readonly features: readonly ExplorerFeature[];
}

/** What it needs of a model; `Model` has it. */
export type ExplorerModel = ExamplesModel & Pick<Model, "cfg" | "runWithHooks">;

/** What is explored. */
export interface ExplorerSubject {
  /** The whole model: effects on logits need its unembedding. */
  readonly model: ExplorerModel;
  /** The dictionary. */
  readonly sae: Sae;
  /** A machine on its codes; partners are shown if it has pairs and the linear head. */
  readonly nfm?: Nfm;
}

/** Held-out text. */
export interface ExplorerText {
  /** Its name, such as "Brown Corpus, test documents". */
  readonly name: string;
  /** Sequences for the examples, as `drawSequences` gives them. */
  readonly sequences: readonly ExampleSequence[];
  /** Activations for the pairs, in the dictionary's units. */
  readonly split: SplitReader;
}

/** What to collect. */
export interface ExplorerOptions extends PartnerOptions {
  /** Numbers of the features. Default: all. */
  features?: readonly number[];
  /** Strongest contexts a feature. Default 4. */
  contexts?: number;
  /** Contexts of the fair sample a feature. Default 2. */
  sample?: number;
  /** Tokens of a context before and after the chosen one. Default 8 and 4. */
  window?: { readonly before: number; readonly after: number };
  /** Tokens of each kind that a direction raises or lowers. Default 8. */
  logits?: number;
  /** Labels by feature. Default: none. */
  labels?: ReadonlyMap<number, string>;
  /** Hook point. Default: the dictionary's. */
  hook?: string;
  /** Tokens with a longer activation, in the units of the model, are not measured. Default: none. */
  maxNorm?: number;
  /** Configurations to show. Default: what the dictionary and the machine carry. */
  configuration?: Readonly<Record<string, unknown>>;
  /** Stops it. */
  signal?: AbortSignal;
}

/** Tokens that stand for a feature in the list and in a search. */
const WORDS = 6;
/** Tokens that stand for a pair. */
const PAIR_TOKENS = 4;
/** What a pair raises is shown where so few of the permuted draws are as strong: else it is noise. */
const RARE = 0.25;

/**
 * Measures a dictionary for the explorer: contexts of every feature, what its direction does to the
 * logits by itself, and its strongest partners in a factorization machine with their evidence.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { exploreDictionary, memoryStore, openDevice, randomModel, Rng, trainSae } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0); // one that was trained, in earnest
 * const rows = { rows: new Rng(0).normals(400 * 16, 1), document: new Int32Array(400) };
 * const store = memoryStore(16, { train: rows, validation: rows, test: rows });
 * const { sae } = await trainSae(
 *   store,
 *   { architecture: "topk", dSae: 32, k: 8, steps: 5, batchSize: 100 },
 *   { cache: false },
 * );
 * const texts = ["The kettle sang all morning.", "Nobody answered the door."];
 * const data = await exploreDictionary({ model, sae }, {
 *   name: "two sentences",
 *   sequences: texts.map((text, document) => ({ tokens: model.toTokens(text)[0], document })),
 *   split: store.split("test"),
 * }, { hook: "blocks.0.hook_resid_post" });
 * assertEquals(data.features.length, 32);
 * ```
 *
 * @param subject Model, dictionary and machine.
 * @param text Held-out text.
 * @param options What to collect.
 * @throws {RangeError} As `collectExamples`; if the machine was trained on another dictionary.
 * @throws {DOMException} If the signal stops it.
 */
export async function exploreDictionary(
  subject: ExplorerSubject,
  text: ExplorerText,
  options: ExplorerOptions = {},
): Promise<ExplorerData> {
  const { model, sae, nfm } = subject;
  if (nfm) await requireDictionary(nfm, sae);
  const { contexts = 4, sample = 2, window = { before: 8, after: 4 }, logits = 8 } = options;
  const { signal, maxNorm, labels } = options;
  const hook = options.hook ?? String(sae.metadata.hook_name);
  const examples = await collectExamples(model, sae, text.sequences, {
    ...{ features: options.features, hook, window, maxNorm, signal },
    ...{ count: contexts, sample },
  });
  const numbers = examples.features.map(({ feature }) => feature);
  signal?.throwIfAborted();
  const unembed = await unembedding(model);
  const effects = await effectsOf(unembed, sae, numbers, logits);
  signal?.throwIfAborted();
  const pairs = nfm && hasPairs(nfm)
    ? await strongestPartners(text.split, { sae, nfm }, options)
    : undefined;
  signal?.throwIfAborted();
  const raised = pairs ? await pairTokens(unembed, subject, pairs) : new Map<string, LogitTokens>();
  unembed.dispose();
  const piece = (id: number) => shown(examples.texts({ ids: Int32Array.of(id) })[0]);
  return {
    about: {
      ...{ model: model.cfg.name, hook, text: text.name, tokens: examples.tokens },
      ...{ pairTokens: pairs?.tokens ?? 0, draws: pairs?.draws ?? 0 },
      configuration: options.configuration ?? {
        dictionary: { ...sae.config, ...training(sae.metadata) },
        ...nfm && { machine: { ...nfm.shape, ...training(nfm.metadata) } },
      },
      fingerprint: await fingerprint(sae),
      version: VERSION,
    },
    features: examples.features.map((found, at) => ({
      ...{ feature: found.feature, density: found.density, max: found.max },
      ...labels?.has(found.feature) && { label: shown(labels.get(found.feature)!) },
      words: words(found, piece),
      top: found.top.filter(({ value }) => value > 0)
        .map((example) => context(example, found.max, examples)),
      active: found.active.map((example) => context(example, found.max, examples)),
      raised: effects[at].raised.map(({ id, effect }) => ({ piece: piece(id), effect })),
      lowered: effects[at].lowered.map(({ id, effect }) => ({ piece: piece(id), effect })),
      partners: (pairs?.partners.get(found.feature) ?? []).map((partner) => ({
        ...partner,
        raised: (raised.get(nameOf(found.feature, partner.feature))?.raised ?? [])
          .map(({ id }) => piece(id)),
      })),
    })),
  };
}

/** Whether pairs of a machine have directions of their own. */
function hasPairs({ shape: { parts, head } }: Nfm): boolean {
  return parts !== "linear" && head === "linear";
}

function training(metadata: Record<string, unknown>): Record<string, unknown> {
  return typeof metadata.training === "object" && metadata.training !== null
    ? metadata.training as Record<string, unknown>
    : {};
}

function shown(text: string): string {
  return text === "" ? "⋯" : visible(text);
}

function words({ tokens }: FeatureExamples, piece: (id: number) => string): string[] {
  const found: string[] = [];
  for (const { id } of tokens.slice(0, 3 * WORDS)) {
    const word = piece(id).trim();
    const known = found.some((other) => other.toLowerCase() === word.toLowerCase());
    if (word && !known && found.length < WORDS) found.push(word);
  }
  return found;
}

function context(example: Example, max: number, examples: Examples): ExplorerContext {
  const { document, peak, value } = example;
  return {
    ...{ document, peak, value },
    pieces: examples.texts(example).map(shown),
    levels: Array.from(example.values, (v) => v > 0 && max > 0 ? Math.min(1, v / max) : 0),
  };
}

/** Effects of the directions of features, in the units of the model. */
async function effectsOf(
  unembed: tf.Tensor2D,
  sae: Sae,
  features: readonly number[],
  count: number,
): Promise<LogitTokens[]> {
  const directions = tf.tidy(() =>
    inModelUnits(tf.gather(sae.W_dec, tf.tensor1d(Int32Array.from(features), "int32")), sae)
  );
  try {
    return await withProgress(
      "Effects on logits",
      features.length,
      (step) => logitTokens(unembed, directions, { count, step }),
    );
  } finally {
    directions.dispose();
  }
}

function inModelUnits(directions: tf.Tensor2D, sae: Sae): tf.Tensor2D {
  const scale = (sae.outputNormalizer ?? sae.normalizer)?.scale ?? 1;
  return tf.div(directions, scale) as tf.Tensor2D;
}

const nameOf = (a: number, b: number) => `${Math.min(a, b)} ${Math.max(a, b)}`;

/** What the terms of pairs do to the logits, by `nameOf` the pair. */
async function pairTokens(
  unembed: tf.Tensor2D,
  { sae, nfm }: ExplorerSubject,
  { partners, draws }: PartnerTable,
): Promise<Map<string, LogitTokens>> {
  const names = [...partners].flatMap(([feature, list]) =>
    list.filter(({ asStrong }) => asStrong <= RARE * draws)
      .map((partner) => nameOf(feature, partner.feature))
  );
  const unique = [...new Set(names)];
  const found = new Map<string, LogitTokens>();
  const CHUNK = 1024;
  await withProgress("Effects of pairs on logits", unique.length, async (step) => {
    for (let start = 0; start < unique.length; start += CHUNK) {
      const chunk = unique.slice(start, start + CHUNK);
      const pairs = chunk.map((name) => name.split(" ").map(Number) as [number, number]);
      const directions = tf.tidy(() => inModelUnits(pairTensor(nfm!, pairs), sae));
      const tokens = await logitTokens(unembed, directions, { count: PAIR_TOKENS, step });
      directions.dispose();
      chunk.forEach((name, i) => found.set(name, tokens[i]));
    }
  });
  return found;
}

async function withProgress<T>(
  label: string,
  total: number,
  work: (step: (rows: number) => void) => Promise<T>,
): Promise<T> {
  const line = progress(label, { total: Math.max(1, total), unit: "directions" });
  let done = 0;
  const result = await work((rows) => line.update(done += rows));
  line.finish();
  return result;
}
