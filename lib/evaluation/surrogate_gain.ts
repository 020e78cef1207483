/**
 * How much of a gain from pairs a dictionary's own interference repeats: the same machines, trained on
 * the activations and on their surrogate, which is linear in its codes.
 *
 * @module
 */
import {
  type ActivationReader,
  type Sae,
  sequentialBatches,
  type SplitName,
  type TrainOptions,
} from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { codesAndResidual, type NfmConfig, trainNfm } from "../interaction/mod.ts";
import { type Rungs, trainRungs } from "../interaction/train_ladder.ts";
import { DocumentSums, type DocumentTable } from "../metrics/document_sums.ts";
import { clusterBootstrap, type Interval } from "../metrics/mod.ts";
import { tf } from "../tensor/mod.ts";

/** What is trained, and what it is measured on. */
export interface SurrogateGainConfig extends TrainOptions {
  /** The machine; what stands alone is its linear part. */
  nfm: Omit<NfmConfig, "parts" | "input">;
  /** Whether the ladder's R2 and R3 are trained, too. Default false. */
  ladder?: boolean;
  /** Which documents are measured. Default `"validation"`. */
  split?: SplitName;
}

/** A gain from pairs on both stores, as a share of the dictionary's squared error on the same store. */
export interface ComparedGain {
  readonly observed: Interval;
  readonly surrogate: Interval;
  /** Observed less surrogate, paired by document. */
  readonly surplus: Interval;
  /** Surrogate / observed: the share of the gain that needs no interaction. */
  readonly repeated: Interval;
}

/** Gains from pairs beside those of interference. */
export interface SurrogateGain {
  /** Squared error of the dictionary alone, surrogate / observed. */
  readonly errorRatio: number;
  /** The machine with both parts beyond its linear part alone. */
  readonly linear: ComparedGain;
  /** R3 beyond R2: pairs beyond all of single features. */
  readonly ladder?: ComparedGain;
  /** Tokens measured on each. */
  readonly tokens: number;
  /** True if a training was stopped before its end. */
  readonly stopped: boolean;
}

const COLUMNS = ["dictionary", "linear", "both", "R2", "R3"] as const;
type Column = typeof COLUMNS[number];

/**
 * Trains machines on a store and on its surrogate, or loads what this configuration gave before, and
 * compares what pairs gain on held-out documents. The intervals draw documents, the same ones of both.
 *
 * A surplus above zero is not yet an interaction. In worlds without any pair the surrogate repeats half
 * to three quarters of the gain where every feature has a latent, and next to nothing where features
 * have none: latents that share features make a gain from pairs that no surrogate of them has.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { memoryStore, openDevice, Rng, Sae, surrogateGain, surrogateStore, tf } from "interlens";
 *
 * await openDevice();
 * // x = (a, b, a·b), of which the dictionary knows a and b.
 * const rng = new Rng(0);
 * const rows = Array.from({ length: 600 }, () => {
 *   const [a, b] = [2 * rng.uniform(), 2 * rng.uniform()];
 *   return [a, b, a * b];
 * });
 * const document = Int32Array.from({ length: 600 }, (_, i) => i % 20);
 * const split = { rows: Float32Array.from(rows.flat()), document };
 * const store = memoryStore(3, { train: split, validation: split, test: split });
 * const W_dec = tf.tensor2d([[1, 0, 0], [0, 1, 0]]);
 * const sae = new Sae({ architecture: "topk", dIn: 3, dSae: 2, k: 2 }, {
 *   W_enc: tf.transpose(W_dec),
 *   b_enc: tf.zeros([2]),
 *   W_dec,
 *   b_dec: tf.zeros([3]),
 * });
 * const surrogate = await surrogateStore(store, sae, { cache: false });
 * const nfm = { K: 4, steps: 150, batchSize: 100, learningRate: 3e-2 };
 * const { linear } = await surrogateGain(store, surrogate, sae, { nfm, cache: false });
 * assert(linear.surplus.low > 0); // nothing interferes, so a product is a product
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param surrogate Theirs, see `surrogateStore`.
 * @param sae The dictionary, which stays as it is.
 * @param config What is trained.
 * @throws {RangeError} If a configuration is impossible, or the two stores are not of the same documents.
 */
