/**
 * Text in: documents, splits by document, and packing into sequences.
 *
 * @module
 */
export { BROWN, brown } from "./brown.ts";
export { type Document, fromTexts } from "./document.ts";
export { drawSequences, type PackOptions, packSequences } from "./pack.ts";
export type { PackTokenizer, Sequence } from "./pack.ts";
export { splitDocuments, type SplitName, type SplitOptions, SPLITS, type Splits } from "./split.ts";
