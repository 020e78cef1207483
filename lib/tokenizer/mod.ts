/**
 * Text to token ids and back.
 *
 * @module
 */
export { folderTokenizer, TOKENIZER_FILES } from "./folder_tokenizer.ts";
export { ggufTokenizer } from "./gguf_tokenizer.ts";
export { type StreamTokenizer, TextStream } from "./text_stream.ts";
export { checkVocabulary, type Tokenizer } from "./tokenizer.ts";
