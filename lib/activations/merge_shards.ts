/**
 * From the parts of a harvest to a store.
 *
 * @module
 */
import { join } from "node:path";
import { progress } from "../display/mod.ts";
import { type ArtefactRecord, cacheDir, canonicalJson, configHash, VERSION } from "../files/mod.ts";
import { SPLITS } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import {
  damagedFiles,
  type HarvestPart,
  isPart,
  partKey,
  readPart,
  sizesBelow,
} from "./harvest_part.ts";
import { type ActivationManifest, MANIFEST, type Shard, type SplitManifest } from "./manifest.ts";
import { clipBounds, type Normalizer, normalizerOf, normSums } from "./normalizer.ts";
import { planKey } from "./shared_plan.ts";
import { shardRows } from "./shard_rows.ts";
import { bySplit, shown } from "./work.ts";

/** Which parts to make a store of; see {@linkcode mergeShards}. */
export interface MergeShardsOptions {
  /** Where the parts are. */
  storage: Storage;
  /** Key of the store, `activations/<hash>`; the record of every part names it. */
  key: string;
  /** Number of parts. */
  of: number;
  /** Stops the merge. */
  signal?: AbortSignal;
  /** Folder for what is read on the way; default `data/cache`. */
  dir?: string;
}

const RECORD = "artefact.json";
/** How far limits for sinks may differ, relatively: machines round otherwise. */
const SAME_NORM = 1e-3;

/**
 * Makes a store of the parts of a harvest, which {@linkcode harvestShard} left in a storage. Their
 * files stay as they are: manifest, normaliser and, last, `artefact.json` are written beside them.
 * A store that is there is left as it is.
 *
 * The normaliser is fitted on the sums that the parts have, added in their order. Only one that
 * clamps (`clipSigma`) needs another pass, in which the training files are downloaded one by one: the
 * bounds are not known before.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { fromTexts, harvestShard, mergeShards } from "interlens";
 * import { openDevice, openStorage, randomModel } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const dir = await Deno.makeTempDir();
 * const storage = openStorage(`${dir}/shared`);
 * const train = fromTexts(["The kettle sang.", "Nobody answered"]);
 * const part = (index: number) =>
 *   harvestShard(model, { train, validation: [], test: [] }, {
 *     hook: "blocks.0.hook_resid_post",
 *     tokens: { train: "all", validation: 0, test: 0 },
 *     shard: { index, of: 2 },
 *     storage,
 *     dir,
 *   });
 * const { key } = await part(0);
 * await assertRejects(() => mergeShards({ storage, key, of: 2, dir }), Error, "shard 2/2 is missing");
 * await part(1);
 * assertEquals(await mergeShards({ storage, key, of: 2, dir }), key);
 * assertEquals(await storage.stat(`${key}/artefact.json`) !== undefined, true);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param options Which parts.
 * @returns The key of the store, for `ActivationStore.fetch`; in a folder, `ActivationStore.open`
 * reads it as it is.
 * @throws {Error} If parts are missing, not whole, or do not belong together, naming them.
 */
export async function mergeShards(options: MergeShardsOptions): Promise<string> {
  const { storage, key, of, signal, dir = cacheDir() } = options;
  if (!(Number.isInteger(of) && of >= 1)) {
    throw new RangeError(`Cannot merge ${of} parts: expected an integer from 1 on`);
  }
  const place = `${storage.url}/${key}`;
  if (await isMerged(storage, key)) {
    console.log(`activations: merged before (${place})`);
    return key;
  }
  const parts = await readParts(options);
  const manifest = mergedManifest(parts, place);
  const unfinished = join(dir, "unfinished");
  await Deno.mkdir(unfinished, { recursive: true });
  const scratch = await Deno.makeTempDir({ dir: unfinished, prefix: "merge-" });
  try {
    const normalizer = await fitOnParts(parts, manifest, options, scratch);
    await normalizer.save(scratch);
    for await (const { name } of Deno.readDir(scratch)) {
      await storage.upload(join(scratch, name), `${key}/${name}`, { signal });
    }
  } finally {
    await Deno.remove(scratch, { recursive: true }).catch(() => {});
    await Deno.remove(unfinished).catch(() => {}); // Stays if others work in it.
  }
  signal?.throwIfAborted();
  await storage.write(`${key}/${MANIFEST}`, JSON.stringify(manifest, null, 1) + "\n");
  const { config } = parts[0];
  const record: ArtefactRecord = {
    kind: "activations",
    config,
    hash: configHash(config),
    libraryVersion: VERSION,
    created: new Date().toISOString(),
  };
  await storage.write(`${key}/${RECORD}`, JSON.stringify(record, null, 2) + "\n");
  await storage.remove(planKey(key)); // All parts are there.
  const { train, validation, test } = manifest.splits;
  const tokens = train.tokens + validation.tokens + test.tokens;
  console.log(`activations: merged ${of} shards, ${tokens} tokens (${place})`);
  return key;
}

