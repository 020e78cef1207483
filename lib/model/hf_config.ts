/**
 * `config.json` as Hugging Face's transformers writes it, read as {@link ModelConfig}.
 *
 * A field that changes the forward pass and is not supported is refused by name; a field that is
 * not known here is named in a notice. Nothing is passed over in silence.
 *
 * @module
 */
import { notice } from "../display/mod.ts";
import { checkConfig, type ModelConfig, type RopeScaling } from "./config.ts";

/** What a configuration says beyond the sizes. */
export interface HfModelConfig extends ModelConfig {
  /** True if queries, keys and values have a bias. */
  readonly qkvBias: boolean;
  /** True if the attention output has one. */
  readonly outBias: boolean;
}

/** Families with this forward pass. */
const FAMILIES = ["llama", "mistral", "qwen2"];

/** Fields that are read below. */
const READ = [
  ...["model_type", "hidden_size", "num_hidden_layers", "num_attention_heads"],
  ...["num_key_value_heads", "head_dim", "intermediate_size", "vocab_size"],
  ...["max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters", "rms_norm_eps"],
  ...["tie_word_embeddings", "bos_token_id", "eos_token_id", "sliding_window"],
  ...["use_sliding_window", "max_window_layers", "layer_types", "attention_bias", "name_or_path"],
];

/** Fields that say how a model was trained, stored or named, not what it computes. */
const HARMLESS = [
  ...[
    "_name_or_path",
    "architectures",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "use_cache",
  ],
  ...[
    "initializer_range",
    "pad_token_id",
    "unk_token_id",
    "sep_token_id",
    "decoder_start_token_id",
  ],
  ...["attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "pretraining_tp"],
  ...["max_sequence_length", "max_length", "output_attentions", "output_hidden_states"],
  ...["return_dict", "torchscript", "use_bfloat16", "is_encoder_decoder", "id2label", "label2id"],
  ...["problem_type", "task_specific_params", "finetuning_task", "tokenizer_class", "prefix"],
  ...["auto_map", "_attn_implementation", "_attn_implementation_autoset", "attn_implementation"],
  ...["chunk_size_feed_forward", "gradient_checkpointing", "use_mrope", "transformers.js_config"],
  ...["is_llama_config", "_commit_hash", "num_labels", "unsloth_version", "unsloth_fixed"],
];

/** Fields that change the forward pass, with the values at which they do not. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  hidden_act: ["silu", "swish"],
  hidden_activation: ["silu", "swish"],
  mlp_bias: [false],
  partial_rotary_factor: [1],
  rope_interleaved: [false],
  quantization_config: [],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  logit_scale: [1],
  logits_scaling: [1],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  attention_multiplier: [],
  query_pre_attn_scalar: [],
  num_local_experts: [0, 1],
  num_experts: [0, 1],
  no_rope_layers: [],
  use_qk_norm: [false],
  qk_norm: [false],
  norm_type: ["rms_norm", "rmsnorm"],
  add_cross_attention: [false],
  is_decoder: [true, false],
  parallel_residual: [false],
  use_parallel_residual: [false],
  pruned_heads: [],
  attention_sinks: [],
};

/**
 * Reads a configuration.
 *
 * @param json What `config.json` holds.
 * @param where The file, for errors.
 * @param identity Name and hash of the model.
 * @throws {Error} If a field is missing, or asks for something that is not supported, by name.
 * @throws {RangeError} If no model can have these sizes.
 */
export function readHfConfig(
  json: Record<string, unknown>,
  where: string,
  identity: { name: string; hash: string },
): HfModelConfig {
  const fail = (why: string): never => {
    throw new Error(`Cannot use "${where}": ${why}`);
  };
  const shown = (value: unknown) => JSON.stringify(value);
  const number = (field: string, otherwise?: number): number => {
    const value = json[field] ?? otherwise;
    return typeof value === "number" ? value : fail(
      `${field} is ${value === undefined ? "missing" : shown(value)}; expected a number`,
    );
  };
  const flag = (field: string, otherwise: boolean): boolean => {
    const value = json[field] ?? otherwise;
    return typeof value === "boolean" ? value : fail(
      `${field} is ${shown(value)}; expected true or false`,
    );
  };

  const family = json.model_type;
  if (typeof family !== "string" || !FAMILIES.includes(family)) {
    fail(
      `model_type is ${shown(family)}; expected ${FAMILIES.map((name) => `"${name}"`).join(", ")}`,
    );
  }
  for (const [field, values] of Object.entries(NEUTRAL)) {
    const value = json[field] ?? undefined;
    if (value !== undefined && !values.includes(value) && !isEmpty(value)) {
      fail(
        `${field} is ${shown(value)}, which is not supported` +
          (values.length > 0 ? `; expected ${values.map(shown).join(" or ")}` : ""),
      );
    }
  }
  warnOfUnknown(json, where);

  const dModel = number("hidden_size");
  const nLayers = number("num_hidden_layers");
  const nHeads = number("num_attention_heads");
  const context = number("max_position_embeddings", 2048);
  const { theta, scaling } = readRope(json, context, fail);
  const bias = family === "qwen2" || flag("attention_bias", false);
  const cfg: ModelConfig = {
    ...identity,
    dModel,
    nLayers,
    nHeads,
    nKvHeads: number("num_key_value_heads", family === "mistral" ? 8 : nHeads),
    dHead: number("head_dim", dModel / nHeads),
    dMlp: number("intermediate_size"),
    vocabSize: number("vocab_size"),
    // Dynamic scaling is for runs beyond what was trained; the others say the longer length.
    contextLength: scaling?.type === "dynamic" ? Math.floor(context * scaling.factor) : context,
    ropeTheta: theta,
    ropeScaling: scaling,
    slidingWindow: readWindow(json, nLayers, fail),
    rmsEps: number("rms_norm_eps", 1e-6),
    tied: flag("tie_word_embeddings", false),
    bosId: firstId(json.bos_token_id) ?? 1,
    eosId: firstId(json.eos_token_id) ?? 2,
  };
  checkConfig(cfg);
  return { ...cfg, qkvBias: bias, outBias: family !== "qwen2" && bias };
}

/** Qwen2 and some others give several ids; the first is the one that ends a text. */
function firstId(value: unknown): number | undefined {
  const first = [value].flat()[0];
  return typeof first === "number" ? first : undefined;
}

function isEmpty(value: unknown): boolean {
  return value !== null && typeof value === "object" && Object.keys(value).length === 0;
}

type Fail = (why: string) => never;

function readRope(
  json: Record<string, unknown>,
  context: number,
  fail: Fail,
): { theta: number; scaling: RopeScaling | undefined } {
  // Transformers 5 has one object where 4 had two fields.
  const field = json.rope_parameters != null ? "rope_parameters" : "rope_scaling";
  const rope = (json[field] ?? {}) as Record<string, unknown>;
  if (typeof rope !== "object" || Array.isArray(rope)) {
    fail(`${field} is ${JSON.stringify(rope)}; expected an object`);
  }
  const theta = rope.rope_theta ?? json.rope_theta ?? 10_000;
  if (typeof theta !== "number") fail(`rope_theta is ${JSON.stringify(theta)}; expected a number`);
  const number = (name: string, otherwise?: number): number => {
    const value = rope[name] ?? otherwise;
    return typeof value === "number" && value > 0 ? value : fail(
      `${field}.${name} is ${value === undefined ? "missing" : JSON.stringify(value)}; expected ` +
        `a positive number`,
    );
  };
  const partial = rope.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    fail(`${field}.partial_rotary_factor is ${JSON.stringify(partial)}, which is not supported`);
  }
  const type = rope.rope_type ?? rope.type ?? "default";
  const scaling = ((): RopeScaling | undefined => {
    switch (type) {
      case "default":
        return undefined;
      case "linear":
        return { type: "linear", factor: number("factor") };
      case "dynamic":
        return { type: "dynamic", factor: number("factor"), originalContext: context };
      case "llama3":
        return {
          type: "llama3",
          factor: number("factor"),
          lowFreqFactor: number("low_freq_factor"),
          highFreqFactor: number("high_freq_factor"),
          originalContext: number("original_max_position_embeddings"),
        };
      default:
        return fail(
          `${field} of type ${JSON.stringify(type)} is not supported; expected "default", ` +
            `"linear", "dynamic" or "llama3"`,
        );
    }
  })();
  return { theta: theta as number, scaling };
}