export async function surrogateGain(
  store: ActivationReader,
  surrogate: ActivationReader,
  sae: Sae,
  config: SurrogateGainConfig,
): Promise<SurrogateGain> {
  const [observed, made] = [
    await measure(store, sae, config),
    await measure(surrogate, sae, config),
  ];
  const [a, b] = [observed.table, made.table];
  if (`${a.document}` !== `${b.document}` || `${a.tokens}` !== `${b.tokens}`) {
    throw new RangeError(
      "Cannot compare a store with a surrogate of other documents: give the surrogate of this store",
    );
  }
  const compare = (before: Column, after: Column): ComparedGain => {
    const names = ["dictionary", before, after] as const;
    const columns = [a, b].flatMap((table) => names.map((name) => table[name]));
    const gain = ([dictionary, before, after]: number[]) => (before - after) / dictionary;
    const interval = (statistic: (observed: number, surrogate: number) => number) =>
      clusterBootstrap(
        columns,
        (sums) => statistic(gain(sums.slice(0, 3)), gain(sums.slice(3))),
      );
    return {
      observed: interval((observed) => observed),
      surrogate: interval((_, surrogate) => surrogate),
      surplus: interval((observed, surrogate) => observed - surrogate),
      repeated: interval((observed, surrogate) => surrogate / observed),
    };
  };
  const total = (values: number[]) => values.reduce((sum, value) => sum + value, 0);
  return {
    errorRatio: total(b.dictionary) / total(a.dictionary),
    linear: compare("linear", "both"),
    ...config.ladder && { ladder: compare("R2", "R3") },
    tokens: total(a.tokens),
    stopped: observed.stopped || made.stopped,
  };
}

async function measure(
  store: ActivationReader,
  sae: Sae,
  { nfm, ladder = false, split = "validation", ...run }: SurrogateGainConfig,
): Promise<{ table: DocumentTable<Column>; stopped: boolean }> {
  const models: { dispose(): void }[] = [];
  try {
    let stopped = false;
    const train = async (parts: "linear" | "both") => {
      const result = await trainNfm(store, sae, { ...nfm, ...run, parts });
      models.push(result.nfm);
      stopped ||= result.stopped;
      return result.nfm;
    };
    const both = await train("both");
    let rungs: Rungs | undefined;
    if (ladder) {
      rungs = await trainRungs(store, sae, { ...nfm, ...run });
      models.push(rungs.R1, rungs.R2, rungs.R3);
      stopped ||= rungs.stopped;
    }
    // R1 is the linear machine.
    const linear = rungs?.R1 ?? await train("linear");
    const sums = new DocumentSums(COLUMNS);
    const reader = store.split(split);
    const line = progress(`Measuring on ${split} documents`, {
      total: reader.tokens,
      unit: "tokens",
    });
    let done = 0;
    for await (const { x, document } of sequentialBatches(reader, 1024)) {
      const columns = tf.tidy(() => {
        const { codes, residual } = codesAndResidual(sae, x, both.shape.topN);
        const predictions = [
          ...[linear, both].map((machine) => machine.predict(codes)),
          // What was not asked for adds nothing.
          ...(["R2", "R3"] as const).map((rung) =>
            rungs?.predict(rung, codes) ?? tf.zerosLike(residual)
          ),
        ];
        const left = predictions.map((out) => tf.sub(residual, out));
        return tf.stack([residual, ...left].map((t) => tf.sum(tf.square(t), 1)));
      });
      sums.add(document, await columns.data());
      columns.dispose();
      line.update(done += x.shape[0]);
    }
    line.finish();
    return { table: sums.table(), stopped };
  } finally {
    for (const model of models) model.dispose();
  }
}
