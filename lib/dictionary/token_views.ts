/**
 * Other splits of a store, without a copy of it: fewer training tokens, or tokens that are split at
 * random where documents should be.
 *
 * A view has a manifest of its own, so that what is trained on it is kept apart. Its units are the
 * store's: a dictionary of the store can be used on it.
 *
 * @module
 */
import { SPLITS } from "../corpus/mod.ts";
import { tf } from "../tensor/mod.ts";
import { Permutation, shuffledIndices } from "../training/mod.ts";
import { targetOf } from "./pair_reader.ts";
import type { ActivationReader, SplitName, SplitReader } from "./reader.ts";

/**
 * A store with fewer tokens: the first ones of each split that is named.
 *
 * Larger limits contain smaller ones, so that curves over tokens are nested.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { limitTokens, memoryStore, openDevice } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3), document: Int32Array.of(0, 0, 1) };
 * const store = memoryStore(1, { train: split, validation: split, test: split }, "three");
 * const fewer = limitTokens(store, { train: 2 });
 * assertEquals([fewer.split("train").tokens, fewer.split("test").tokens], [2, 3]);
 * const epoch = await (await fewer.split("train").shuffledBatch(0, 2, 0)).data();
 * assertEquals([...epoch].toSorted(), [1, 2]);
 * ```
 *
 * @param store Activations.
 * @param tokens How many of each split; of one that is not named, all.
 * @throws {RangeError} If a split has fewer.
 */
export function limitTokens(
  store: ActivationReader,
  tokens: Partial<Record<SplitName, number>>,
): ActivationReader {
  for (const [name, count] of Object.entries(tokens)) {
    const { tokens: found } = store.split(name as SplitName);
    if (!Number.isInteger(count) || count < 1 || count > found) {
      throw new RangeError(
        `Cannot limit the ${name} split to ${count} tokens: expected an integer in 1…${found}`,
      );
    }
  }
  const target = targetOf(store);
  return {
    ...unitsOf(store),
    manifest: { limitedTo: tokens, of: store.manifest },
    split: (name) => {
      const inner = store.split(name);
      const count = tokens[name];
      return count === undefined || count === inner.tokens ? inner : firstOf(inner, count);
    },
    ...target && { target: limitTokens(target, tokens) },
  };
}

function firstOf(split: SplitReader, tokens: number): SplitReader {
  return split.firstTokens?.(tokens) ?? viewOf(tokens, {
    document: () => Int32Array.from({ length: tokens }, (_, i) => split.document[i]),
    batch: (indices) => rowsAt(split, indices),
    rows: (start, count) => split.rows(start, count),
  });
}

/** What tells the tokens of one view from those of another. */
interface View {
  /** Made when it is first asked for. */
  document(): Int32Array;
  batch(indices: Int32Array): Promise<tf.Tensor2D>;
  rows: SplitReader["rows"];
}

function viewOf(tokens: number, view: View): SplitReader {
  const document = lazy(view.document);
  return {
    tokens,
    get document() {
      return document();
    },
    batch: view.batch,
    rows: (start, count) => {
      requireInside(start, count, tokens);
      return view.rows(start, count);
    },
    shuffledBatch: (step, batchSize, seed) =>
      view.batch(shuffledIndices(tokens, { step, batchSize, seed })),
  };
}

/**
 * B11 of the study's defects: the tokens of all documents are split at random, so that tokens of one
 * text are on both sides. Sizes of the splits stay. A held-out number of such a split is helped by
 * what a model remembers of the same text.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, tokenSplit } from "interlens";
 *
 * await openDevice();
 * const part = (first: number) => ({
 *   rows: Float32Array.of(first, first + 1),
 *   document: Int32Array.of(0, 0),
 * });
 * const store = memoryStore(1, { train: part(0), validation: part(2), test: part(4) }, "six");
 * const mixed = tokenSplit(store, { seed: 1 });
 * const names = ["train", "validation", "test"] as const;
 * const rows = await Promise.all(names.map((name) => mixed.split(name).rows(0, 2)));
 * const values = await Promise.all(rows.map((x) => x.data()));
 * assertEquals(values.flatMap((some) => [...some]).toSorted(), [0, 1, 2, 3, 4, 5]);
 * ```
 *
 * @param store Activations, split by document.
 * @param options `seed`: names the split, default 0.
 */
