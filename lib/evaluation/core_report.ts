/**
 * The form in which SAEBench publishes its `core` evaluation, so that tables and plots made for it
 * take dictionaries of ours too. Field names are SAEBench's; what a number means is said here, and
 * where its code is known to compute something else, the number that its name promises is given.
 *
 * A number that was not computed is −1, as there; `eval_result_unstructured.not_computed` lists them.
 *
 * @module
 */

/** Settings of an evaluation. */
export interface CoreEvalConfig {
  /** The language model. */
  model_name: string;
  /** Precision of the language model. */
  llm_dtype: string;
  /** Sequences that run together. */
  batch_size_prompts: number;
  /** Batches of sequences into which reconstructions were spliced. */
  n_eval_reconstruction_batches: number;
  /** Batches of activations. */
  n_eval_sparsity_variance_batches: number;
  /** Where the text is from. */
  dataset: string;
  /** Longest sequence, tokens. */
  context_size: number;
  /** Whether the group `model_behavior_preservation` was computed. */
  compute_kl: boolean;
  /** Whether the group `model_performance_preservation` was computed. */
  compute_ce_loss: boolean;
  /** Whether the group `shrinkage` was computed. */
  compute_l2_norms: boolean;
  /** Whether the group `sparsity` was computed. */
  compute_sparsity_metrics: boolean;
  /** Whether the group `reconstruction_quality` was computed. */
  compute_variance_metrics: boolean;
  /** Whether densities were computed. */
  compute_featurewise_density_statistics: boolean;
  /** Whether norms and cosines were computed. */
  compute_featurewise_weight_based_metrics: boolean;
  /** Whether special tokens kept their activation and were not measured. */
  exclude_special_tokens_from_reconstruction: boolean;
  /** Whether progress was printed. */
  verbose: boolean;
}

/** The numbers, by group. Lengths and errors are in the units of the model. */
export interface CoreMetrics {
  /** KL divergence from the predictions of the model as it is, nats a token. */
  model_behavior_preservation: {
    /** (KL_zero − KL_sae) / KL_zero. */
    kl_div_score: number;
    /** With the activation set to zero. */
    kl_div_with_ablation: number;
    /** With the reconstruction. */
    kl_div_with_sae: number;
  };
  /** Cross-entropy of the next token, nats. */
  model_performance_preservation: {
    /** (CE_zero − CE_sae) / (CE_zero − CE_clean). */
    ce_loss_score: number;
    /** With the activation set to zero. */
    ce_loss_with_ablation: number;
    /** With the reconstruction. */
    ce_loss_with_sae: number;
    /** As it is. */
    ce_loss_without_sae: number;
  };
  /** How near reconstructions come. */
  reconstruction_quality: {
    /** 1 − FVU: sums over all tokens before the division, relative to the mean. */
    explained_variance: number;
    /** Mean over tokens of 1 − ‖x − x̂‖² / ‖x − x̄‖². */
    explained_variance_legacy: number;
    /** Mean over tokens of ‖x − x̂‖², summed over elements. */
    mse: number;
    /** Mean cosine. */
    cossim: number;
  };
  /** Whether they are too short. */
  shrinkage: {
    /** Mean ‖x‖. */
    l2_norm_in: number;
    /** Mean ‖x̂‖. */
    l2_norm_out: number;
    /** Mean ‖x̂‖ / ‖x‖. */
    l2_ratio: number;
    /** Σ‖x̂‖² / Σ x·x̂. */
    relative_reconstruction_bias: number;
  };
  /** How sparse codes are. */
  sparsity: {
    /** Mean number of active features. */
    l0: number;
    /** Mean sum of activations, in the dictionary's units. */
    l1: number;
  };
  /** On how much it was measured. */
  token_stats: {
    /** Tokens that were predicted with reconstructions in place. */
    total_tokens_eval_reconstruction: number;
    /** Tokens whose activations were measured. */
    total_tokens_eval_sparsity_variance: number;
  };
  /** About all features. */
  misc_metrics: {
    /** Share of features that fire on more than 1 % of tokens. */
    freq_over_1_percent: number;
    /** Share of features that fire on more than 10 %. */
    freq_over_10_percent: number;
    /** Share of all firings that those of more than 1 % have. */
    normalized_freq_over_1_percent: number;
    /** Share of all firings that those of more than 10 % have. */
    normalized_freq_over_10_percent: number;
    /** Mean over features of the largest cosine with another encoder direction. */
    average_max_encoder_cosine_sim: number;
    /** Mean over features of the largest cosine with another decoder direction. */
    average_max_decoder_cosine_sim: number;
    /** Share of features that fired at all. */
    frac_alive: number;
  };
}

