/**
 * Documents: texts that are split, packed and resampled as wholes.
 *
 * Tokens of one document are not independent of each other. So a document, never a token, goes into
 * training or into test, and a document is what a bootstrap draws.
 *
 * @module
 */

/** One text. */
export interface Document {
  /** Name that no other document of the corpus has, for example `"brown/ca01"`. */
  readonly id: string;
  /** The text itself. */
  readonly text: string;
  /** What a split should be balanced over, for example the genre. */
  readonly group: string;
}

/**
 * Documents from texts of your own.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts } from "interlens";
 *
 * const [first] = fromTexts(["A text.", "Another one."], { name: "mine" });
 * assertEquals(first, { id: "mine/0", text: "A text.", group: "mine" });
 * ```
 *
 * @param texts The texts; ids are their places in the list.
 * @param options.name Start of every id; default `"text"`.
 * @param options.group Group of all of them; default the name.
 * @throws {RangeError} If there are no texts, or one of them is empty.
 */
export function fromTexts(
  texts: readonly string[],
  { name = "text", group = name }: { name?: string; group?: string } = {},
): Document[] {
  const documents = texts.map((text, i) => ({ id: `${name}/${i}`, text, group }));
  checkDocuments(documents);
  return documents;
}

/**
 * Refuses a corpus that cannot be used: without documents, with an empty one, or with two of one id.
 *
 * @throws {RangeError} Naming the document.
 */
export function checkDocuments(documents: readonly Document[]): void {
  if (documents.length === 0) {
    throw new RangeError("The corpus is empty: expected at least one document");
  }
  const ids = new Set<string>();
  for (const { id, text } of documents) {
    if (text.trim() === "") {
      throw new RangeError(`Document "${id}" is empty: leave it out of the corpus`);
    }
    if (ids.has(id)) {
      throw new RangeError(
        `Two documents have the id "${id}": ids tell documents apart, so give each its own`,
      );
    }
    ids.add(id);
  }
}
