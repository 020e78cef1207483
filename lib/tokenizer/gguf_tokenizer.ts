/**
 * The tokenizer inside a GGUF file.
 *
 * @module
 */
import { PreTrainedTokenizer } from "@huggingface/transformers";
import type { GgufFile } from "../weights/mod.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Splits a text before byte-level BPE; by the name that llama.cpp gives it. */
const PRE_TOKENIZERS: Readonly<Record<string, object>> = {
  // Digits stand alone, so a number is as many tokens as it has digits.
  smollm: {
    type: "Sequence",
    pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel()],
  },
  "gpt-2": byteLevel(),
};

/** Kinds of a token in GGUF that are matched in a text before it is split. */
const CONTROL = 3;
const USER_DEFINED = 4;

/**
 * The tokenizer that a GGUF file describes.
 *
 * @throws {Error} If it is of a kind that is not supported.
 */
export function ggufTokenizer(file: GgufFile): Tokenizer {
  const kind = file.get("tokenizer.ggml.model");
  const pre = `${file.get("tokenizer.ggml.pre") ?? "gpt-2"}`;
  if (kind !== "gpt2" || !(pre in PRE_TOKENIZERS)) {
    throw new Error(
      `Cannot use the tokenizer of "${file.path}": it is of kind "${kind}" with the ` +
        `pre-tokenizer "${pre}"; expected "gpt2" with ${
          Object.keys(PRE_TOKENIZERS).map((name) => `"${name}"`).join(" or ")
        }`,
    );
  }
  const tokens = file.list<string>("tokenizer.ggml.tokens");
  const types = file.list<number>("tokenizer.ggml.token_type");
  const bosId = file.number("tokenizer.ggml.bos_token_id");
  const eosId = file.number("tokenizer.ggml.eos_token_id");
  const special = [...types.keys()].filter((id) => [CONTROL, USER_DEFINED].includes(types[id]));
  const model = new PreTrainedTokenizer({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map((id) => ({
      id,
      content: tokens[id],
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: types[id] === CONTROL,
    })),
    normalizer: null,
    pre_tokenizer: PRE_TOKENIZERS[pre],
    post_processor: null,
    decoder: byteLevel(),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: file.list<string>("tokenizer.ggml.merges"),
    },
  }, {
    tokenizer_class: "PreTrainedTokenizer",
    bos_token: tokens[bosId],
    eos_token: tokens[eosId],
    clean_up_tokenization_spaces: false,
  });
  return {
    encode: (text) => model.encode(text, { add_special_tokens: false }),
    decode: (ids) =>
      // The library refuses an empty list.
      ids.length === 0 ? "" : model.decode(Array.from(ids), {
        skip_special_tokens: false,
        clean_up_tokenization_spaces: false,
      }),
    bosId,
    eosId,
    addBos: file.get("tokenizer.ggml.add_bos_token") === true,
  };
}

function byteLevel(): object {
  return { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
}