/** One feature; weights are those of the saved dictionary, which takes raw activations. */
export interface CoreFeature {
  /** Its number. */
  index: number;
  /** Share of tokens on which it fires. */
  feature_density: number;
  /** Tokens on which it fires in a sequence in which it fires. */
  consistent_activation_heuristic: number;
  /** Its encoder bias; of the magnitude, in a gated dictionary. */
  encoder_bias: number;
  /** Norm of its encoder direction. */
  encoder_norm: number;
  /** Cosine of its encoder and decoder directions. */
  encoder_decoder_cosine_sim: number;
  /** Largest cosine with another decoder direction. */
  max_decoder_cosine_sim: number;
  /** Largest cosine with another encoder direction. */
  max_encoder_cosine_sim: number;
}

/** A whole report. */
export interface CoreReport {
  /** `"core"`. */
  eval_type_id: "core";
  /** Settings. */
  eval_config: CoreEvalConfig;
  /** UUID of this evaluation. */
  eval_id: string;
  /** When it was made, milliseconds since 1970. */
  datetime_epoch_millis: number;
  /** The numbers. */
  eval_result_metrics: CoreMetrics;
  /** By feature. */
  eval_result_details: CoreFeature[];
  /** What made it: not SAEBench, so its name and version stand here. */
  sae_bench_commit_hash: string;
  /** Name of the dictionary in SAELens; ours have none. */
  sae_lens_id: string | null;
  /** Release in SAELens; ours have none. */
  sae_lens_release_id: string | null;
  /** Version of SAELens that ran; none did. */
  sae_lens_version: string | null;
  /** The dictionary's configuration. */
  sae_cfg_dict: Record<string, unknown> | null;
  /** What has no place elsewhere. */
  eval_result_unstructured: Record<string, unknown>;
}

/** Significant digits of the numbers of a feature: float32 has no more, and there are many. */
const FEATURE_DIGITS = 7;

/**
 * Puts −1 in the place of numbers that JSON does not have.
 *
 * @returns The same groups, and the names of what was replaced, such as `"shrinkage.l2_ratio"`.
 */
export function withoutNaN<T extends object>(groups: T): { value: T; replaced: string[] } {
  const replaced: string[] = [];
  const clean = (node: unknown, name: string): unknown => {
    if (typeof node === "number" && !Number.isFinite(node)) {
      replaced.push(name);
      return -1;
    }
    if (typeof node !== "object" || node === null) return node;
    return Object.fromEntries(
      Object.entries(node).map((
        [key, child],
      ) => [key, clean(child, name ? `${name}.${key}` : key)]),
    );
  };
  return { value: clean(groups, "") as T, replaced };
}

/** Shares of features, and of firings, by density. */
export function frequencies(
  densities: Float64Array,
): Omit<
  CoreMetrics["misc_metrics"],
  "average_max_encoder_cosine_sim" | "average_max_decoder_cosine_sim"
> {
  const all = densities.reduce((sum, density) => sum + density, 0);
  const share = (least: number) =>
    densities.filter((density) => density > least).length / densities.length;
  const mass = (least: number) =>
    all === 0
      ? 0
      : densities.reduce((sum, density) => density > least ? sum + density : sum, 0) / all;
  return {
    freq_over_1_percent: share(0.01),
    freq_over_10_percent: share(0.1),
    normalized_freq_over_1_percent: mass(0.01),
    normalized_freq_over_10_percent: mass(0.1),
    frac_alive: share(0),
  };
}

/** Rows of features from columns; what is not a number becomes −1. */
export function featureRows(
  columns: Record<Exclude<keyof CoreFeature, "index">, ArrayLike<number>>,
): CoreFeature[] {
  const names = Object.keys(columns) as (keyof typeof columns)[];
  return Array.from({ length: columns.feature_density.length }, (_, index) =>
    ({
      index,
      ...Object.fromEntries(names.map((name) => {
        const value = columns[name][index];
        return [name, Number.isFinite(value) ? Number(value.toPrecision(FEATURE_DIGITS)) : -1];
      })),
    }) as CoreFeature);
}
