/**
 * Everything that is usually said about a dictionary, on held-out documents, with intervals over
 * them and as a file that tools for SAEBench read.
 *
 * @module
 */
import type { ActivationReader, Sae, SplitName } from "../dictionary/mod.ts";
import { VERSION, writeFileAtomic } from "../files/mod.ts";
import {
  type BootstrapOptions,
  clusterBootstrap,
  type DensityHistogram,
  densityHistogram,
  featureGeometry,
  type Interval,
  type PerDocument,
  type ShrinkagePerDocument,
  type SparsityPerDocument,
} from "../metrics/mod.ts";
import type { Model } from "../model/mod.ts";
import { tf } from "../tensor/mod.ts";
import {
  type CoreFeature,
  type CoreMetrics,
  type CoreReport,
  featureRows,
  frequencies,
  withoutNaN,
} from "./core_report.ts";
import { type CodeMeters, measureCodes } from "./measure_codes.ts";
import { spliceIn, type SplicePerDocument, type SpliceSequence } from "./splice.ts";

/** What is measured, and where it goes. */
export interface EvaluateSaeOptions {
  /** Which documents. Default `"test"`. */
  split?: SplitName;
  /** Tokens a batch. Default 1024. */
  batchSize?: number;
  /** Default: all of the split. */
  maxTokens?: number;
  /** The model into which reconstructions are spliced, with its output head; needs `sequences`. */
  model?: Pick<Model, "runWithHooks">;
  /** Held-out text to splice into, at least two documents; such as `drawSequences` gives. */
  sequences?: readonly SpliceSequence[];
  /** Hook point of the splice. Default: that of the store. */
  hook?: string;
  /** Ids that keep their activation in the splice and are not measured. Default: none. */
  maskedTokens?: readonly number[];
  /** Sequences that run together. Default 4. */
  sequenceBatch?: number;
  /** Tokens without firing that make a feature dead. Default: dead features are not counted. */
  deadWindow?: number;
  /** How intervals are made. */
  bootstrap?: BootstrapOptions;
  /** Whether the report has a row for each feature. Default true. */
  features?: boolean;
  /** File for the report, JSON, written whole or not at all. Default: none. */
  path?: string;
  /** Name of the model, for the report. Default: that of the store, if it has one. */
  modelName?: string;
  /** Name of the text, for the report. Default `""`. */
  dataset?: string;
  /** UUID of the report. Default: a random one. */
  id?: string;
  /** Time of the report. Default: now. */
  time?: Date;
}

/** Numbers with intervals over documents; one document alone gives infinite ones. */
export interface SaeIntervals {
  /** Fraction of variance unexplained. */
  readonly fvu: Interval;
  /** 1 − FVU. */
  readonly explainedVariance: Interval;
  /** The study's uncentred 100 · Σ‖x − x̂‖² / Σ‖x‖². */
  readonly errorPercent: Interval;
  /** Mean squared error, summed over elements. */
  readonly mse: Interval;
  /** Mean cosine. */
  readonly cosine: Interval;
  /** Mean ‖x̂‖ / ‖x‖. */
  readonly l2Ratio: Interval;
  /** Σ‖x̂‖² / Σ x·x̂. */
  readonly relativeReconstructionBias: Interval;
  /** Mean number of active features. */
  readonly l0: Interval;
  /** Mean sum of activations. */
  readonly l1: Interval;
  /** CE recovered; with a model only. */
  readonly ceRecovered?: Interval;
  /** KL recovered; with a model only. */
  readonly klRecovered?: Interval;
}

/** What `evaluateSae` found. */
export interface SaeEvaluation {
  /** In the form of SAEBench; what was written to `path`. */
  readonly report: CoreReport;
  /** Numbers with intervals over documents. */
  readonly intervals: SaeIntervals;
  /** What they are made of, by document: for paired intervals between dictionaries. */
  readonly perDocument: {
    readonly reconstruction: PerDocument;
    readonly shrinkage: ShrinkagePerDocument;
    readonly sparsity: SparsityPerDocument;
    readonly splice?: SplicePerDocument<"sae">;
  };
  /** Share of tokens on which each feature fires, `[dSae]`. */
  readonly densities: Float64Array;
  /** Features by log₁₀ of their density. */
  readonly histogram: DensityHistogram;
  /** Share of features that did not fire on the last `deadWindow` tokens; with that option only. */
  readonly deadFraction?: number;
}

/**
 * Evaluates a dictionary.
 *
 * Activations are measured in the units of the model: those of the store, unscaled. Without a model
 * the numbers of the splice are missing, and −1 in the report.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { evaluateSae, memoryStore, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3, 6), document: Int32Array.of(0, 0, 1, 1) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * const sae = new Sae({ architecture: "standard", dIn: 1, dSae: 1 }, {
 *   W_enc: tf.tensor2d([[1]]),
 *   b_enc: tf.zeros([1]),
 *   W_dec: tf.tensor2d([[0.5]]),
 *   b_dec: tf.zeros([1]),
 * }); // half of x
 * const { report, intervals } = await evaluateSae(store, sae);
 * const { shrinkage, sparsity } = report.eval_result_metrics;
 * assertEquals(shrinkage.relative_reconstruction_bias, 0.5);
 * assertEquals(sparsity.l0, 1);
 * assertAlmostEquals(intervals.fvu.estimate, 12.5 / 14, 1e-6);
 * ```
 *
 * @param store Activations in the dictionary's units; of a transcoder, a `pairReader`.
 * @param sae The dictionary.
 * @param options What is measured, and where it goes.
 * @throws {RangeError} If model and sequences do not come together, or a transcoder is to be spliced.
 */
