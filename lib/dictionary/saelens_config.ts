/**
 * `cfg.json` as SAELens 6 and later writes and reads it.
 *
 * | here                               | `architecture` there                        |
 * | ---------------------------------- | ------------------------------------------- |
 * | `standard`, `topk`, `jumprelu`, `gated` | the same                               |
 * | `standard` transcoder              | `transcoder`, `skip_transcoder`             |
 * | `jumprelu` transcoder              | `jumprelu_transcoder`, `jumprelu_skip_transcoder` |
 *
 * @module
 */
import { VERSION } from "../files/mod.ts";
import type { Architecture, Sae, SaeConfig } from "./sae.ts";

/** What is read of `cfg.json`. */
export interface SaeLensConfig {
  /** The dictionary. */
  readonly config: SaeConfig;
  /** Whether `b_dec` is subtracted from inputs. */
  readonly subtractsBias: boolean;
  /** Whether norms of decoder rows scale what is compared, as if rows had norm 1. */
  readonly rescales: boolean;
  /** What it says of its origin. */
  readonly metadata: Record<string, unknown>;
}

/** The oldest SAELens whose files have this form; older versions are converted by name. */
const SAE_LENS_VERSION = "6.18.0";

const TRANSCODERS: Record<string, Pick<SaeConfig, "architecture" | "skip">> = {
  transcoder: { architecture: "standard" },
  skip_transcoder: { architecture: "standard", skip: true },
  jumprelu_transcoder: { architecture: "jumprelu" },
  jumprelu_skip_transcoder: { architecture: "jumprelu", skip: true },
};

const AUTOENCODERS: Architecture[] = ["standard", "topk", "jumprelu", "gated"];

const DTYPES = ["float32", "float16", "bfloat16"];

/** `cfg.json` of a dictionary whose weights take raw activations. */
export function toSaeLens({ config, metadata }: Sae): Record<string, unknown> {
  const { architecture, dIn, dSae, k, dOut, skip } = config;
  const transcoder = Object.entries(TRANSCODERS).find(([, other]) =>
    other.architecture === architecture && !!other.skip === !!skip
  );
  const hook = metadata.hook_name;
  return {
    architecture: dOut === undefined ? architecture : transcoder![0],
    d_in: dIn,
    d_sae: dSae,
    ...dOut !== undefined && { d_out: dOut },
    ...architecture === "topk" && { k, rescale_acts_by_decoder_norm: false },
    dtype: "float32",
    device: "cpu",
    apply_b_dec_to_input: dOut === undefined,
    normalize_activations: "none",
    // Heads of a position side by side; SAELens has them on an axis of their own.
    reshape_activations: typeof hook === "string" && hook.endsWith("hook_z") ? "hook_z" : "none",
    metadata: {
      sae_lens_version: SAE_LENS_VERSION,
      sae_lens_training_version: null,
      ...metadata,
      interlens_version: VERSION,
    },
  };
}

/**
 * Reads `cfg.json`.
 *
 * @param path Its name, for messages.
 * @param cfg What is in it.
 * @throws {Error} If the dictionary is not one that can be read, naming the field.
 */
export function fromSaeLens(path: string, cfg: Record<string, unknown>): SaeLensConfig {
  const refuse = (field: string, value: unknown, expected: string): never => {
    throw new Error(
      `Cannot load "${path}": its ${field} is ${JSON.stringify(value)}, expected ${expected}`,
    );
  };
  const oneOf = <T>(field: string, value: unknown, known: readonly T[]): T =>
    known.includes(value as T)
      ? value as T
      : refuse(field, value, known.map((v) => JSON.stringify(v)).join(" or "));
  const size = (field: string): number => {
    const value = cfg[field];
    if (Number.isInteger(value) && (value as number) > 0) return value as number;
    return refuse(field, value, "an integer of at least 1");
  };

  const architecture = oneOf("architecture", cfg.architecture, [
    ...AUTOENCODERS,
    ...Object.keys(TRANSCODERS),
  ]);
  const metadata = (cfg.metadata ?? {}) as Record<string, unknown>;
  const version = metadata.sae_lens_version;
  if (!(parseInt(String(version)) >= 6)) {
    const advice =
      "6.0.0 or later: older files have another form, load it with SAELens and save it";
    refuse("metadata.sae_lens_version", version, advice);
  }
  oneOf("normalize_activations", cfg.normalize_activations ?? "none", ["none"]);
  oneOf("reshape_activations", cfg.reshape_activations ?? "none", ["none", "hook_z"]);
  oneOf("dtype", String(cfg.dtype).replace(/^torch\./, ""), DTYPES);
  const transcoder = TRANSCODERS[architecture];
  const subtractsBias = oneOf(
    "apply_b_dec_to_input",
    cfg.apply_b_dec_to_input ?? !transcoder,
    transcoder ? [false] : [true, false],
  );
  const rescales = oneOf(
    "rescale_acts_by_decoder_norm",
    cfg.rescale_acts_by_decoder_norm ?? false,
    architecture === "topk" ? [true, false] : [false],
  );
  return {
    config: {
      ...transcoder ?? { architecture: architecture as Architecture },
      dIn: size("d_in"),
      dSae: size("d_sae"),
      ...architecture === "topk" && { k: size("k") },
      ...transcoder && { dOut: size("d_out") },
    },
    subtractsBias,
    rescales,
    metadata,
  };
}
