/**
 * What an activation store holds: the manifest beside its shards.
 *
 * @module
 */
import { join } from "node:path";
import { openSafetensors } from "../files/mod.ts";
import { type SplitName, SPLITS } from "../corpus/mod.ts";
import type { NormalizerOptions } from "./normalizer.ts";

/** Name of the manifest in a store's folder. */
export const MANIFEST = "manifest.json";

/** One file of activations. */
export interface Shard {
  /** Name in the store's folder. */
  readonly file: string;
  /** Rows. */
  readonly tokens: number;
  /** SHA-256 of the file. */
  readonly sha256: string;
  /** Added to the numbers of documents in the file; absent: 0. */
  readonly documentsFrom?: number;
}

/** What a store has of one split. */
export interface SplitManifest {
  /** Tokens that are stored. */
  readonly tokens: number;
  /** Tokens that were left out for their norm. */
  readonly sinks: number;
  /** Sequences that they come from. */
  readonly sequences: number;
  /** Ids of the documents; a token's `document` is an index into this list. */
  readonly documents: readonly string[];
  /** Its files, in order. */
  readonly shards: readonly Shard[];
}

/** How activations are kept on disk; they are float32 when they are read. */
export type StoreDtype = "float32" | "float16";

/** Where activations come from, and what every file must be. */
export interface ActivationManifest {
  /** Version of this form. */
  readonly format: 1;
  /** The model. */
  readonly model: { readonly name: string; readonly hash: string };
  /** Hook point. */
  readonly hook: string;
  /** Width of an activation. */
  readonly dModel: number;
  /**
   * Type on disk; absent: float32. Float16 is the nearest of its numbers (ties to even): off by at
   * most 2⁻¹¹ of the value, or by 2⁻²⁵ where it is below 2⁻¹⁴.
   */
  readonly dtype?: StoreDtype;
  /** Longest sequence in tokens, BOS included. */
  readonly contextLength: number;
  /** Ids that were left out wherever they stood. */
  readonly maskedTokens: readonly number[];
  /** Norm above which a token was left out as a sink, in the model's units; null: none was. */
  readonly maxNorm: number | null;
  /** Decides which sequences were drawn. */
  readonly seed: number;
  /** What the normaliser beside it does. */
  readonly normalizer: NormalizerOptions;
  /** Defects of the study that a store was opened with; never on disk. */
  readonly faithful?: readonly "B12"[];
  /** Files of a window of the order of training, if a store was opened with one; never on disk. */
  readonly window?: number;
  /** The splits. */
  readonly splits: Readonly<Record<SplitName, SplitManifest>>;
}

/**
 * Reads the manifest in a folder and checks every shard that it names: there, whole, of the shape
 * that the manifest states. Contents are not hashed.
 *
 * @throws {Error} Naming the file that is missing or disagrees.
 */
export function readManifest(dir: string): ActivationManifest {
  const path = join(dir, MANIFEST);
  const manifest = parseManifest(path, () => Deno.readTextFileSync(path));
  for (const name of SPLITS) {
    for (const shard of manifest.splits[name].shards) {
      checkShard(join(dir, shard.file), shard, manifest);
    }
  }
  return manifest;
}

/**
 * Reads a manifest wherever it lies; of its shards nothing is looked at.
 *
 * @param path Names it in messages.
 * @param read Its text.
 * @throws {Error} If it is no manifest, or its numbers disagree.
 */
export function parseManifest(path: string, read: () => string): ActivationManifest {
  let manifest: ActivationManifest;
  try {
    manifest = JSON.parse(read());
  } catch (error) {
    throw new Error(
      `Cannot read the manifest "${path}" of an activation store: delete its folder and harvest ` +
        `again`,
      { cause: error },
    );
  }
  if (manifest?.format !== 1) {
    throw new Error(
      `"${path}" has the format ${manifest?.format}, expected 1: delete its folder and harvest ` +
        `again`,
    );
  }
  for (const name of SPLITS) {
    const { tokens, shards } = manifest.splits[name];
    const inShards = shards.reduce((total, shard) => total + shard.tokens, 0);
    if (inShards !== tokens) {
      throw new Error(
        `"${path}" states ${tokens} tokens of "${name}", but its shards have ${inShards}: delete ` +
          `its folder and harvest again`,
      );
    }
  }
  return manifest;
}

function checkShard(
  path: string,
  { tokens }: Shard,
  { dModel, dtype: stored }: ActivationManifest,
): void {
  using file = openSafetensors(path);
  for (const [name, dtype, shape] of columns(tokens, dModel, stored)) {
    const entry = file.header[name];
    const found = entry ? `${entry.dtype} [${entry.shape}]` : "absent";
    if (found !== `${dtype} [${shape}]`) {
      throw new Error(
        `"${path}" does not agree with the manifest: "${name}" is ${found}, expected ${dtype} ` +
          `[${shape}]. Delete the folder and harvest again`,
      );
    }
  }
}

/** The tensors of a shard: name, type, shape. */
export function columns(
  tokens: number,
  dModel: number,
  dtype: StoreDtype = "float32",
): [string, "F32" | "F16" | "I32", number[]][] {
  return [
    ["activations", dtype === "float16" ? "F16" : "F32", [tokens, dModel]],
    ["token", "I32", [tokens]],
    ["document", "I32", [tokens]],
    ["position", "I32", [tokens]],
  ];
}
