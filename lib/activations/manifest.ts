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
 * @throws {Error} If it is no manifest, its numbers disagree, or a file is not of its folder.
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
  const defect = manifestDefect(manifest);
  if (defect === undefined) return manifest;
  throw new Error(`"${path}" ${defect}: delete its folder and harvest again`);
}

/**
 * What is wrong with a manifest that was read, as it stands behind its name in a message; undefined if
 * nothing is.
 */
export function manifestDefect(manifest: ActivationManifest): string | undefined {
  if (manifest?.format !== 1) return `has the format ${manifest?.format}, expected 1`;
  const { dModel, dtype = "float32" } = manifest;
  if (!isCount(dModel)) return `has the dModel ${dModel}, expected a whole number`;
  if (dtype !== "float32" && dtype !== "float16") return `has the dtype ${dtype}, which is none`;
  for (const name of SPLITS) {
    const split = manifest.splits?.[name];
    const counts = [split?.tokens, split?.sinks, split?.sequences];
    if (!counts.every(isCount) || !Array.isArray(split.documents) || !Array.isArray(split.shards)) {
      return `does not say what it has of "${name}"`;
    }
    const { tokens, shards } = split;
    const wrong = shards.find((shard) => !isShard(shard));
    if (wrong !== undefined) return `names ${JSON.stringify(wrong)}, which is no file of a store`;
    const inShards = shards.reduce((total, shard) => total + shard.tokens, 0);
    if (inShards !== tokens) {
      return `states ${tokens} tokens of "${name}", but its shards have ${inShards}`;
    }
  }
}

/** True for a file in the store's own folder. */
function isShard(shard: Shard | null): boolean {
  const { file, tokens, sha256, documentsFrom = 0 } = shard ?? {};
  return typeof file === "string" && /^[\w-][\w.-]*$/.test(file) &&
    typeof sha256 === "string" && /^[0-9a-f]{64}$/.test(sha256) &&
    isCount(tokens) && isCount(documentsFrom);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** @throws {Error} If a file is not there, not whole, or not of the shape that is stated. */
export function checkShard(
  path: string,
  { tokens }: Shard,
  { dModel, dtype: stored }: Pick<ActivationManifest, "dModel" | "dtype">,
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
