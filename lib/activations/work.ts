/**
 * What a harvest has to do, cut into pieces: from documents that are in memory, whose sequences are
 * planned before the model runs, or from a source that is read as it goes.
 *
 * A piece is a pure function of the documents and the options, whatever was done before, so a
 * harvest that was killed goes on from any of them.
 *
 * @module
 */
import {
  type Document,
  type DocumentSource,
  packSequences,
  type PackTokenizer,
  type SplitName,
  SPLITS,
  type Splits,
} from "../corpus/mod.ts";
import { Rng } from "../tensor/mod.ts";
import { inBatches, type PlannedSequence, planSplit } from "./plan.ts";

/**
 * Documents that come one after another and need not fit into memory. Each goes into the split that
 * its id and the seed of the harvest decide, so a split has its share of them to within chance.
 */
export interface StreamedDocuments {
  /** The documents; it must give the same ones in the same order each time. */
  readonly source: DocumentSource;
  /** Names the text: it stands for a hash of all of it. Another text needs another name. */
  readonly name: string;
  /** Shares of the splits, 0 to 1, adding up to 1. Default 0.8, 0.1 and 0.1. */
  readonly shares?: Readonly<Record<SplitName, number>>;
}

/** Which part of how many, from 0; `{ index: 2, of: 64 }` is 3/64 on a command line. */
export interface ShardNumber {
  /** Number of the part, 0 to `of - 1`. */
  readonly index: number;
  /** Number of parts. */
  readonly of: number;
}

/** A run of the model: sequences of one split. */
export interface WorkBatch {
  readonly split: SplitName;
  readonly sequences: readonly PlannedSequence[];
}

/** A part of the work that is done as a whole. */
export interface Piece {
  readonly batches: readonly WorkBatch[];
  /** Ids of the documents that it begins with, by split, in the order of their numbers. */
  readonly documents: Readonly<Record<SplitName, readonly string[]>>;
  /** Where the work goes on after it. */
  readonly next: number;
}

/** All of the work. */
export interface Work {
  /** Tokens of each split, masked ones left out; undefined where that is not known. */
  readonly tokens: Readonly<Record<SplitName, number | undefined>>;
  /** The pieces from one on; `tokens` is what the pieces before it had of each split. */
  pieces(
    from: number,
    tokens: Readonly<Record<SplitName, number>>,
    documents: Readonly<Record<SplitName, number>>,
  ): AsyncIterable<Piece> | Iterable<Piece>;
  /**
   * The batch that the whole work begins with; undefined if there is none. Absent where the first
   * batch of the pieces is that one.
   */
  first?(): Promise<WorkBatch | undefined>;
}

/** How to cut documents into sequences. */
export interface WorkOptions {
  readonly contextLength: number;
  readonly tokens: Readonly<Record<SplitName, number | "all">>;
  readonly batchSize: number;
  readonly seed: number;
  /** Ids that are left out. */
  readonly masked: ReadonlySet<number>;
  /** The part that is wanted of documents that stream; default: all of it. */
  readonly part?: ShardNumber;
}

/** Sequences of a streamed piece, in batches: enough for their lengths to be sorted. */
const PIECE_BATCHES = 16;

/**
 * Batches of documents in memory, split by split.
 *
 * @throws {RangeError} If the documents have fewer tokens than asked for.
 */
export function planBatches(
  documents: Splits,
  tokenizer: PackTokenizer,
  options: WorkOptions,
): WorkBatch[] {
  return SPLITS.flatMap((split) =>
    planSplit(split, documents[split], tokenizer, { ...options, tokens: options.tokens[split] })
      .batches.map((sequences) => ({ split, sequences }))
  );
}

/** Batches to run, and the one that the whole work begins with, unless it is the first of them. */
export interface Batches {
  readonly batches: readonly WorkBatch[];
  readonly first?: WorkBatch;
}

/** Work on documents in memory: a piece is a batch. */
export function plannedWork(
  { batches, first }: Batches,
  documents: Splits,
  masked: ReadonlySet<number>,
): Work {
  const ids = bySplit((name) => documents[name].map(({ id }) => id));
  return {
    tokens: bySplit((name) => tokensIn(batches, name, masked)),
    *pieces(from) {
      for (let i = from; i < batches.length; i++) {
        yield { batches: [batches[i]], documents: i === 0 ? ids : NO_DOCUMENTS, next: i + 1 };
      }
    },
    ...first && { first: () => Promise.resolve(first) },
  };
}

/** Where a part of `count` things begins and ends; parts differ by one at most. */
function share(count: number, { index, of }: ShardNumber): [start: number, end: number] {
  return [Math.floor(count * index / of), Math.floor(count * (index + 1) / of)];
}

function tokensIn(
  batches: readonly WorkBatch[],
  name: SplitName,
  masked: ReadonlySet<number>,
): number {
  let tokens = 0;
  for (const { split, sequences } of batches) {
    if (split !== name) continue;
    for (const { ids } of sequences) for (const id of ids) if (!masked.has(id)) tokens++;
  }
  return tokens;
}

const NO_DOCUMENTS: Record<SplitName, string[]> = { train: [], validation: [], test: [] };

/**
 * Work on documents that are read as it goes: a piece is some documents, counted by `next`.
 *
 * A part has every `of`-th document of the source, and its share of the tokens.
 */
