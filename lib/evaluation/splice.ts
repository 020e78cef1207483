/**
 * What a reconstruction does to the model: it is put in the place of the activation, and
 * the model goes on with it.
 *
 *     CE recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)
 *
 * 1 leaves the model's predictions as good as they were, 0 makes them as bad as setting
 * the activation to zero. KL is from the clean to the spliced prediction, in nats.
 * Positions of masked tokens, such as the beginning of a sequence, keep their activation
 * and count in nothing: their activations are outliers that no dictionary is trained on.
 *
 * @module
 */
import { type InputNormalizer, toModelUnits, toStoreUnits } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { bootstrapRatio, type Interval } from "../metrics/mod.ts";
import type { Model } from "../model/mod.ts";
import { tf } from "../tensor/mod.ts";

/** A sequence of tokens and where it is from. */
export interface SpliceSequence {
  /** Token ids. */
  readonly tokens: ArrayLike<number>;
  /** The document's number. */
  readonly document: number;
}

/** Where and how to splice. */
export interface SpliceOptions {
  /** Hook point whose activation is replaced. */
  hook: string;
  /** How raw activations become what the reconstructions expect; null if they are raw. */
  normalizer: InputNormalizer | null;
  /** Ids that keep their activation and are not measured. Default: none. */
  maskedTokens?: readonly number[];
  /** Sequences that run together. Default 4. */
  batchSize?: number;
}

/** Effect of one reconstruction. */
export interface SpliceEffect {
  /** Cross-entropy of the next token with the reconstruction in place, nats a token. */
  crossEntropy: number;
  /** CE recovered, with its interval over documents. */
  recovered: Interval;
  /** KL(clean ‖ spliced), nats a token. */
  kl: number;
  /** (KL_zero − KL_spliced) / KL_zero, with its interval over documents. */
  klRecovered: Interval;
}

/** Sums over the predicted tokens of each document: the arrays run over documents in ascending number. */
export interface SplicePerDocument<Name extends string> {
  /** The documents' numbers. */
  readonly document: number[];
  /** Predicted tokens of each. */
  readonly tokens: number[];
  /** Cross-entropy of the model as it is. */
  readonly clean: number[];
  /** Cross-entropy with the activation set to zero. */
  readonly zero: number[];
  /** KL(clean ‖ zero). */
  readonly zeroKl: number[];
  /** Cross-entropy and KL(clean ‖ spliced) of each reconstruction. */
  readonly effects: Readonly<Record<Name, { crossEntropy: number[]; kl: number[] }>>;
}

/** Effects by name, beside the model as it is and with the activation set to zero. */
export interface SpliceResult<Name extends string> {
  /** Cross-entropy of the model as it is, nats a token. */
  clean: number;
  /** Cross-entropy with the activation set to zero. */
  zero: number;
  /** KL(clean ‖ zero), nats a token. */
  zeroKl: number;
  /** Predicted tokens that were measured. */
  tokens: number;
  /** The reconstructions. */
  effects: Record<Name, SpliceEffect>;
  /** What the numbers are made of, for other intervals. */
  perDocument: SplicePerDocument<Name>;
}

/**
 * Splices reconstructions into a model and measures its predictions.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { openDevice, randomModel, spliceIn, tf } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ nLayers: 2 }, 0);
 * const sequences = [{ tokens: [1, 5, 7], document: 0 }, { tokens: [1, 9, 4], document: 1 }];
 * const { effects } = await spliceIn(model, sequences, {
 *   hook: "blocks.0.hook_resid_post",
 *   normalizer: null,
 *   reconstructions: { identity: (x) => tf.clone(x) },
 * });
 * assertAlmostEquals(effects.identity.recovered.estimate, 1, 1e-3);
 * model.dispose();
 * ```
 *
 * @param model The model, with its output head.
 * @param sequences Held-out text, at least two documents.
 * @param options Where and how, and `reconstructions` by name: each gets normalised activations
 * `[tokens, dModel]` and returns as many; it runs inside `tf.tidy`.
 * @throws {RangeError} If there is nothing to measure.
 */
