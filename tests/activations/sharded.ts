import { fromTexts, type Splits } from "../../lib/corpus/mod.ts";
import {
  type ActivationSource,
  ActivationStore,
  harvest,
  type HarvestOptions,
  type HarvestPart,
  harvestShard,
  mergeShards,
  type StreamedDocuments,
} from "../../lib/activations/mod.ts";
import { openStorage, type Storage } from "../../lib/storage/mod.ts";
import { namesBelow } from "../files/scratch.ts";
import { activationAt, fakeSource, HOOK, quietly } from "./fake_source.ts";

export const names = ["train", "validation", "test"] as const;
export const splits: Splits = {
  train: fromTexts(["abcdefghijk", "mno", "pqrstuvwxyz", "abc", "defghijkl"], { name: "train" }),
  validation: fromTexts(["zyxwv", "cba"], { name: "validation" }),
  test: fromTexts(["hello", "world"], { name: "test" }),
};
export const planned = {
  hook: HOOK,
  contextLength: 5,
  tokens: { train: 35, validation: 4, test: "all" },
  batchSize: 3,
  shardTokens: 4,
  normalizer: { clipSigma: null, scale: true },
} satisfies HarvestOptions;
export const streamed = {
  hook: HOOK,
  contextLength: 8,
  tokens: { train: 1500, validation: 100, test: 50 },
  batchSize: 4,
  shardTokens: 100,
  normalizer: { clipSigma: null, scale: true },
} satisfies HarvestOptions;

/** Norms from 15 to 40, but "t" is a sink. */
export const at = (token: number, position: number, j: number) =>
  token === 20 ? 500 : 10 + activationAt(token, position, j);

export interface Sharded {
  storage: Storage;
  part(index: number, model?: ActivationSource, changes?: Partial<HarvestOptions>): Promise<
    HarvestPart
  >;
  /** Runs the parts in this order, merges them and opens the store. */
  store(order?: number[]): Promise<ActivationStore>;
}

export function sharded(
  dir: string,
  of: number,
  options: HarvestOptions,
  documents: Splits | StreamedDocuments = splits,
): Sharded {
  const storage = openStorage(`${dir}/shared-${of}`);
  const part: Sharded["part"] = (index, model = fakeSource(4, { at }), changes = {}) =>
    quietly(() =>
      harvestShard(model, documents, {
        ...options,
        shard: { index, of },
        storage,
        dir: `${dir}/local-${of}`,
        ...changes,
      })
    );
  const store = async (order = Array.from({ length: of }, (_, i) => i)) => {
    let key = "";
    for (const index of order) ({ key } = await part(index));
    await quietly(() => mergeShards({ storage, key, of, dir: `${dir}/local-${of}` }));
    return ActivationStore.open(`${dir}/shared-${of}/${key}`);
  };
  return { storage, part, store };
}

export function whole(
  dir: string,
  options: HarvestOptions,
  documents: Splits | StreamedDocuments = splits,
): Promise<ActivationStore> {
  return quietly(() =>
    harvest(fakeSource(4, { at }), documents, { ...options, dir: `${dir}/whole` })
  );
}

export async function rowsOf(
  store: ActivationStore,
  name: typeof names[number],
): Promise<Float32Array> {
  const split = store.split(name);
  if (split.tokens === 0) return new Float32Array();
  const x = split.rows(0, split.tokens);
  const values = await x.data<"float32">();
  x.dispose();
  return values;
}

/** Bytes of the files below a folder by name, without the one that holds a time. */
export async function contents(dir: string): Promise<Record<string, Uint8Array>> {
  const files = namesBelow(dir).filter((name) => /\.(json|safetensors)$/.test(name));
  return Object.fromEntries(
    await Promise.all(
      files.filter((name) => !name.endsWith("artefact.json"))
        .map(async (name) => [name, await Deno.readFile(`${dir}/${name}`)]),
    ),
  );
}
