/**
 * A store in a storage, for tests of fetching: 61 training tokens in 16 files of at most 4, and the
 * same store on disk.
 *
 * @module
 */
import { ActivationStore, harvest } from "../../lib/activations/mod.ts";
import { fromTexts } from "../../lib/corpus/mod.ts";
import { pushFolder, type Storage } from "../../lib/storage/mod.ts";
import { fakeSource, HOOK, quietly } from "./fake_source.ts";

/** Where the store lies in the storage. */
export const KEY = "activations/store";
/** Files of the training split. */
export const FILES = 16;
export const TOKENS = 61;
/** Elements of an activation. */
export const WIDTH = 3;

/** What a process reads beside others. */
export const [READ_STEPS, READ_BATCH, READ_WINDOW] = [36, 5, 2];

/** Makes the store in `dir` and puts it into the storage. */
export async function putStore(storage: Storage, dir: string, shardTokens = 4): Promise<string> {
  const text = (length: number, first: number) =>
    Array.from({ length }, (_, i) => String.fromCharCode(97 + (first + 7 * i) % 26)).join("");
  const documents = {
    train: fromTexts([text(TOKENS, 0)], { name: "train" }),
    validation: fromTexts([text(10, 3)], { name: "validation" }),
    test: fromTexts([text(5, 5)], { name: "test" }),
  };
  const model = fakeSource(WIDTH, {
    contextLength: 128,
    at: (token, position, j) => Math.sin(token + 31 * position + 7 * j),
  });
  const store = await quietly(() =>
    harvest(model, documents, {
      hook: HOOK,
      contextLength: TOKENS + 1,
      tokens: { train: TOKENS, validation: 10, test: 5 },
      shardTokens,
      maxNormRatio: null,
      dir,
    })
  );
  store.close();
  await pushFolder(storage, store.dir, KEY, { last: "artefact.json" });
  return store.dir;
}

/** Bytes of the largest shard file of a store. */
export function largestFile(dir: string): number {
  const { manifest } = ActivationStore.open(dir);
  const shards = Object.values(manifest.splits).flatMap(({ shards }) => shards);
  return Math.max(...shards.map(({ file }) => Deno.statSync(`${dir}/${file}`).size));
}

/** Bytes of shard files below a folder, those on their way included. */
export function shardBytes(dir: string): number {
  let bytes = 0;
  try {
    for (const { name, isDirectory } of Deno.readDirSync(dir)) {
      const path = `${dir}/${name}`;
      if (isDirectory) bytes += shardBytes(path);
      else if (name.includes("-0")) bytes += Deno.statSync(path).size;
    }
  } catch (error) {
    // A file was renamed or removed between two looks.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return bytes;
}

/** Names of shard files that are whole in a folder. */
export function shardsIn(dir: string): string[] {
  return [...Deno.readDirSync(dir)].map(({ name }) => name)
    .filter((name) => name.endsWith(".safetensors") && name.includes("-0")).sort();
}

/** Waits for what another thread does. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; !holds(); i++) {
    if (i > 1000) throw new Error(`It never came to this: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
