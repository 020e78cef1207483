/**
 * Dictionaries on disk, in the form that SAELens 6 and later loads: a folder with
 * `cfg.json` and `sae_weights.safetensors`.
 *
 * The weights are written for raw activations: the scale and mean of the normaliser are
 * folded in, and `normalize_activations` is `"none"`. With x = (raw − mean) · s:
 *
 *     W_enc ← s · W_enc,  W_dec ← W_dec / s,  b_dec ← b_dec / s + mean
 *
 * Feature activations stay as they were in training. Clipping cannot be folded in: the
 * normaliser is stored beside the weights in `input_normalizer.json`, and a reader that ignores
 * it differs on the few elements that were clipped. `loadSae` uses it to undo the folding,
 * so a loaded dictionary takes the same inputs as the saved one.
 *
 * @module
 */
import { join } from "node:path";
import {
  readSafetensors,
  sha256,
  VERSION,
  writeFileAtomic,
  writeSafetensors,
} from "../files/mod.ts";
import { tf } from "../tensor/mod.ts";
import type { InputNormalizer } from "./reader.ts";
import { Sae, type SaeConfig } from "./sae.ts";

const WEIGHTS = "sae_weights.safetensors";
/** The oldest SAELens whose files have this form; older versions are converted by name. */
const SAE_LENS_VERSION = "6.18.0";

/**
 * Writes a dictionary.
 *
 * @param sae The dictionary.
 * @param dir Folder, made if missing.
 */
export async function saveSae(sae: Sae, dir: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  const { architecture, dIn, dSae, k } = sae.config;
  const scale = sae.normalizer?.scale ?? 1;
  const mean = sae.normalizer?.mean ?? undefined;
  const [W_enc, b_enc, W_dec, b_dec] = await readWeights(sae);
  await writeSafetensors(join(dir, WEIGHTS), {
    W_enc: { dtype: "F32", shape: [dIn, dSae], data: W_enc.map((w) => w * scale) },
    b_enc: { dtype: "F32", shape: [dSae], data: b_enc },
    W_dec: { dtype: "F32", shape: [dSae, dIn], data: W_dec.map((w) => w / scale) },
    b_dec: { dtype: "F32", shape: [dIn], data: b_dec.map((b, i) => b / scale + (mean?.[i] ?? 0)) },
  });
  if (sae.normalizer) {
    const { scale, mean, clip } = sae.normalizer;
    await writeFileAtomic(
      join(dir, "input_normalizer.json"),
      JSON.stringify({ scale, mean: mean ? Array.from(mean) : null, clip: clip ?? null }),
    );
  }
  const cfg = {
    architecture,
    d_in: dIn,
    d_sae: dSae,
    ...architecture === "topk" && { k, rescale_acts_by_decoder_norm: false },
    dtype: "float32",
    device: "cpu",
    apply_b_dec_to_input: true,
    normalize_activations: "none",
    reshape_activations: "none",
    metadata: {
      sae_lens_version: SAE_LENS_VERSION,
      sae_lens_training_version: null,
      ...sae.metadata,
      interlens_version: VERSION,
    },
  };
  await writeFileAtomic(join(dir, "cfg.json"), JSON.stringify(cfg, null, 2) + "\n");
}

/**
 * Reads a dictionary that was written by `saveSae`, or by SAELens 6 and later as `standard` or
 * `topk` in float32.
 *
 * @param dir Folder.
 * @throws {Error} If a file is missing or not of this form, naming file and field.
 */
