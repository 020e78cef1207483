/**
 * Text to token ids and back.
 *
 * @module
 */
export { ggufTokenizer } from "./gguf_tokenizer.ts";
export type { Tokenizer } from "./tokenizer.ts";