/** One window for all layers, or none. */
function readWindow(
  json: Record<string, unknown>,
  nLayers: number,
  fail: Fail,
): number | undefined {
  const window = json.sliding_window ?? undefined;
  if (window === undefined || json.use_sliding_window === false) return undefined;
  if (typeof window !== "number") {
    fail(`sliding_window is ${JSON.stringify(window)}; expected a number`);
  }
  if (Array.isArray(json.layer_types)) {
    const types = new Set(json.layer_types.slice(0, nLayers));
    const known = [...types].every((t) => t === "full_attention" || t === "sliding_attention");
    if (types.size !== 1 || !known) {
      fail(
        `layer_types mixes ${[...types].map((t) => JSON.stringify(t)).join(" and ")}, which is ` +
          `not supported; expected one kind for all layers`,
      );
    }
    return types.has("full_attention") ? undefined : window as number;
  }
  if (json.model_type === "llama") {
    fail(`sliding_window is ${window} in a model of type "llama", which has none`);
  }
  if (json.model_type === "qwen2") {
    // Layers before max_window_layers see everything.
    const first = json.max_window_layers ?? 28;
    if (json.use_sliding_window === undefined || Number(first) >= nLayers) return undefined;
    if (first !== 0) {
      fail(`max_window_layers is ${first} of ${nLayers}: a window in some layers is not supported`);
    }
  }
  return window as number;
}

function warnOfUnknown(json: Record<string, unknown>, where: string): void {
  const known = new Set([...READ, ...HARMLESS, ...Object.keys(NEUTRAL)]);
  const unknown = Object.entries(json)
    .filter(([field, value]) => !known.has(field) && value !== null && value !== false)
    .map(([field]) => field);
  if (unknown.length > 0) {
    notice(
      `"${where}" has fields that are not known here and were not used: ${unknown.join(", ")}`,
    );
  }
}