export async function loadSae(dir: string): Promise<Sae> {
  const path = join(dir, "cfg.json");
  const cfg = JSON.parse(await Deno.readTextFile(path));
  const expected: [string, unknown, unknown[]][] = [
    ["architecture", cfg.architecture, ["standard", "topk"]],
    ["normalize_activations", cfg.normalize_activations ?? "none", ["none"]],
    ["dtype", cfg.dtype, ["float32"]],
    [
      "rescale_acts_by_decoder_norm",
      cfg.rescale_acts_by_decoder_norm ?? false,
      [false],
    ],
  ];
  for (const [field, value, known] of expected) {
    if (!known.includes(value)) {
      throw new Error(
        `Cannot load "${path}": its ${field} is ${JSON.stringify(value)}, expected ` +
          known.map((v) => JSON.stringify(v)).join(" or "),
      );
    }
  }
  const { tensors } = await readSafetensors(join(dir, WEIGHTS));
  const names = ["W_enc", "b_enc", "W_dec", "b_dec"] as const;
  const missing = names.filter((name) => !tensors[name]);
  if (missing.length > 0) {
    throw new Error(`Cannot load "${join(dir, WEIGHTS)}": it has no ${missing.join(", ")}`);
  }
  const { d_in: dIn, d_sae: dSae, k } = cfg;
  const shapes = { W_enc: [dIn, dSae], b_enc: [dSae], W_dec: [dSae, dIn], b_dec: [dIn] };
  for (const name of names) {
    if (`${tensors[name].shape}` !== `${shapes[name]}`) {
      throw new Error(
        `Cannot load "${join(dir, WEIGHTS)}": its ${name} has shape [${
          tensors[name].shape
        }], but ` +
          `d_in and d_sae in cfg.json make it [${shapes[name]}]`,
      );
    }
  }
  const normalizer = await readNormalizer(dir);
  const scale = normalizer?.scale ?? 1;
  const mean = normalizer?.mean ?? undefined;
  const [W_enc, b_enc, W_dec, b_dec] = names.map((name) => tensors[name].data as Float32Array);
  const config: SaeConfig = cfg.architecture === "topk"
    ? { architecture: "topk", dIn, dSae, k }
    : { architecture: "standard", dIn, dSae };
  const weights = {
    W_enc: tf.tensor2d(W_enc.map((w) => w / scale), [dIn, dSae]),
    b_enc: tf.tensor1d(b_enc),
    W_dec: tf.tensor2d(W_dec.map((w) => w * scale), [dSae, dIn]),
    b_dec: tf.tensor1d(b_dec.map((b, i) => (b - (mean?.[i] ?? 0)) * scale)),
  };
  if (cfg.apply_b_dec_to_input === false) {
    // (x − b) W + (c + b W) = x W + c.
    const moved = tf.tidy(() =>
      tf.add(
        weights.b_enc,
        tf.squeeze(tf.matMul(tf.expandDims(weights.b_dec, 0), weights.W_enc), [0]),
      ) as tf.Tensor1D
    );
    weights.b_enc.dispose();
    weights.b_enc = moved;
  }
  return new Sae(config, weights, { normalizer, metadata: cfg.metadata ?? {} });
}

/**
 * Sixteen hexadecimal digits that name a dictionary by its weights and shape: what is trained on
 * its codes carries it in its configuration.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fingerprint, openDevice, Sae, tf } from "interlens";
 *
 * await openDevice();
 * const make = () =>
 *   new Sae({ architecture: "standard", dIn: 1, dSae: 1 }, {
 *     W_enc: tf.ones([1, 1]),
 *     b_enc: tf.zeros([1]),
 *     W_dec: tf.ones([1, 1]),
 *     b_dec: tf.zeros([1]),
 *   });
 * assertEquals(await fingerprint(make()), await fingerprint(make()));
 * ```
 */
export async function fingerprint(sae: Sae): Promise<string> {
  const parts = [JSON.stringify(sae.config)];
  for (const weights of await readWeights(sae)) {
    parts.push(
      await sha256(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength)),
    );
  }
  return (await sha256(parts.join())).slice(0, 16);
}

async function readWeights(sae: Sae): Promise<Float32Array[]> {
  const { W_enc, b_enc, W_dec, b_dec } = sae;
  return await Promise.all([W_enc, b_enc, W_dec, b_dec].map((t) => t.data<"float32">()));
}

async function readNormalizer(dir: string): Promise<InputNormalizer | null> {
  try {
    return JSON.parse(await Deno.readTextFile(join(dir, "input_normalizer.json")));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
