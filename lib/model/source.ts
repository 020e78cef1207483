/**
 * Where a model comes from: a GGUF file, a folder as transformers writes it, or a repository on the
 * hub. Whatever it is, it ends as files on this disk.
 *
 * @module
 */
import { basename, join, resolve } from "node:path";
import { cacheDir, configHash, sha256, sha256File } from "../files/mod.ts";
import { hubFile, hubFiles, type HubRepo, hubSnapshot } from "../hub/mod.ts";
import { TOKENIZER_FILES } from "../tokenizer/mod.ts";
import { indexedFiles } from "../weights/shards.ts";
import { beforeLayer } from "./layout.ts";

/** A model on this disk. */
export interface ModelFiles {
  /** What the model is called. */
  readonly name: string;
  /** A GGUF file, or a folder with `config.json`, weights and a tokenizer. */
  readonly path: string;
  readonly kind: "gguf" | "folder";
  /** Names the contents; asked for once everything else was found to be in order. */
  hash(): Promise<string>;
}

/** What to look for. */
export interface FindOptions {
  /** Branch, tag or commit of a repository on the hub. */
  revision?: string;
  /** Leaves out files that hold only what follows. */
  stopAtLayer?: number;
  /** Stops a download. */
  signal?: AbortSignal;
}

/** The files that say what a model is and how it reads text. */
const SMALL_FILES = [...new Set(["config.json", ...TOKENIZER_FILES])];
/** Weights in one file, or the index of several; the one to prefer first. */
const WEIGHT_FILES = [
  ...["model.safetensors", "model.safetensors.index.json"],
  ...["pytorch_model.bin", "pytorch_model.bin.index.json"],
];

/** The embedded model. */
const EMBEDDED = "SmolLM2-135M-Instruct.Q4_1.gguf";

/**
 * Finds a model, and downloads it if it is on the hub and not in the cache.
 *
 * @param source A path, `"owner/name"`, or `"owner/name/file.gguf"`; undefined is the embedded
 * model.
 * @throws {Error} If it is nowhere, saying where it was looked for.
 */
export async function findModel(
  source: string | undefined,
  options: FindOptions,
): Promise<ModelFiles> {
  if (source === undefined) {
    const path = cacheDir("models", EMBEDDED);
    if (await isThere(path)) return gguf(path);
    throw new Error(`The embedded model "${path}" is missing: run \`deno task setup\``);
  }
  const stat = await Deno.stat(source).catch(() => undefined);
  if (stat?.isDirectory) return folder(resolve(source), basename(resolve(source)));
  if (stat?.isFile) {
    if (source.endsWith(".gguf")) return gguf(source);
    throw new Error(
      `Cannot load "${source}": expected a file that ends in ".gguf", or the folder that holds ` +
        `"config.json" and the weights`,
    );
  }
  const [owner, name, ...path] = source.split("/");
  const onHub = owner && name && !/^[.~]/.test(owner) && !source.includes("\\") &&
    (path.length === 0 ? !name.endsWith(".gguf") : source.endsWith(".gguf"));
  if (!onHub) {
    throw new Error(
      `There is no model file "${source}": check the path, give a repository of the hub as ` +
        `"owner/name", or leave it out to use the embedded model`,
    );
  }
  const repo = { id: `${owner}/${name}`, revision: options.revision };
  if (path.length === 0) return await onHubFolder(repo, options);
  return gguf(await hubFile(repo, path.join("/"), { signal: options.signal }), basename(source));
}

async function onHubFolder(
  repo: HubRepo,
  { stopAtLayer, signal }: FindOptions,
): Promise<ModelFiles> {
  const paths = new Set((await hubFiles(repo, { signal })).map(({ path }) => path));
  const weights = WEIGHT_FILES.find((name) => paths.has(name));
  if (weights === undefined || !paths.has("config.json")) {
    const ggufs = [...paths].filter((path) => path.endsWith(".gguf"));
    throw new Error(
      `Cannot load "${repo.id}": the repository has no ${
        weights === undefined ? `weights (${WEIGHT_FILES.join(", ")})` : `"config.json"`
      }${ggufs.length > 0 ? `; it has the GGUF file "${repo.id}/${ggufs[0]}"` : ""}`,
    );
  }
  let wanted = [...SMALL_FILES, weights];
  if (weights.endsWith(".index.json")) {
    const small = await hubSnapshot(repo, (path) => wanted.includes(path), { signal });
    const needed = (tensor: string) => beforeLayer(tensor, stopAtLayer);
    wanted = wanted.concat(indexedFiles(join(small, weights), needed));
  }
  const path = await hubSnapshot(repo, (path) => wanted.includes(path), { signal });
  // A commit never changes, so its name says what the files are.
  const commit = basename(path);
  const hash = () => Promise.resolve(configHash({ ...repo, revision: undefined, commit }));
  return { name: repo.id, path, kind: "folder", hash };
}

function gguf(path: string, file = basename(path)): ModelFiles {
  return { name: basename(file, ".gguf"), path, kind: "gguf", hash: () => contentHash(path) };
}

function folder(path: string, name: string): ModelFiles {
  return { name, path, kind: "folder", hash: () => folderHash(path) };
}

/** Hash of the files that make the model, all shards included. */
async function folderHash(path: string): Promise<string> {
  const present: string[] = [];
  for (const name of SMALL_FILES) if (await isThere(join(path, name))) present.push(name);
  for (const name of WEIGHT_FILES) {
    if (!await isThere(join(path, name))) continue;
    present.push(name);
    if (name.endsWith(".index.json")) {
      for (const shard of indexedFiles(join(path, name))) {
        if (await isThere(join(path, shard))) present.push(shard);
      }
    }
    break;
  }
  const hashes: Record<string, string> = {};
  for (const name of present) hashes[name] = await contentHash(join(path, name));
  return await sha256(JSON.stringify(hashes));
}

/** SHA-256 of a file; the hub's cache has it in the name of what a link leads to. */
async function contentHash(path: string): Promise<string> {
  const [blob, folder] = (await Deno.realPath(path)).split(/[\\/]/).reverse();
  return folder === "blobs" && /^[0-9a-f]{64}$/.test(blob) ? blob : await sha256File(path);
}

function isThere(path: string): Promise<boolean> {
  return Deno.stat(path).then(({ isFile }) => isFile, () => false);
}
