/**
 * One part of a harvest that several machines share: its rows go to a storage, then a record of them.
 *
 * @module
 */
import { join } from "node:path";
import { VERSION } from "../files/mod.ts";
import { SPLITS, type Splits } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import { whileRunning } from "../training/mod.ts";
import {
  damagedFiles,
  type HarvestPart,
  isPart,
  padded,
  partKey,
  type PartSplit,
  type PartSums,
  readPart,
  sizesBelow,
  storeKey,
} from "./harvest_part.ts";
import { HarvestRun } from "./harvest_run.ts";
import {
  checkHarvest,
  harvestConfig,
  type HarvestOptions,
  isStreamed,
  type Settings,
  withDefaults,
  workOptions,
} from "./harvest_settings.ts";
import { elementSums, normSums } from "./normalizer.ts";
import { partOfPlan } from "./shared_plan.ts";
import { shardRows } from "./shard_rows.ts";
import type { ActivationSource } from "./source.ts";
import { inUnfinished } from "./unfinished.ts";
import { Uploads } from "./uploads.ts";
import {
  bySplit,
  planBatches,
  plannedWork,
  type ShardNumber,
  shown,
  type StreamedDocuments,
  streamedWork,
} from "./work.ts";

/** What to harvest, which part of it, and where to; see {@linkcode harvestShard}. */
export interface HarvestShardOptions extends HarvestOptions {
  /** The part. */
  shard: ShardNumber;
  /** Where its files and its record go. */
  storage: Storage;
}

/**
 * Harvests one part of what {@linkcode harvest} would, into a storage that other machines see.
 * {@linkcode mergeShards} makes a store of all parts.
 *
 * Of documents in memory, part i of n has the i-th of n ranges of batches, which have about as many
 * tokens: the merged store has the rows of an unsharded one in their order. The first part to run
 * plans all of them, which takes as long as tokenising the text, and leaves the plan in the storage.
 * Of documents that stream, part i has every n-th, from the i-th on, and its share of the tokens; it
 * reads the whole source on the way. In either case the norm above which a token is a sink comes from
 * the first batch of the whole work, which every part runs.
 *
 * A part whose record is in the storage, and whose files are all there in their size, is not
 * harvested again. Files are named by their content and the record is written last: a part is whole
 * or not there, and two machines on one part do no harm. Files are uploaded while the model runs, and
 * stay in a folder `unfinished` in `dir` until the part is whole: from there, one that was stopped or
 * killed goes on where it was, and ends with the same bytes.
 *
 * One hook point only: another one is another store, whose parts are harvested for themselves.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { ActivationStore, fromTexts, harvestShard, mergeShards } from "interlens";
 * import { openDevice, openStorage, randomModel } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const dir = await Deno.makeTempDir();
 * const storage = openStorage(`${dir}/shared`);
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const part = (index: number) =>
 *   harvestShard(model, { train, validation, test }, {
 *     hook: "blocks.0.hook_resid_post",
 *     contextLength: 8,
 *     tokens: { train: 20, validation: 5, test: "all" },
 *     shard: { index, of: 2 },
 *     storage,
 *     dir,
 *   });
 * const { key } = await part(1);
 * await part(0);
 * assertEquals(await mergeShards({ storage, key, of: 2, dir }), key);
 * {
 *   using store = ActivationStore.open(`${dir}/shared/${key}`);
 *   assertEquals(store.split("train").tokens, 20);
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param model The model, or anything that runs like one.
 * @param documents Documents by split, of which none may be in two, or a source of them: the same
 * ones for every part.
 * @param options What to harvest, which part of it, and where to. `dir` holds unfinished work.
 * @returns The record of the part, with the key that all parts share.
 * @throws {RangeError} As {@linkcode harvest}; if there is no such part; if the documents of a source
 * that fall to this part have fewer tokens than its share.
 * @throws {Error} As {@linkcode harvest}, and what the storage throws; what was harvested is kept then.
 */
