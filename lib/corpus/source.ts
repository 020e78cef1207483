/**
 * Sources: documents that come one after another, so that a corpus need not fit into memory, and a
 * sample of one that does.
 *
 * What is worked with is a sample: of every token of it a harvest writes thousands of bytes to the
 * disk, while its text takes about five, so text whose activations can be kept can be held.
 *
 * @module
 */
import { type Progress, progress } from "../display/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import type { Document } from "./document.ts";

/**
 * Documents one after another; each `for await` starts with the first one again. All of a small
 * source: `await Array.fromAsync(source)`.
 */
export type DocumentSource = AsyncIterable<Document>;

/** How much to take of a source; see {@linkcode takeDocuments}. */
export type SampleSize =
  | {
    /** Tokens that the documents have together, at least. */
    tokens: number;
    /** The model's tokenizer: it decides what a token is. */
    tokenizer: Pick<Tokenizer, "encode">;
  }
  | {
    /** Number of documents. */
    documents: number;
  };

/** Milliseconds of work after which others, as the Stop button, get their turn. */
const TURN_MS = 50;
/** Milliseconds after which a progress line is worth a look. */
const SHOWN_MS = 1000;

/**
 * The first documents of a source: as many as are asked for, or as have the tokens asked for. The
 * last one is taken whole; documents without text are left out. Only these documents are held.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { fromTexts, takeDocuments } from "interlens";
 *
 * const letters = { encode: (text: string) => [...text].map((c) => c.charCodeAt(0)) };
 * const source = fromTexts(["abc", "defg", "h"]);
 * const taken = await takeDocuments(source, { tokens: 5, tokenizer: letters });
 * assertEquals(taken.map(({ text }) => text), ["abc", "defg"]);
 * assertEquals((await takeDocuments(source, { documents: 1 })).length, 1);
 * await assertRejects(() => takeDocuments(source, { documents: 4 }), RangeError, "3 documents");
 * ```
 *
 * @param source Where they come from; an array will do.
 * @param options How much, and a signal that stops it.
 * @returns The documents in the order of the source, ready for `splitDocuments`.
 * @throws {RangeError} If the source has fewer documents or tokens, saying how many; if two documents
 * share an id; if the size is not a whole number from 1 on.
 */
export async function takeDocuments(
  source: DocumentSource | Iterable<Document>,
  options: SampleSize & { signal?: AbortSignal },
): Promise<Document[]> {
  const [wanted, unit] = "tokens" in options
    ? [options.tokens, "tokens"]
    : [options.documents, "documents"];
  if (!(Number.isSafeInteger(wanted) && wanted >= 1)) {
    throw new RangeError(`Cannot take ${wanted} ${unit}: expected an integer from 1 on`);
  }
  const taken: Document[] = [];
  const ids = new Set<string>();
  let found = 0;
  const start = performance.now();
  let turn = start;
  let line: Progress | undefined;
  try {
    for await (const document of source) {
      options.signal?.throwIfAborted();
      if (performance.now() - turn > TURN_MS) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        turn = performance.now();
      }
      if (document.text.trim() === "") continue;
      if (ids.has(document.id)) {
        throw new RangeError(
          `The source has two documents with the id "${document.id}": ids tell documents apart, so ` +
            `give each its own`,
        );
      }
      ids.add(document.id);
      taken.push(document);
      found += "tokens" in options ? options.tokenizer.encode(document.text).length : 1;
      if (found >= wanted) break;
      if (performance.now() - start > SHOWN_MS) {
        line ??= progress("Reading documents", { total: wanted, unit });
        line.update(found);
      }
    }
    if (found < wanted) {
      const have = unit === "tokens"
        ? `${taken.length} documents with ${found} tokens`
        : `${found} documents`;
      throw new RangeError(
        `Cannot take ${wanted} ${unit}: the source has ${have}; ask for at most that many`,
      );
    }
  } catch (error) {
    line?.stop(options.signal?.aborted ? "stopped" : "failed");
    throw error;
  }
  line?.finish(`${found} ${unit} in ${taken.length} documents`);
  return taken;
}

/** A source from a function that starts reading. */
export function sourceOf(read: () => AsyncGenerator<Document>): DocumentSource {
  return { [Symbol.asyncIterator]: read };
}
