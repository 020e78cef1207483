/**
 * Text to token ids and back.
 *
 * @module
 */
export { ggufTokenizer } from "./gguf_tokenizer.ts";
export { type StreamTokenizer, TextStream } from "./text_stream.ts";
export type { Tokenizer } from "./tokenizer.ts";