export async function harvestShard(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  options: HarvestShardOptions,
): Promise<HarvestPart> {
  const { hook, shard, storage, ...rest } = options;
  const settings = withDefaults({ ...rest, hooks: [hook] });
  checkShard(shard);
  checkHarvest(model, documents, settings);
  const config = await shardedConfig(model, documents, settings, shard.of);
  const key = storeKey(config);
  const found = async () => {
    const part = await wholePart(storage, key, shard);
    if (part) console.log(`activations: shard ${shown(shard)} is there (${storage.url}/${key})`);
    return part;
  };
  const name = `${key.replace("/", "-")}-${padded(shard.index)}`;
  return await found() ??
    await whileRunning(options.signal, () =>
      inUnfinished(name, options, async (dir) =>
        // Whoever worked there before may have made it.
        await found() ??
          await harvestPart(model, documents, settings, { dir, storage, shard, config })));
}

/** What decides the content of the parts: of the store, and where it is cut. */
async function shardedConfig(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  settings: Settings,
  shards: number,
): Promise<Record<string, unknown>> {
  const { batchSize, shardTokens } = settings;
  const config = await harvestConfig(model, documents, settings);
  return { ...config, shards, batchSize, ...shardTokens === undefined ? {} : { shardTokens } };
}

async function wholePart(
  storage: Storage,
  key: string,
  shard: ShardNumber,
): Promise<HarvestPart | undefined> {
  const part = await readPart(storage, key, shard);
  if (!part || !isPart(part, key, shard)) return undefined;
  const sizes = new Map<string, number>();
  for (const name of SPLITS) {
    const prefix = `${key}/${name}-${padded(shard.index)}-`;
    for (const [file, size] of await sizesBelow(storage, prefix)) sizes.set(file, size);
  }
  return damagedFiles(part, sizes).length === 0 ? part : undefined;
}

async function harvestPart(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  settings: Settings,
  { dir, storage, shard, config }: {
    dir: string;
    storage: Storage;
    shard: ShardNumber;
    config: Record<string, unknown>;
  },
): Promise<HarvestPart> {
  const key = storeKey(config);
  await Deno.mkdir(dir, { recursive: true });
  const options = workOptions(model, settings);
  const { tokenizer } = model;
  const work = isStreamed(documents)
    ? streamedWork(documents, tokenizer, { ...options, part: shard })
    : plannedWork(
      await partOfPlan(() => planBatches(documents, tokenizer, options), {
        ...{ dir, storage, key, shard },
        signal: settings.signal,
      }),
      documents,
      options.masked,
    );
  const uploads = new Uploads(storage, key, settings.signal);
  const run = new HarvestRun(dir, { ...config, shard: { ...shard } }, model, work, {
    ...settings,
    label: `Harvesting ${settings.hooks}, shard ${shown(shard)}`,
    part: padded(shard.index),
    onShard: (path, shard) => uploads.begin(path, shard),
  });
  let part: HarvestPart | undefined;
  try {
    await run.collect(async () => {
      await run.keep();
      const { splits, ...manifest } = run.manifest(0);
      const files = await uploads.finish(dir, SPLITS.flatMap((name) => splits[name].shards));
      const ownDocuments = isStreamed(documents);
      part = {
        format: 1,
        key,
        shard: { index: shard.index, of: shard.of },
        config,
        manifest,
        ownDocuments,
        splits: bySplit((name): PartSplit => ({
          ...splits[name],
          documents: ownDocuments
            ? splits[name].documents
            : shard.index === 0
            ? documents[name].map(({ id }) => id)
            : [],
          shards: splits[name].shards.map(({ file }) => files.get(file)!),
        })),
        sums: trainingSums(splits.train.shards.map(({ file }) => join(dir, file)), manifest.dModel),
        libraryVersion: VERSION,
      };
      await storage.write(partKey(key, shard), JSON.stringify(part, null, 1) + "\n");
    });
  } finally {
    await uploads.stop();
  }
  return part!;
}

function trainingSums(paths: string[], dModel: number): PartSums {
  const rows = function* () {
    for (const path of paths) yield* shardRows(path);
  };
  const { norms } = normSums(rows(), dModel, { low: -Infinity, high: Infinity });
  return { ...elementSums(rows()), norms };
}

function checkShard({ index, of }: ShardNumber): void {
  if (Number.isInteger(of) && of >= 1 && Number.isInteger(index) && index >= 0 && index < of) {
    return;
  }
  throw new RangeError(
    `There is no part ${index} of ${of}: expected an integer from 1 on for the number of parts, ` +
      `and one from 0 to below it for the part`,
  );
}
