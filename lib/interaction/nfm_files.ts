/**
 * Factorization machines on disk: two files, which may lie in the folder of the dictionary, whose own
 * have other names.
 *
 * `nfm_weights.safetensors` holds the parameters by name, float32, row-major:
 *
 * | name | shape           | what                                  | where                           |
 * | ---- | --------------- | ------------------------------------- | ------------------------------- |
 * | `b`  | `[dOut]`        | output bias                           | always                          |
 * | `W`  | `[dSae, dOut]`  | linear weights: a row is a feature's  | `parts` linear, both            |
 * | `V`  | `[dSae, K]`     | embeddings: a row is a feature's      | `parts` interaction, both       |
 * | `C`  | `[K, dOut]`     | linear head                           | pairs, `head` linear            |
 * | `W1` | `[K, K]`        | first layer, input by output          | pairs, `head` relu              |
 * | `b1` | `[K]`           | its bias                              | pairs, `head` relu              |
 * | `W2` | `[K, dOut]`     | second layer                          | pairs, `head` relu              |
 *
 * `nfm_cfg.json` holds `parts`, `dSae`, `dOut`, `K` (0 without pairs), `head`, `topN`;
 * `scales.code` and `scales.target`; and `metadata`: `interlens_version`, and of a trained model
 * `training` with its whole configuration, the hash of its store's manifest, and the fingerprint of its
 * dictionary. For codes f of a token, the `topN` largest of the dictionary's,
 *
 *     g = scales.code · f,  S = g V,  Q = g² V²,  p = ½(S² − Q)
 *     r̂ = scales.target · (b + g W + head(p)),  head(p) = p C  or  ReLU(p W1 + b1) W2
 *
 * is added to the dictionary's reconstruction, in the units of its store.
 *
 * @module
 */
import { join } from "node:path";
import { readSafetensors, VERSION, writeFileAtomic, writeSafetensors } from "../files/mod.ts";
import { type StoredTensor, tf } from "../tensor/mod.ts";
import { Nfm, type NfmScales, type NfmWeights, weightShapes } from "./nfm.ts";
import { requireNfmShape } from "./nfm_config.ts";

/** Writes a model into a folder, made if missing. */
export async function saveNfm(nfm: Nfm, dir: string): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  const tensors: Record<string, StoredTensor> = {};
  for (const [name, tensor] of Object.entries(nfm.weights) as [string, tf.Tensor][]) {
    tensors[name] = { dtype: "F32", shape: tensor.shape, data: await tensor.data<"float32">() };
  }
  await writeSafetensors(join(dir, "nfm_weights.safetensors"), tensors);
  const { shape, scales, metadata } = nfm;
  const cfg = { ...shape, scales, metadata: { ...metadata, interlens_version: VERSION } };
  await writeFileAtomic(join(dir, "nfm_cfg.json"), JSON.stringify(cfg, null, 2) + "\n");
}

/** @throws {RangeError} If a number of a file's `scales` is not above 0. */
function requireScales(scales: NfmScales | undefined, path: string): void {
  for (const name of ["code", "target"] as const) {
    const value = scales?.[name];
    if (!(Number.isFinite(value) && value! > 0)) {
      throw new RangeError(
        `Cannot load "${path}": its scales.${name} is ${value}, expected a number above 0`,
      );
    }
  }
}

/** Reads a model. */
export async function loadNfm(dir: string): Promise<Nfm> {
  const cfg = JSON.parse(await Deno.readTextFile(join(dir, "nfm_cfg.json")));
  const { parts, dSae, dOut, K, head, topN, scales, metadata } = cfg;
  const shape = { parts, dSae, dOut, K, head, topN };
  requireNfmShape(shape);
  requireScales(scales, join(dir, "nfm_cfg.json"));
  const path = join(dir, "nfm_weights.safetensors");
  const { tensors } = await readSafetensors(path);
  const weights: Record<string, tf.Tensor> = {};
  for (const [name, expected] of Object.entries(weightShapes(shape))) {
    const stored = tensors[name];
    if (`${stored?.shape}` !== `${expected}`) {
      throw new Error(
        `Cannot load "${path}": its ${name} has shape [${stored?.shape ?? "missing"}], but ` +
          `nfm_cfg.json makes it [${expected}]`,
      );
    }
    weights[name] = tf.tensor(stored.data as Float32Array, expected as [number, number]);
  }
  return new Nfm(shape, weights as unknown as NfmWeights, { scales, metadata });
}
