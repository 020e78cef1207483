/**
 * Packing documents into sequences of tokens.
 *
 * @module
 */
import { Rng } from "../tensor/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { checkDocuments, type Document } from "./document.ts";

/** What packing needs of a tokenizer. */
export type PackTokenizer = Pick<Tokenizer, "encode" | "bosId">;

/** Tokens of one document that go through the model together. */
export interface Sequence {
  /** Token ids: BOS, then at most `contextLength - 1` tokens of the document. */
  readonly tokens: number[];
  /** Index of the document in the list that was packed. */
  readonly document: number;
  /** Place of the first token after BOS among the document's tokens. */
  readonly start: number;
}

/** How to pack; see {@linkcode packSequences}. */
export interface PackOptions {
  /** Longest sequence in tokens, BOS included; default 128. */
  contextLength?: number;
  /** Given: the order of {@linkcode drawSequences}. Left out: the order of the corpus. */
  seed?: number;
}

/**
 * Packs documents into sequences. A sequence never spans two documents, BOS is its first token and
 * is set once, every token of a document is in exactly one sequence, and all sequences of a
 * document but its last have `contextLength` tokens.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, packSequences } from "interlens";
 *
 * const letters = { bosId: 0, encode: (text: string) => [...text].map((c) => c.charCodeAt(0)) };
 * const sequences = packSequences(fromTexts(["abc", "d"]), letters, { contextLength: 3 });
 * assertEquals(sequences, [
 *   { tokens: [0, 97, 98], document: 0, start: 0 },
 *   { tokens: [0, 99], document: 0, start: 2 },
 *   { tokens: [0, 100], document: 1, start: 0 },
 * ]);
 * ```
 *
 * @throws {RangeError} If the corpus is empty, `contextLength` has no room for BOS and a token, or
 * a document has no tokens.
 */
export function packSequences(
  documents: readonly Document[],
  tokenizer: PackTokenizer,
  { contextLength = 128, seed }: PackOptions = {},
): Sequence[] {
  const drawn = [...drawSequences(documents, tokenizer, { contextLength, seed: seed ?? 0 })];
  if (seed !== undefined) return drawn;
  return drawn.sort((a, b) => a.document - b.document || a.start - b.start);
}

/**
 * Draws the sequences of {@linkcode packSequences} one by one, each once, so that the first n of
 * them cover as many documents as possible: one of every document (in random order), then a second
 * one of every document that has it, and so on; within a document the order is random.
 *
 * Documents are encoded when their first turn comes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { drawSequences, fromTexts } from "interlens";
 *
 * const letters = { bosId: 0, encode: (text: string) => [...text].map((c) => c.charCodeAt(0)) };
 * const documents = fromTexts(["aaaaaa", "bbbbbb", "cccccc"]);
 * const drawn = drawSequences(documents, letters, { contextLength: 3, seed: 1 });
 * const firstThree = Array.from({ length: 3 }, () => drawn.next().value!.document);
 * assertEquals(firstThree.sort(), [0, 1, 2]);
 * ```
 *
 * @param options.contextLength Longest sequence in tokens, BOS included.
 * @param options.seed Decides the order.
 * @throws {RangeError} As {@linkcode packSequences}; for a document without tokens when its turn
 * comes.
 */
export function* drawSequences(
  documents: readonly Document[],
  tokenizer: PackTokenizer,
  { contextLength, seed }: { contextLength: number; seed: number },
): Generator<Sequence, undefined> {
  checkDocuments(documents);
  if (!Number.isInteger(contextLength) || contextLength < 2) {
    throw new RangeError(
      `Cannot pack sequences of ${contextLength} tokens: expected an integer of at least 2, for ` +
        `BOS and one token`,
    );
  }
  const step = contextLength - 1;
  // What is left of each document: its ids (int32, because a corpus is long) and its pieces' order.
  let turns = Array.from(new Rng(seed, "documents").permutation(documents.length), (document) => ({
    document,
    ids: undefined as Int32Array | undefined,
    pieces: undefined as Int32Array | undefined,
  }));
  for (let round = 0; turns.length > 0; round++) {
    for (const turn of turns) {
      turn.ids ??= encode(documents[turn.document], tokenizer);
      turn.pieces ??= new Rng(seed, "pieces", documents[turn.document].id)
        .permutation(Math.ceil(turn.ids.length / step));
      const start = turn.pieces[round] * step;
      yield {
        tokens: [tokenizer.bosId, ...turn.ids.subarray(start, start + step)],
        document: turn.document,
        start,
      };
    }
    turns = turns.filter(({ pieces }) => pieces!.length > round + 1);
  }
}

function encode({ id, text }: Document, tokenizer: PackTokenizer): Int32Array {
  const ids = Int32Array.from(tokenizer.encode(text));
  if (ids.length === 0) {
    throw new RangeError(`Document "${id}" has no tokens: leave it out of the corpus`);
  }
  if (ids[0] === tokenizer.bosId) {
    throw new RangeError(
      `The tokenizer put BOS (id ${ids[0]}) before document "${id}": expected ids without it, ` +
        `because packing sets BOS once`,
    );
  }
  return ids;
}