export function streamedWork(
  documents: StreamedDocuments,
  tokenizer: PackTokenizer,
  options: WorkOptions,
): Work {
  const { part, ...whole } = options;
  if (!part) return streamedWhole(documents, tokenizer, options, "the source");
  const own = { ...documents, source: every(documents.source, part) };
  const tokens = bySplit((name) => {
    const count = options.tokens[name];
    if (count === "all") return count;
    const [start, end] = share(count, part);
    return end - start;
  });
  return {
    ...streamedWhole(own, tokenizer, { ...options, tokens }, `shard ${shown(part)} of the source`),
    async first() {
      const { pieces } = streamedWhole(documents, tokenizer, whole, "the source");
      for await (const { batches } of pieces(0, NO_TOKENS, NO_TOKENS)) return batches.at(0);
    },
  };
}

const NO_TOKENS: Record<SplitName, number> = { train: 0, validation: 0, test: 0 };

/** A part as a command line names it, from 1. */
export function shown({ index, of }: ShardNumber): string {
  return `${index + 1}/${of}`;
}

function every(source: DocumentSource, { index, of }: ShardNumber): DocumentSource {
  return {
    async *[Symbol.asyncIterator]() {
      let number = 0;
      for await (const document of source) if (number++ % of === index) yield document;
    },
  };
}

function streamedWhole(
  { source, shares = DEFAULT_SHARES }: StreamedDocuments,
  tokenizer: PackTokenizer,
  { contextLength, tokens: wanted, batchSize, seed, masked, part }: WorkOptions,
  where: string,
): Work {
  return {
    tokens: bySplit((name) => {
      const count = wanted[name];
      return count === "all" ? undefined : count;
    }),
    async *pieces(from, tokens, documents) {
      const found = { ...tokens };
      const numbers = { ...documents };
      const isFull = (name: SplitName) => wanted[name] !== "all" && found[name] >= wanted[name];
      const ids = new Set<string>();
      let read = 0;
      let piece = emptyPiece();
      for await (const document of source) {
        read++;
        if (SPLITS.every(isFull)) break;
        if (document.text.trim() === "") continue;
        if (ids.has(document.id)) {
          throw new RangeError(
            `The source has two documents with the id "${document.id}": ids tell documents apart, ` +
              `so give each its own`,
          );
        }
        ids.add(document.id);
        if (read <= from) continue;
        const split = splitOf(document, shares, seed);
        if (isFull(split)) continue;
        const number = numbers[split]++;
        piece.documents[split].push(document.id);
        for (
          const { tokens: ids, start } of packSequences([document], tokenizer, { contextLength })
        ) {
          let length = 0;
          for (; length < ids.length && !isFull(split); length++) {
            if (!masked.has(ids[length])) found[split]++;
          }
          if (length === 0) break;
          piece.sequences[split].push({
            ids: Int32Array.from(ids.slice(0, length)),
            document: number,
            start,
          });
        }
        const held = SPLITS.reduce((sum, name) => sum + piece.sequences[name].length, 0);
        if (held >= PIECE_BATCHES * batchSize) {
          yield finished(piece, batchSize, read);
          piece = emptyPiece();
        }
      }
      if (SPLITS.some((name) => piece.sequences[name].length > 0)) {
        yield finished(piece, batchSize, read);
      }
      for (const name of SPLITS) {
        const count = wanted[name];
        // A part may be empty; whether all parts together are is seen when they are merged.
        const least = count !== "all" ? count : name === "train" && !part ? 1 : 0;
        if (found[name] >= least) continue;
        throw new RangeError(
          `Cannot harvest ${count} tokens of "${name}": the ${read} documents of ${where} have ` +
            `${found[name]} for it; ask for at most that many, for "all", or give more documents`,
        );
      }
    },
  };
}

const DEFAULT_SHARES = { train: 0.8, validation: 0.1, test: 0.1 };

/** @throws {RangeError} If the shares are no shares. */
export function checkStreamed({ name, shares = DEFAULT_SHARES }: StreamedDocuments): void {
  if (name === "") {
    throw new RangeError("The streamed documents have no name: it names the store, so give one");
  }
  const values = SPLITS.map((split) => shares[split]);
  const total = values.reduce((a, b) => a + b);
  if (!values.every((share) => share >= 0 && share <= 1) || Math.abs(total - 1) > 1e-9) {
    throw new RangeError(
      `Cannot split documents into train ${shares.train}, validation ${shares.validation}, test ` +
        `${shares.test}: expected shares of 0 to 1 that add up to 1`,
    );
  }
}

function splitOf(
  { id }: Document,
  shares: Readonly<Record<SplitName, number>>,
  seed: number,
): SplitName {
  const place = new Rng(seed, "split of", id).uniform();
  if (place < shares.train) return "train";
  return place < shares.train + shares.validation ? "validation" : "test";
}

/** One value for each split. */
export function bySplit<T>(make: (name: SplitName, i: number) => T): Record<SplitName, T> {
  return Object.fromEntries(SPLITS.map((name, i) => [name, make(name, i)])) as Record<SplitName, T>;
}

interface OpenPiece {
  sequences: Record<SplitName, PlannedSequence[]>;
  documents: Record<SplitName, string[]>;
}

function emptyPiece(): OpenPiece {
  return { sequences: bySplit(() => []), documents: bySplit(() => []) };
}

/** Sequences of nearly one length run together, so that little is padded. */
function finished({ sequences, documents }: OpenPiece, batchSize: number, next: number): Piece {
  const batches = SPLITS.flatMap((split) =>
    inBatches(sequences[split].sort((a, b) => b.ids.length - a.ids.length), batchSize)
      .map((some) => ({ split, sequences: some }))
  );
  return { batches, documents, next };
}
