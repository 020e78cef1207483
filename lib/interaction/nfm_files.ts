/**
 * Factorization machines on disk: `nfm_cfg.json` with the shape, the scales and what
 * made it, and `nfm_weights.safetensors` with the parameters by name. They may lie in the
 * folder of the dictionary, whose own files have other names.
 *
 * @module
 */
import { join } from "node:path";
import { readSafetensors, VERSION, writeFileAtomic, writeSafetensors } from "../files/mod.ts";
import { type StoredTensor, tf } from "../tensor/mod.ts";
import { Nfm, type NfmWeights, weightShapes } from "./nfm.ts";
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

/** Reads a model. */
export async function loadNfm(dir: string): Promise<Nfm> {
  const cfg = JSON.parse(await Deno.readTextFile(join(dir, "nfm_cfg.json")));
  const { parts, dSae, dOut, K, head, topN, scales, metadata } = cfg;
  const shape = { parts, dSae, dOut, K, head, topN };
  requireNfmShape(shape);
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