async function isMerged(storage: Storage, key: string): Promise<boolean> {
  if (!await storage.stat(`${key}/${RECORD}`)) return false;
  try {
    const text = new TextDecoder().decode(await storage.read(`${key}/${RECORD}`));
    return `activations/${JSON.parse(text).hash}` === key;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/**
 * The records of all parts, in order.
 *
 * @throws {Error} If one is missing, not whole, or not of the same harvest as the first.
 */
async function readParts(
  { storage, key, of, signal }: MergeShardsOptions,
): Promise<HarvestPart[]> {
  const sizes = await sizesBelow(storage, `${key}/`);
  const parts: HarvestPart[] = [];
  const wrong: string[] = [];
  for (let index = 0; index < of; index++) {
    signal?.throwIfAborted();
    const shard = { index, of };
    const reason = (text: string) => void wrong.push(`shard ${shown(shard)} ${text}`);
    if (!sizes.has(partKey(key, shard))) {
      reason("is missing");
      continue;
    }
    const part = await readPart(storage, key, shard);
    if (!part || !isPart(part, key, shard)) {
      reason("is of another configuration or version of the format, or damaged");
      continue;
    }
    const damaged = damagedFiles(part, sizes);
    if (damaged.length > 0) {
      reason(`is not whole ("${damaged[0].file}" is missing or of another size)`);
    } else if (!agree(part, parts[0] ?? part)) {
      reason(`does not agree with ${shown(parts[0].shard)} on the model, its width or the sinks`);
    } else parts.push(part);
  }
  if (wrong.length === 0) return parts;
  const names = [...sizes.keys()].join("\n");
  const [, others] = /\/parts\/\d+-of-0*(\d+)\.json/.exec(names) ?? [];
  throw new Error(
    `Cannot merge the ${of} shards of "${storage.url}/${key}": ` +
      (others !== undefined && Number(others) !== of
        ? `it is cut into ${others}. Merge these`
        : wrong.slice(0, 5).join(", ") + (wrong.length > 5 ? ` and ${wrong.length - 5} more` : "") +
          `. Harvest ${wrong.length === 1 ? "it" : "them"}, then merge again`),
  );
}

/** Whether two parts can be of one store; norms may differ as much as machines round. */
function agree({ manifest: a }: HarvestPart, { manifest: b }: HarvestPart): boolean {
  const [x, y] = [a.maxNorm ?? 0, b.maxNorm ?? 0];
  return canonicalJson({ ...a, maxNorm: null }) === canonicalJson({ ...b, maxNorm: null }) &&
    Math.abs(x - y) <= SAME_NORM * Math.max(x, y);
}

/** @throws {Error} If the parts together have not what was asked for, or a document twice. */
function mergedManifest(parts: readonly HarvestPart[], place: string): ActivationManifest {
  const splits = bySplit((name): SplitManifest => {
    const documents: string[] = [];
    const shards: Shard[] = [];
    let [tokens, sinks, sequences] = [0, 0, 0];
    for (const { splits, ownDocuments } of parts) {
      const part = splits[name];
      const documentsFrom = ownDocuments && documents.length > 0
        ? { documentsFrom: documents.length }
        : {};
      for (const { file, tokens, sha256 } of part.shards) {
        shards.push({ file, tokens, sha256, ...documentsFrom });
      }
      for (const id of part.documents) documents.push(id);
      tokens += part.tokens;
      sinks += part.sinks;
      sequences += part.sequences;
    }
    const wanted = (parts[0].config.tokens as Record<string, number | "all">)[name];
    if (wanted === "all" ? name === "train" && tokens === 0 : tokens + sinks !== wanted) {
      throw new Error(
        `Cannot merge the shards of "${place}": they have ${tokens + sinks} tokens of "${name}", ` +
          `and ${wanted} were asked for. Give a text that has as many`,
      );
    }
    return { tokens, sinks, sequences, documents, shards };
  });
  checkIds(splits);
  return { ...parts[0].manifest, splits };
}

/** @throws {RangeError} If a document is in two parts, which do not see each other's. */
function checkIds(splits: ActivationManifest["splits"]): void {
  for (const name of SPLITS) {
    const ids = new Set<string>();
    for (const id of splits[name].documents) {
      if (ids.has(id)) {
        throw new RangeError(
          `The source has two documents with the id "${id}": ids tell documents apart, so give ` +
            `each its own, and harvest again`,
        );
      }
      ids.add(id);
    }
  }
}

async function fitOnParts(
  parts: readonly HarvestPart[],
  { dModel, normalizer, splits: { train } }: ActivationManifest,
  { storage, key, signal }: MergeShardsOptions,
  scratch: string,
): Promise<Normalizer> {
  const sums = { elements: 0, sum: 0, squares: 0 };
  const norms = { norms: 0, clipped: 0 };
  for (const part of parts) {
    sums.elements += part.sums.elements;
    sums.sum += part.sums.sum;
    sums.squares += part.sums.squares;
    norms.norms += part.sums.norms;
  }
  if (normalizer.clipSigma === null) return normalizerOf(sums, norms, normalizer, dModel);
  const bounds = clipBounds(sums, normalizer, dModel);
  const line = progress("Fitting the normaliser", { total: train.tokens, unit: "tokens" });
  const path = join(scratch, "rows.safetensors");
  norms.norms = 0;
  let done = 0;
  try {
    for (const { file, tokens, sha256 } of train.shards) {
      signal?.throwIfAborted();
      await storage.download(`${key}/${file}`, path, { sha256, signal });
      const found = normSums(shardRows(path), dModel, bounds);
      await Deno.remove(path);
      norms.norms += found.norms;
      norms.clipped += found.clipped;
      line.update(done += tokens);
    }
  } catch (error) {
    line.stop(signal?.aborted ? "stopped" : "failed");
    throw error;
  }
  line.finish();
  return normalizerOf(sums, norms, normalizer, dModel);
}