export async function evaluateSae(
  store: ActivationReader,
  sae: Sae,
  options: EvaluateSaeOptions = {},
): Promise<SaeEvaluation> {
  const { split = "test", batchSize = 1024, maxTokens, deadWindow, bootstrap = {} } = options;
  requireSplice(options, sae);
  const meters = await measureCodes(store, sae, { split, batchSize, maxTokens, deadWindow });
  const spliced = options.model && await spliceIn(options.model, options.sequences!, {
    hook: options.hook ?? store.hook ?? "",
    normalizer: store.normalizer ?? null,
    maskedTokens: options.maskedTokens,
    batchSize: options.sequenceBatch,
    reconstructions: { sae: (x: tf.Tensor2D) => sae.reconstruct(x) },
  });

  const perDocument = {
    reconstruction: meters.reconstruction.perDocument(),
    shrinkage: meters.shrinkage.perDocument(),
    sparsity: meters.sparsity.perDocument(),
    ...spliced && { splice: spliced.perDocument },
  };
  const intervals: SaeIntervals = {
    ...intervalsOf(perDocument, bootstrap),
    ...spliced && {
      ceRecovered: spliced.effects.sae.recovered,
      klRecovered: spliced.effects.sae.klRecovered,
    },
  };
  const densities = meters.activity.densities();
  const histogram = densityHistogram(densities);
  const deadFraction = meters.dead?.fraction();
  const { features, cosines } = await describeFeatures(sae, meters);
  const metrics = withoutNaN<CoreMetrics>({
    model_behavior_preservation: {
      kl_div_score: spliced?.effects.sae.klRecovered.estimate ?? NaN,
      kl_div_with_ablation: spliced?.zeroKl ?? NaN,
      kl_div_with_sae: spliced?.effects.sae.kl ?? NaN,
    },
    model_performance_preservation: {
      ce_loss_score: spliced?.effects.sae.recovered.estimate ?? NaN,
      ce_loss_with_ablation: spliced?.zero ?? NaN,
      ce_loss_with_sae: spliced?.effects.sae.crossEntropy ?? NaN,
      ce_loss_without_sae: spliced?.clean ?? NaN,
    },
    reconstruction_quality: {
      explained_variance: intervals.explainedVariance.estimate,
      explained_variance_legacy: meters.tokenwise.explainedVariance(),
      mse: intervals.mse.estimate,
      cossim: intervals.cosine.estimate,
    },
    shrinkage: {
      l2_norm_in: meters.shrinkage.summary().l2NormIn,
      l2_norm_out: meters.shrinkage.summary().l2NormOut,
      l2_ratio: intervals.l2Ratio.estimate,
      relative_reconstruction_bias: intervals.relativeReconstructionBias.estimate,
    },
    sparsity: meters.sparsity.summary(),
    token_stats: {
      total_tokens_eval_reconstruction: spliced?.tokens ?? 0,
      total_tokens_eval_sparsity_variance: meters.activity.tokens,
    },
    misc_metrics: { ...frequencies(densities), ...cosines },
  });
  const report: CoreReport = {
    eval_type_id: "core",
    eval_config: configOf(store, meters, options),
    eval_id: options.id ?? crypto.randomUUID(),
    datetime_epoch_millis: (options.time ?? new Date()).getTime(),
    eval_result_metrics: metrics.value,
    eval_result_details: options.features === false ? [] : features,
    sae_bench_commit_hash: `interlens ${VERSION}`,
    sae_lens_id: null,
    sae_lens_release_id: null,
    sae_lens_version: null,
    sae_cfg_dict: cfgDict(sae),
    eval_result_unstructured: {
      split,
      hook: options.hook ?? store.hook ?? null,
      not_computed: metrics.replaced,
      consistent_activation_is_by: meters.sequencesAre,
      intervals,
      density_histogram: histogram,
      ...deadWindow !== undefined && { dead: { fraction: deadFraction, window: deadWindow } },
      per_document: perDocument,
    },
  };
  if (options.path) await writeFileAtomic(options.path, JSON.stringify(report, null, 1) + "\n");
  return { report, intervals, perDocument, densities, histogram, deadFraction };
}

function requireSplice({ model, sequences }: EvaluateSaeOptions, sae: Sae): void {
  if (!model !== !sequences) {
    throw new RangeError(
      `Cannot splice with ${model ? "a model and no sequences" : "sequences and no model"}: give ` +
        "both, or neither",
    );
  }
  if (model && sae.config.dOut !== undefined) {
    throw new RangeError(
      "Cannot splice a transcoder in the place of what it reads: leave the model out, and use " +
        "attachSae",
    );
  }
}