export function tokenSplit(
  store: ActivationReader,
  { seed = 0 }: { seed?: number } = {},
): ActivationReader {
  const parts = SPLITS.map((name) => store.split(name));
  const starts = parts.reduce((all, { tokens }) => [...all, all.at(-1)! + tokens], [0]);
  const total = starts.at(-1)!;
  // The token at place p of a random order belongs to the split whose tokens p would be. In each split
  // tokens keep their order, which is fast to read.
  const members = lazy(() => {
    const order = new Permutation(total, seed, "token split");
    const lists = parts.map(({ tokens }) => new Int32Array(tokens));
    const filled = parts.map(() => 0);
    for (let token = 0; token < total; token++) {
      const split = partOf(order.at(token), starts);
      lists[split][filled[split]++] = token;
    }
    return lists;
  });
  const documents = lazy(() => {
    const numbers = new Int32Array(total);
    let first = 0;
    for (const [p, { document, tokens }] of parts.entries()) {
      let last = first - 1;
      for (let i = 0; i < tokens; i++) {
        numbers[starts[p] + i] = first + document[i];
        last = Math.max(last, first + document[i]);
      }
      first = last + 1;
    }
    return numbers;
  });
  const target = targetOf(store);
  return {
    ...unitsOf(store),
    manifest: { faithful: ["B11"], seed, of: store.manifest },
    split: (name) => {
      const s = SPLITS.indexOf(name);
      const batch = (indices: Int32Array) =>
        gatherFrom(parts, starts, indices.map((i) => members()[s][i]));
      return viewOf(parts[s].tokens, {
        document: () => members()[s].map((token) => documents()[token]),
        batch,
        rows: (start, count) => batch(Int32Array.from({ length: count }, (_, i) => start + i)),
      });
    },
    ...target && { target: tokenSplit(target, { seed }) },
  };
}

/** Which part a token of all parts is in. */
function partOf(token: number, starts: readonly number[]): number {
  let part = 0;
  while (token >= starts[part + 1]) part++;
  return part;
}

/** Rows of tokens that are numbered over all parts, in the order given. */
async function gatherFrom(
  parts: readonly SplitReader[],
  starts: readonly number[],
  tokens: Int32Array,
): Promise<tf.Tensor2D> {
  const places = parts.map((): number[] => []);
  tokens.forEach((token, place) => places[partOf(token, starts)].push(place));
  const found: tf.Tensor2D[] = [];
  const back = new Int32Array(tokens.length);
  let row = 0;
  for (const [p, some] of places.entries()) {
    if (some.length === 0) continue;
    const local = Int32Array.from(some, (place) => tokens[place] - starts[p]);
    found.push(await rowsAt(parts[p], local));
    for (const place of some) back[place] = row++;
  }
  const ordered = tf.tidy(() => tf.gather(tf.concat(found, 0), tf.tensor1d(back, "int32")));
  tf.dispose(found);
  return ordered as tf.Tensor2D;
}

async function rowsAt(split: SplitReader, indices: Int32Array): Promise<tf.Tensor2D> {
  if (!split.batch) {
    throw new TypeError(
      "Cannot view other tokens of activations that are read in order only: give a store that was " +
        "harvested, or a memoryStore",
    );
  }
  return await split.batch(indices);
}

function requireInside(start: number, count: number, tokens: number): void {
  if (!(start >= 0 && count >= 1 && start + count <= tokens)) {
    throw new RangeError(
      `Cannot read ${count} tokens from token ${start}: the view has ${tokens}`,
    );
  }
}

function unitsOf(
  { dModel, normalizer, hook, model }: ActivationReader,
): Omit<ActivationReader, "split" | "manifest"> {
  return { dModel, normalizer, hook, model };
}

function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
