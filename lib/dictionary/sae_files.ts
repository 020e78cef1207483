/**
 * Dictionaries on disk, in the form that SAELens 6 and later loads: a folder with
 * `cfg.json` and `sae_weights.safetensors`.
 *
 * The weights are written for raw activations: the scale and mean of the normaliser are
 * folded in, and `normalize_activations` is `"none"`.
 *
 * Feature activations stay as they were in training. Clipping cannot be folded in: the
 * normaliser is stored beside the weights in `input_normalizer.json`, and a reader that ignores
 * it differs on the few elements that were clipped. `loadSae` uses it to undo the folding,
 * so a loaded dictionary takes the same inputs as the saved one. A transcoder has an
 * `output_normalizer.json`, too.
 *
 * @module
 */
import { join } from "node:path";
import { sha256, type StoredTensor, writeFileAtomic, writeSafetensors } from "../files/mod.ts";
import { tf } from "../tensor/mod.ts";
import { openFile } from "../weights/byte_source.ts";
import { safetensorsPlaces } from "../weights/safetensors.ts";
import { StoredWeights } from "../weights/stored_weights.ts";
import {
  foldNormalizers,
  subtractBias,
  unfoldNormalizers,
  unitDecoder,
  type WeightArrays,
} from "./fold.ts";
import type { InputNormalizer } from "./reader.ts";
import { Sae, type SaeConfig, type SaeWeights, weightNames, weightShapes } from "./sae.ts";
import { fromSaeLens, toSaeLens } from "./saelens_config.ts";

const WEIGHTS = "sae_weights.safetensors";

/** SAELens' name of a tensor: the bias of a gate is called one. */
function stored(name: keyof SaeWeights, { architecture }: SaeConfig): string {
  return name === "b_enc" && architecture === "gated" ? "b_gate" : name;
}

/**
 * Writes a dictionary.
 *
 * @param sae The dictionary.
 * @param dir Folder, made if missing.
 */
export async function saveSae(sae: Sae, dir: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  const { config, normalizer, outputNormalizer } = sae;
  const weights = await readWeights(sae);
  foldNormalizers(weights, config, { input: normalizer, output: outputNormalizer });
  const tensors = weightNames(sae).map((name): [string, StoredTensor] => [
    stored(name, config),
    { dtype: "F32", shape: sae[name]!.shape, data: weights[name]! },
  ]);
  await writeSafetensors(join(dir, WEIGHTS), Object.fromEntries(tensors));
  await writeNormalizer(dir, "input", normalizer);
  if (config.dOut !== undefined) await writeNormalizer(dir, "output", outputNormalizer);
  const cfg = JSON.stringify(toSaeLens(sae), null, 2) + "\n";
  await writeFileAtomic(join(dir, "cfg.json"), cfg);
}

/**
 * Reads a dictionary that was written by `saveSae`, or by SAELens 6 and later.
 *
 * @param dir Folder.
 * @throws {Error} If a file is missing or not of this form, naming file and field.
 */
export async function loadSae(dir: string): Promise<Sae> {
  const path = join(dir, "cfg.json");
  const cfg = fromSaeLens(path, JSON.parse(await Deno.readTextFile(path)));
  const { config } = cfg;
  const weights = await readArrays(join(dir, WEIGHTS), config);
  if (cfg.rescales) unitDecoder(weights, config);
  if (config.dOut === undefined && !cfg.subtractsBias) subtractBias(weights, config);
  const input = await readNormalizer(dir, "input");
  const output = config.dOut === undefined ? input : await readNormalizer(dir, "output");
  unfoldNormalizers(weights, config, { input, output });
  const shapes = weightShapes(config);
  const tensors = Object.entries(weights).map(([name, data]) => [
    name,
    tf.tensor(data, shapes[name], "float32"),
  ]);
  return new Sae(config, Object.fromEntries(tensors), {
    normalizer: input,
    outputNormalizer: output,
    metadata: cfg.metadata,
  });
}

async function readArrays(path: string, config: SaeConfig): Promise<WeightArrays> {
  const source = openFile(path);
  using file = new StoredWeights(path, safetensorsPlaces(source), [source]);
  const shapes = weightShapes(config);
  const names = Object.keys(shapes) as (keyof SaeWeights)[];
  const expected = new Map(names.map((name) => [stored(name, config), name]));
  const missing = [...expected.keys()].filter((name) => !file.has(name));
  if (missing.length > 0) throw new Error(`Cannot load "${path}": it has no ${missing.join(", ")}`);
  const more = file.names().filter((name) => !expected.has(name));
  if (more.length > 0) {
    throw new Error(
      `Cannot load "${path}": it has ${more.join(", ")}, which a ${config.architecture} ` +
        `dictionary does not have`,
    );
  }
  const weights: WeightArrays = {};
  for (const [name, ours] of expected) {
    const shape = file.shape(name);
    if (`${shape}` !== `${shapes[ours]}`) {
      throw new Error(
        `Cannot load "${path}": its ${name} has shape [${shape}], but d_in and d_sae in cfg.json ` +
          `make it [${shapes[ours]}]`,
      );
    }
    weights[ours] = await file.read(name, shape);
  }
  return weights;
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
  for (const weights of Object.values(await readWeights(sae))) {
    parts.push(
      await sha256(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength)),
    );
  }
  return (await sha256(parts.join())).slice(0, 16);
}

/** Copies of the elements of its tensors. */
async function readWeights(sae: Sae): Promise<WeightArrays> {
  const weights: WeightArrays = {};
  // What a CPU backend gives is its own memory.
  for (const name of weightNames(sae)) weights[name] = (await sae[name]!.data<"float32">()).slice();
  return weights;
}

async function writeNormalizer(
  dir: string,
  side: "input" | "output",
  normalizer: InputNormalizer | null,
): Promise<void> {
  if (!normalizer) return;
  const { scale, mean, clip } = normalizer;
  await writeFileAtomic(
    join(dir, `${side}_normalizer.json`),
    JSON.stringify({ scale, mean: mean ? Array.from(mean) : null, clip: clip ?? null }),
  );
}

async function readNormalizer(
  dir: string,
  side: "input" | "output",
): Promise<InputNormalizer | null> {
  try {
    return JSON.parse(await Deno.readTextFile(join(dir, `${side}_normalizer.json`)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
