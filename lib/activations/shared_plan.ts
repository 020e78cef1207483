/**
 * The plan of a harvest in parts, shared by them: tokenising all of the text takes longer than
 * running the model on one of many parts of it.
 *
 * @module
 */
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "../files/mod.ts";
import { SPLITS } from "../corpus/mod.ts";
import type { Storage } from "../storage/mod.ts";
import type { PlannedSequence } from "./plan.ts";
import type { Batches, ShardNumber, WorkBatch } from "./work.ts";

const PLAN = "plan.safetensors";

/** Key of the plan of a store's parts. */
export function planKey(key: string): string {
  return `${key}/parts/${PLAN}`;
}

/**
 * Batches of a part: from the plan in the storage, or from a new one, which is put there.
 *
 * @param make Plans all batches.
 * @param options.dir Existing folder, in which the plan is read.
 */
export async function partOfPlan(
  make: () => WorkBatch[],
  { dir, storage, key, shard, signal }: {
    dir: string;
    storage: Storage;
    key: string;
    shard: ShardNumber;
    signal?: AbortSignal;
  },
): Promise<Batches> {
  const path = join(dir, PLAN);
  const isThere = () => Deno.stat(path).then(() => true, () => false);
  if (!await isThere() && await storage.stat(planKey(key))) {
    await storage.download(planKey(key), path, { signal });
  }
  try {
    if (await isThere()) return readPlan(path, shard);
  } catch {
    // Damaged: another one takes its place.
  }
  await writePlan(path, make());
  // Only a help for others: they can plan themselves.
  await storage.upload(path, planKey(key), { signal }).catch(() => signal?.throwIfAborted());
  return readPlan(path, shard);
}

/** Writes batches to a file. */
export async function writePlan(path: string, batches: readonly WorkBatch[]): Promise<void> {
  const sequences = batches.flatMap(({ sequences }) => sequences);
  const ids = new Int32Array(sequences.reduce((sum, { ids }) => sum + ids.length, 0));
  let place = 0;
  for (const sequence of sequences) {
    ids.set(sequence.ids, place);
    place += sequence.ids.length;
  }
  const column = <T>(items: readonly T[], value: (item: T) => number) => ({
    dtype: "I32" as const,
    shape: [items.length],
    data: Int32Array.from(items, value),
  });
  await writeSafetensors(path, {
    batch_split: column(batches, ({ split }) => SPLITS.indexOf(split)),
    batch_sequences: column(batches, ({ sequences }) => sequences.length),
    sequence_length: column(sequences, ({ ids }) => ids.length),
    sequence_document: column(sequences, ({ document }) => document),
    sequence_start: column(sequences, ({ start }) => start),
    ids: { dtype: "I32", shape: [ids.length], data: ids },
  });
}

/** Batches of a part, and the first of all; the ids of others are not read. */
export function readPlan(path: string, shard: ShardNumber): Batches {
  using file = openSafetensors(path);
  const read = (name: string) => file.read(name).data;
  const splits = read("batch_split");
  const sizes = read("batch_sequences");
  const [lengths, documents, starts] = ["length", "document", "start"]
    .map((name) => read(`sequence_${name}`));
  const batchesFrom = (start: number, end: number): WorkBatch[] => {
    let sequence = sum(sizes.subarray(0, start));
    let place = sum(lengths.subarray(0, sequence));
    const batches: WorkBatch[] = [];
    for (let batch = start; batch < end; batch++) {
      const sequences: PlannedSequence[] = [];
      for (let i = 0; i < sizes[batch]; i++, sequence++) {
        const ids = file.readRows("ids", place, lengths[sequence]) as Int32Array;
        sequences.push({ ids, document: documents[sequence], start: starts[sequence] });
        place += lengths[sequence];
      }
      batches.push({ split: SPLITS[splits[batch]], sequences });
    }
    return batches;
  };
  const [start, end] = rangeOf(sizes, lengths, shard);
  const batches = batchesFrom(start, end);
  if (start === 0 && end > 0) return { batches };
  return { batches, first: batchesFrom(0, Math.min(1, sizes.length)).at(0) };
}

/** Which batches are a part's: those whose middle token is in its share of all tokens. */
function rangeOf(
  sizes: ArrayLike<number>,
  lengths: Int32Array | Float32Array,
  { index, of }: ShardNumber,
): [start: number, end: number] {
  const total = sum(lengths);
  let [sequence, tokens] = [0, 0];
  const range: [number, number] = [sizes.length, sizes.length];
  for (let batch = 0; batch < sizes.length; batch++) {
    const own = sum(lengths.subarray(sequence, sequence += sizes[batch]));
    const part = Math.floor((tokens + own / 2) * of / total);
    tokens += own;
    if (part >= index) range[0] = Math.min(range[0], batch);
    if (part > index) {
      range[1] = batch;
      break;
    }
  }
  return range;
}

function sum(values: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i];
  return total;
}