function intervalsOf(
  { reconstruction, shrinkage, sparsity }: Pick<
    SaeEvaluation["perDocument"],
    "reconstruction" | "shrinkage" | "sparsity"
  >,
  bootstrap: BootstrapOptions,
): SaeIntervals {
  const { squaredError, variation, squaredNorm, tokens } = reconstruction;
  const ratio = (
    numerator: number[],
    denominator: number[],
    change: (ratio: number) => number = (ratio) => ratio,
  ): Interval => {
    const statistic = ([n, d]: number[]) => change(n / d);
    if (tokens.length > 1) return clusterBootstrap([numerator, denominator], statistic, bootstrap);
    // One document says nothing about others.
    const estimate = statistic([numerator[0], denominator[0]]);
    return { estimate, low: -Infinity, high: Infinity };
  };
  return {
    fvu: ratio(squaredError, variation),
    explainedVariance: ratio(squaredError, variation, (fvu) => 1 - fvu),
    errorPercent: ratio(squaredError, squaredNorm, (share) => 100 * share),
    mse: ratio(squaredError, tokens),
    cosine: ratio(shrinkage.cosine, tokens),
    l2Ratio: ratio(shrinkage.normRatio, tokens),
    relativeReconstructionBias: ratio(shrinkage.squaredNormOut, shrinkage.dot),
    l0: ratio(sparsity.l0, tokens),
    l1: ratio(sparsity.l1, tokens),
  };
}

/** Rows of the features and means of their cosines; weights as the dictionary is saved. */
async function describeFeatures(sae: Sae, { activity }: CodeMeters): Promise<{
  features: CoreFeature[];
  cosines: Pick<
    CoreMetrics["misc_metrics"],
    "average_max_encoder_cosine_sim" | "average_max_decoder_cosine_sim"
  >;
}> {
  const geometry = await featureGeometry(sae.W_enc, sae.W_dec);
  const scale = sae.normalizer?.scale ?? 1;
  const mean = (values: Float32Array) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    features: featureRows({
      feature_density: activity.densities(),
      consistent_activation_heuristic: activity.tokensPerSequence(),
      encoder_bias: await encoderBias(sae),
      encoder_norm: geometry.encoderNorm.map((norm) => norm * scale),
      encoder_decoder_cosine_sim: geometry.encoderDecoderCosine,
      max_decoder_cosine_sim: geometry.maxDecoderCosine,
      max_encoder_cosine_sim: geometry.maxEncoderCosine,
    }),
    cosines: {
      average_max_encoder_cosine_sim: mean(geometry.maxEncoderCosine),
      average_max_decoder_cosine_sim: mean(geometry.maxDecoderCosine),
    },
  };
}

/** The bias of a saved dictionary; a transcoder's takes up the mean that a store subtracted. */
async function encoderBias(sae: Sae): Promise<Float32Array> {
  const { b_mag, b_enc, W_enc, normalizer, config } = sae as Sae & { b_mag?: tf.Tensor1D };
  const bias = tf.tidy(() => {
    const own = b_mag ?? b_enc;
    const shift = config.dOut !== undefined && normalizer?.mean
      ? tf.tensor2d(Float32Array.from(normalizer.mean), [1, config.dIn])
      : undefined;
    if (!shift) return tf.clone(own);
    return tf.sub(own, tf.reshape(tf.matMul(tf.mul(shift, normalizer!.scale), W_enc), [-1]));
  });
  const values = await bias.data<"float32">();
  bias.dispose();
  return values;
}

function configOf(
  store: ActivationReader,
  { batches }: CodeMeters,
  { model, sequences = [], maskedTokens = [], ...options }: EvaluateSaeOptions,
): CoreReport["eval_config"] {
  const manifest = store.manifest as { contextLength?: number } | null;
  const { sequenceBatch = 4, dataset = "" } = options;
  const longest = Math.max(0, ...sequences.map(({ tokens }) => tokens.length));
  return {
    model_name: options.modelName ?? store.model?.name ?? "",
    llm_dtype: "float32",
    batch_size_prompts: sequenceBatch,
    n_eval_reconstruction_batches: Math.ceil(sequences.length / sequenceBatch),
    n_eval_sparsity_variance_batches: batches,
    dataset,
    context_size: manifest?.contextLength ?? longest,
    compute_kl: !!model,
    compute_ce_loss: !!model,
    compute_l2_norms: true,
    compute_sparsity_metrics: true,
    compute_variance_metrics: true,
    compute_featurewise_density_statistics: true,
    compute_featurewise_weight_based_metrics: true,
    exclude_special_tokens_from_reconstruction: maskedTokens.length > 0,
    verbose: false,
  };
}

function cfgDict({ config, metadata }: Sae): Record<string, unknown> {
  const { architecture, dIn, dSae, k, dOut } = config;
  return {
    architecture,
    d_in: dIn,
    d_sae: dSae,
    ...k !== undefined && { k },
    ...dOut !== undefined && { d_out: dOut },
    dtype: "float32",
    metadata,
  };
}