export async function spliceIn<Name extends string>(
  model: Pick<Model, "runWithHooks">,
  sequences: readonly SpliceSequence[],
  options: SpliceOptions & { reconstructions: Record<Name, (x: tf.Tensor2D) => tf.Tensor2D> },
): Promise<SpliceResult<Name>> {
  const { hook, normalizer, reconstructions, maskedTokens = [], batchSize = 4 } = options;
  const names = Object.keys(reconstructions) as Name[];
  const masked = new Set(maskedTokens);
  const sums = new Map<number, DocumentSums>();
  const line = progress("Splicing reconstructions into the model", {
    total: sequences.length,
    unit: "sequences",
  });
  for (let start = 0; start < sequences.length; start += batchSize) {
    const batch = sequences.slice(start, start + batchSize);
    const layout = new Layout(batch, masked);
    const run = async (replace?: (x: tf.Tensor2D) => tf.Tensor2D) => {
      const hooks = replace
        ? { [hook]: (activation: tf.Tensor) => spliced(activation, layout, normalizer, replace) }
        : {};
      const logits = await model.runWithHooks(batch.map(({ tokens }) => tokens), { hooks });
      if (!logits) throw new Error(`Cannot splice at "${hook}": the model gave no logits`);
      const logProbs = tf.tidy(() => {
        const [sequences, positions, vocabulary] = logits.shape;
        const rows = tf.reshape(logits, [sequences * positions, vocabulary]);
        return tf.logSoftmax(
          tf.gather(rows, tf.tensor1d(layout.predicting, "int32")),
        ) as tf.Tensor2D;
      });
      logits.dispose();
      return logProbs;
    };
    if (layout.predicting.length > 0) {
      const clean = await run();
      const zero = await run((x) => rawZero(x, normalizer));
      const cleanLoss = await crossEntropies(clean, layout.next);
      const zeroLoss = await crossEntropies(zero, layout.next);
      const zeroKl = await divergences(clean, zero);
      zero.dispose();
      const effects: { loss: Float32Array; kl: Float32Array }[] = [];
      for (const name of names) {
        const logProbs = await run(reconstructions[name]);
        const loss = await crossEntropies(logProbs, layout.next);
        effects.push({ loss, kl: await divergences(clean, logProbs) });
        logProbs.dispose();
      }
      clean.dispose();
      layout.document.forEach((document, i) => {
        let sum = sums.get(document);
        if (!sum) sums.set(document, sum = new DocumentSums(names.length));
        sum.tokens++;
        sum.clean += cleanLoss[i];
        sum.zero += zeroLoss[i];
        sum.zeroKl += zeroKl[i];
        effects.forEach(({ loss, kl }, n) => {
          sum.loss[n] += loss[i];
          sum.kl[n] += kl[i];
        });
      });
    }
    line.update(start + batch.length);
  }
  line.finish();
  return summarise(names, new Map([...sums].sort(([a], [b]) => a - b)));
}

/** Sums over the predicted tokens of one document. */
class DocumentSums {
  tokens = 0;
  clean = 0;
  zero = 0;
  zeroKl = 0;
  readonly loss: number[];
  readonly kl: number[];

  constructor(models: number) {
    this.loss = Array<number>(models).fill(0);
    this.kl = Array<number>(models).fill(0);
  }
}

function summarise<Name extends string>(
  names: Name[],
  sums: Map<number, DocumentSums>,
): SpliceResult<Name> {
  const column = (of: (sums: DocumentSums) => number) => [...sums.values()].map(of);
  const total = (values: number[]) => values.reduce((all, value) => all + value, 0);
  const difference = (a: number[], b: number[]) => a.map((value, i) => value - b[i]);
  if (sums.size < 2) {
    throw new RangeError(
      `Cannot measure on ${sums.size} documents with predicted tokens: give at least 2`,
    );
  }
  const perDocument: SplicePerDocument<Name> = {
    document: [...sums.keys()],
    tokens: column(({ tokens }) => tokens),
    clean: column(({ clean }) => clean),
    zero: column(({ zero }) => zero),
    zeroKl: column(({ zeroKl }) => zeroKl),
    effects: Object.fromEntries(names.map((name, n) => [name, {
      crossEntropy: column(({ loss }) => loss[n]),
      kl: column(({ kl }) => kl[n]),
    }])) as Record<Name, { crossEntropy: number[]; kl: number[] }>,
  };
  const { clean, zero, zeroKl } = perDocument;
  const tokens = total(perDocument.tokens);
  const effects = Object.fromEntries(names.map((name) => {
    const { crossEntropy, kl } = perDocument.effects[name];
    return [name, {
      crossEntropy: total(crossEntropy) / tokens,
      recovered: bootstrapRatio(difference(zero, crossEntropy), difference(zero, clean)),
      kl: total(kl) / tokens,
      klRecovered: bootstrapRatio(difference(zeroKl, kl), zeroKl),
    }];
  })) as Record<Name, SpliceEffect>;
  return {
    clean: total(clean) / tokens,
    zero: total(zero) / tokens,
    zeroKl: total(zeroKl) / tokens,
    tokens,
    effects,
    perDocument,
  };
}

