/**
 * Which sequences of a split a harvest runs, decided before the model runs: if the documents have
 * too few tokens, that is said now.
 *
 * @module
 */
import { type Document, drawSequences, type PackTokenizer, type SplitName } from "../corpus/mod.ts";

/** A sequence to run; ids as int32, because a corpus is long. */
export interface PlannedSequence {
  /** BOS and the document's tokens. */
  readonly ids: Int32Array;
  /** Index of the document in its split. */
  readonly document: number;
  /** Place of the first token after BOS among the document's tokens. */
  readonly start: number;
}

/** What a harvest runs for one split. */
export interface SplitPlan {
  /** Tokens that will be stored. */
  readonly tokens: number;
  /** Number of sequences. */
  readonly sequences: number;
  /** Sequences that run together; all of a batch have one length, but for the last few of a split. */
  readonly batches: PlannedSequence[][];
}

/**
 * Plans a split.
 *
 * Sequences are drawn over all documents in turn until there are enough tokens; the last one is cut
 * to the number asked for. Sequences of full length run together, then the shorter ones, longest
 * first, so that little is padded.
 *
 * @throws {RangeError} If the documents have fewer tokens than asked for.
 */
export function planSplit(
  name: SplitName,
  documents: readonly Document[],
  tokenizer: PackTokenizer,
  { contextLength, tokens, batchSize, seed, masked }: {
    contextLength: number;
    tokens: number | "all";
    batchSize: number;
    seed: number;
    masked: ReadonlySet<number>;
  },
): SplitPlan {
  const wanted = tokens === "all" ? Infinity : tokens;
  const full: PlannedSequence[] = [];
  const short: PlannedSequence[] = [];
  let found = 0;
  for (
    const sequence of wanted > 0 ? drawSequences(documents, tokenizer, { contextLength, seed }) : []
  ) {
    let length = 0;
    for (; length < sequence.tokens.length && found < wanted; length++) {
      if (!masked.has(sequence.tokens[length])) found++;
    }
    const ids = Int32Array.from(sequence.tokens.slice(0, length));
    (length === contextLength ? full : short).push({
      ids,
      document: sequence.document,
      start: sequence.start,
    });
    if (found >= wanted) break;
  }
  if (tokens !== "all" && found < tokens) {
    throw new RangeError(
      `Cannot harvest ${tokens} tokens of "${name}": its ${documents.length} documents have ` +
        `${found}; ask for at most that many, for "all", or give more documents`,
    );
  }
  short.sort((a, b) => b.ids.length - a.ids.length);
  return {
    tokens: found,
    sequences: full.length + short.length,
    batches: [...inBatches(full, batchSize), ...inBatches(short, batchSize)],
  };
}

/** Cuts a list into lists of `size`. */
export function inBatches<T>(items: T[], size: number): T[][] {
  return Array.from(
    { length: Math.ceil(items.length / size) },
    (_, i) => items.slice(i * size, (i + 1) * size),
  );
}
