/**
 * Byte-pair encoding by the merges of a `tokenizer.json`, through `@huggingface/transformers`.
 *
 * @module
 */
import { PreTrainedTokenizer } from "@huggingface/transformers";
import { type BpeJson, readBpeJson } from "./bpe_json.ts";
import type { Json } from "./json_fields.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Encoding and decoding, and what the file says besides. */
export type BpeCodec = Pick<Tokenizer, "encode" | "decode"> & Omit<BpeJson, "json">;

/**
 * Makes the codec of a `tokenizer.json`. Added tokens are tokens wherever they stand in a text.
 *
 * @param value Contents of the file.
 * @param path Where they are from, for errors.
 * @param rename What a field is called there. Default: as in `tokenizer.json`.
 * @throws {Error} If they ask for something that is not supported or contradict themselves.
 */
export function bpeCodec(
  value: Json,
  path: string,
  rename?: (field: string) => string,
): BpeCodec {
  const { json, ...rest } = readBpeJson(value, path, rename);
  let library: PreTrainedTokenizer;
  try {
    library = new PreTrainedTokenizer(json, { clean_up_tokenization_spaces: false });
  } catch (error) {
    throw new Error(
      `Cannot use the tokenizer in "${path}": ${error instanceof Error ? error.message : error}`,
      { cause: error },
    );
  }
  keepByteOrderMarks(
    (library as unknown as { _tokenizer: { decoder: Decoder } })._tokenizer.decoder,
  );
  const known = new Set(rest.ids.values());
  return {
    ...rest,
    encode: (text) =>
      text === "" ? [] : library.encode(text.toWellFormed(), { add_special_tokens: false }),
    decode(ids) {
      const tokens = Array.from(ids).filter((id) => known.has(id));
      // The library refuses an empty list.
      return tokens.length === 0 ? "" : library.decode(tokens, { skip_special_tokens: false });
    },
  };
}

/** A decoder of the library: a sequence of others, or one that may hold a decoder of bytes. */
interface Decoder {
  readonly decoders?: Decoder[];
  text_decoder?: TextDecoder;
}

/** The library's decoder of bytes would drop U+FEFF where bytes begin with it. */
function keepByteOrderMarks(decoder: Decoder | null): void {
  decoder?.decoders?.forEach(keepByteOrderMarks);
  if (decoder?.text_decoder) {
    decoder.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  }
}