/** Which rows of `[sequences · positions]` are replaced, and which predict a token that counts. */
class Layout {
  /** 1 where the activation is replaced, `[sequences · positions]`. */
  readonly replaced: Float32Array;
  /** Rows that predict. */
  readonly predicting: Int32Array;
  /** The token that each of them has to predict. */
  readonly next: Int32Array;
  /** The document of each of them. */
  readonly document: number[] = [];

  constructor(batch: readonly SpliceSequence[], masked: Set<number>) {
    const positions = Math.max(...batch.map(({ tokens }) => tokens.length));
    this.replaced = new Float32Array(batch.length * positions);
    const predicting: number[] = [];
    const next: number[] = [];
    batch.forEach(({ tokens, document }, s) => {
      for (let p = 0; p < tokens.length; p++) {
        if (masked.has(tokens[p])) continue;
        this.replaced[s * positions + p] = 1;
        if (p + 1 === tokens.length || masked.has(tokens[p + 1])) continue;
        predicting.push(s * positions + p);
        next.push(tokens[p + 1]);
        this.document.push(document);
      }
    });
    this.predicting = Int32Array.from(predicting);
    this.next = Int32Array.from(next);
  }
}

function spliced(
  activation: tf.Tensor,
  { replaced }: Layout,
  normalizer: InputNormalizer | null,
  replace: (x: tf.Tensor2D) => tf.Tensor2D,
): tf.Tensor {
  const dModel = activation.shape.at(-1)!;
  const raw = tf.reshape(activation, [-1, dModel]) as tf.Tensor2D;
  const where = tf.tensor2d(replaced, [replaced.length, 1]);
  const back = toModelUnits(replace(toStoreUnits(raw, normalizer)), normalizer);
  const mixed = tf.add(tf.mul(back, where), tf.mul(raw, tf.sub(1, where)));
  return tf.reshape(mixed, activation.shape);
}

/** The reconstruction that means zero in raw units. */
function rawZero(x: tf.Tensor2D, normalizer: InputNormalizer | null): tf.Tensor2D {
  if (!normalizer?.mean) return tf.zerosLike(x);
  const zero = tf.mul(tf.tensor1d(Float32Array.from(normalizer.mean)), -normalizer.scale);
  return tf.add(tf.zerosLike(x), zero) as tf.Tensor2D;
}

/** −log p of the given tokens, `[rows]`. */
async function crossEntropies(logProbs: tf.Tensor2D, next: Int32Array): Promise<Float32Array> {
  const chosen = tf.tidy(() => {
    const rows = Int32Array.from(next, (token, i) => i * logProbs.shape[1] + token);
    return tf.neg(tf.gather(tf.reshape(logProbs, [-1]), tf.tensor1d(rows, "int32")));
  });
  const values = await chosen.data<"float32">();
  chosen.dispose();
  return values;
}

/** KL(p ‖ q) of each row from log-probabilities, `[rows]`. */
async function divergences(logP: tf.Tensor2D, logQ: tf.Tensor2D): Promise<Float32Array> {
  const divergence = tf.tidy(() => tf.sum(tf.mul(tf.exp(logP), tf.sub(logP, logQ)), 1));
  const values = await divergence.data<"float32">();
  divergence.dispose();
  return values;
}
