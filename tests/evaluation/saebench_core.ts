/** Names of the fields that SAEBench 0.6 requires of a `core` report, and the types of their values. */

const METRICS: Record<string, string[]> = {
  model_behavior_preservation: ["kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"],
  model_performance_preservation: [
    ...["ce_loss_score", "ce_loss_with_ablation", "ce_loss_with_sae", "ce_loss_without_sae"],
  ],
  reconstruction_quality: ["explained_variance", "explained_variance_legacy", "mse", "cossim"],
  shrinkage: ["l2_norm_in", "l2_norm_out", "l2_ratio", "relative_reconstruction_bias"],
  sparsity: ["l0", "l1"],
  token_stats: ["total_tokens_eval_reconstruction", "total_tokens_eval_sparsity_variance"],
  misc_metrics: [
    ...["freq_over_1_percent", "freq_over_10_percent"],
    ...["normalized_freq_over_1_percent", "normalized_freq_over_10_percent"],
    ...["average_max_encoder_cosine_sim", "average_max_decoder_cosine_sim", "frac_alive"],
  ],
};

const FEATURE = [
  ...["index", "feature_density", "consistent_activation_heuristic", "encoder_bias"],
  ...["encoder_norm", "encoder_decoder_cosine_sim", "max_decoder_cosine_sim"],
  ...["max_encoder_cosine_sim"],
];

const CONFIG: Record<string, "string" | "number" | "boolean"> = {
  ...typed("string", ["model_name", "llm_dtype", "dataset"]),
  ...typed("number", ["batch_size_prompts", "n_eval_reconstruction_batches"]),
  ...typed("number", ["n_eval_sparsity_variance_batches", "context_size"]),
  ...typed("boolean", ["compute_kl", "compute_ce_loss", "compute_l2_norms", "verbose"]),
  ...typed("boolean", ["compute_sparsity_metrics", "compute_variance_metrics"]),
  ...typed("boolean", ["compute_featurewise_density_statistics"]),
  ...typed("boolean", ["compute_featurewise_weight_based_metrics"]),
  ...typed("boolean", ["exclude_special_tokens_from_reconstruction"]),
};

const TOP = [
  ...["eval_type_id", "eval_config", "eval_id", "datetime_epoch_millis", "eval_result_metrics"],
  ...["eval_result_details", "sae_bench_commit_hash", "sae_lens_id", "sae_lens_release_id"],
  ...["sae_lens_version", "sae_cfg_dict", "eval_result_unstructured"],
];

const INTEGERS = ["index", ...METRICS.token_stats];

function typed<T extends string>(type: T, names: string[]): Record<string, T> {
  return Object.fromEntries(names.map((name) => [name, type]));
}

type Json = Record<string, unknown>;

/** What a parsed report lacks, and what it has that SAEBench does not know, by the field's name. */
export function differencesFromCore(report: Json): string[] {
  const wrong: string[] = [];
  const same = (node: Json, names: string[], at: string) => {
    const prefix = at && `${at}.`;
    for (const name of names) if (!(name in node)) wrong.push(`${prefix}${name} is missing`);
    for (const name of Object.keys(node)) {
      if (!names.includes(name)) wrong.push(`${prefix}${name} is unknown`);
    }
  };
  const numbers = (node: Json, names: string[], at: string) => {
    same(node, names, at);
    for (const name of names.filter((name) => name in node)) {
      const fits = INTEGERS.includes(name)
        ? Number.isInteger(node[name])
        : typeof node[name] === "number";
      if (!fits) wrong.push(`${at}.${name} is no number`);
    }
  };
  same(report, TOP, "");
  same(report.eval_config as Json, Object.keys(CONFIG), "eval_config");
  for (const [name, type] of Object.entries(CONFIG)) {
    const found: string = typeof (report.eval_config as Json)[name];
    if (found !== type) wrong.push(`eval_config.${name} is no ${type}`);
  }
  const metrics = report.eval_result_metrics as Record<string, Json>;
  same(metrics, Object.keys(METRICS), "eval_result_metrics");
  for (const [group, names] of Object.entries(METRICS)) {
    numbers(metrics[group], names, `eval_result_metrics.${group}`);
  }
  (report.eval_result_details as Json[]).forEach((feature, i) =>
    numbers(feature, FEATURE, `eval_result_details[${i}]`)
  );
  if (report.eval_type_id !== "core") wrong.push(`eval_type_id is "${report.eval_type_id}"`);
  if (!Number.isInteger(report.datetime_epoch_millis)) {
    wrong.push("datetime_epoch_millis is no integer");
  }
  return wrong;
}
