/**
 * The tokenizer inside a GGUF file.
 *
 * @module
 */
import type { GgufFile } from "../weights/mod.ts";
import { bpeCodec } from "./bpe_codec.ts";
import { byteLevel, GPT2_SPLIT, splitJson } from "./bpe_steps.ts";
import type { Json } from "./json_fields.ts";
import { Charsmap } from "./charsmap.ts";
import { PieceType } from "./sentencepiece_model.ts";
import { sentencepieceCodec } from "./sentencepiece_tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How the texts of a vocabulary are split before byte-level BPE. */
interface PreTokenizer {
  /** Regular expressions; each cuts what those before it left. */
  readonly splits: readonly string[];
  /** A word that is a token is not taken apart. */
  readonly ignoreMerges?: boolean;
  /** BOS stands in front, unless the file says otherwise. */
  readonly addBos?: boolean;
  /** Composes characters first. */
  readonly nfc?: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const WORD = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`;
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const SYMBOLS = String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const PREFIX = String.raw`[^\r\n\p{L}\p{N}]?`;

const LLAMA3: PreTokenizer = {
  splits: [[CONTRACTIONS, WORD, String.raw`\p{N}{1,3}`, SYMBOLS, SPACES].join("|")],
  ignoreMerges: true,
  addBos: true,
};
const QWEN2: PreTokenizer = {
  splits: [[CONTRACTIONS, WORD, String.raw`\p{N}`, SYMBOLS, SPACES].join("|")],
  // llama.cpp leaves it out; the model was trained with it.
  nfc: true,
};

/**
 * By the names that llama.cpp gives them
 * (https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp).
 */
const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  // Digits stand alone, so a number is as many tokens as it has digits.
  ["smollm", { splits: [String.raw`\p{N}`, GPT2_SPLIT] }],
  ["gpt-2", { splits: [GPT2_SPLIT] }],
  ["llama-bpe", LLAMA3],
  ["llama3", LLAMA3],
  ["llama-v3", LLAMA3],
  ["qwen2", QWEN2],
  ["deepseek-r1-qwen", QWEN2],
  ["tekken", {
    splits: [[
      `${PREFIX}${UPPER}*${LOWER}+`,
      `${PREFIX}${UPPER}+${LOWER}*`,
      String.raw`\p{N}`,
      String.raw` ?[^\s\p{L}\p{N}]+[\r\n/]*`,
      SPACES,
    ].join("|")],
    ignoreMerges: true,
    addBos: true,
  }],
  ["default", {
    splits: [
      String.raw`[\p{P}\$\+<=>\^~\|]+`,
      GPT2_SPLIT,
      String.raw`\p{N}+`,
      "[0-9][0-9][0-9]",
    ],
  }],
]);

/**
 * The tokenizer that a GGUF file describes: byte-level BPE (kind `gpt2`), where control tokens and
 * those of the user are tokens wherever they stand in a text, or sentencepiece's BPE (kind `llama`),
 * where only those of the user are.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cacheDir, GgufFile, ggufTokenizer } from "interlens";
 *
 * using file = await GgufFile.open(cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf"));
 * const tokenizer = ggufTokenizer(file);
 * const ids = tokenizer.encode("In 1984");
 * assertEquals(ids, [788, 216, 33, 41, 40, 36]); // every digit a token
 * assertEquals(tokenizer.decode(ids), "In 1984");
 * assertEquals([tokenizer.bosId, tokenizer.eosId, tokenizer.addBos], [1, 2, false]);
 * ```
 *
 * @throws {Error} If it is of a kind or splits texts in a way that is not supported, or contradicts
 * itself; the message names the file and the metadata.
 */
export function ggufTokenizer(file: GgufFile): Tokenizer {
  const kind = file.get("tokenizer.ggml.model");
  if (kind === "gpt2") return byteLevelTokenizer(file);
  if (kind === "llama") return sentencepieceTokenizer(file);
  throw new Error(
    `Cannot use the tokenizer of "${file.path}": its "tokenizer.ggml.model" is "${kind}", expected ` +
      `"gpt2" or "llama"`,
  );
}

function byteLevelTokenizer(file: GgufFile): Tokenizer {
  const name = `${file.get("tokenizer.ggml.pre") ?? "default"}`;
  const pre = PRE_TOKENIZERS.get(name);
  if (!pre) {
    const known = [...PRE_TOKENIZERS.keys()].map((name) => `"${name}"`).join(", ");
    throw new Error(
      `Cannot use the tokenizer of "${file.path}": its "tokenizer.ggml.pre" is "${name}", expected ` +
        `one of ${known}`,
    );
  }
  const { tokens, types } = vocabulary(file);
  const added = tokens.keys().filter((id) => isAdded(types[id])).toArray();
  const codec = bpeCodec(
    {
      added_tokens: added.map((id) => ({
        id,
        content: tokens[id],
        normalized: false,
        special: types[id] === PieceType.CONTROL,
      })),
      normalizer: pre.nfc ? { type: "NFC" } : null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [...pre.splits.map((regex) => splitJson(regex)), byteLevel()],
      },
      decoder: { type: "ByteLevel" },
      model: {
        type: "BPE",
        ignore_merges: pre.ignoreMerges ?? false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: file.list<Json>("tokenizer.ggml.merges"),
      },
    },
    file.path,
    (field) => field.replace(/^model\./, "tokenizer.ggml."),
  );
  return {
    encode: codec.encode,
    decode: codec.decode,
    ...specialTokens(file, tokens.length, { addBos: pre.addBos ?? false }),
  };
}

function sentencepieceTokenizer(file: GgufFile): Tokenizer {
  const { tokens, types } = vocabulary(file);
  const scores = file.list<number>("tokenizer.ggml.scores");
  if (scores.length !== tokens.length || !scores.every(Number.isFinite)) {
    throw new Error(
      `Cannot use the tokenizer of "${file.path}": its "tokenizer.ggml.scores" are not ` +
        `${tokens.length} numbers, one for each token`,
    );
  }
  const map = file.get("tokenizer.ggml.precompiled_charsmap");
  const charsmap = Array.isArray(map) && map.length > 0
    ? new Charsmap(
      Uint8Array.from(map),
      (reason) => new Error(`Cannot use the tokenizer of "${file.path}": ${reason}`),
    )
    : undefined;
  const codec = sentencepieceCodec({
    path: file.path,
    kind: "bpe",
    pieces: tokens,
    scores,
    types,
    unkSurface: " \u2047 ",
    charsmap,
    addDummyPrefix: flag(file, "add_space_prefix") ?? true,
    removeExtraWhitespaces: flag(file, "remove_extra_whitespaces") ?? false,
    escapeWhitespaces: true,
  });
  return {
    encode: codec.encode,
    decode: codec.decode,
    ...specialTokens(file, tokens.length, { bosId: 1, eosId: 2, addBos: true }),
  };
}

function vocabulary(file: GgufFile): { tokens: string[]; types: number[] } {
  const tokens = file.list<string>("tokenizer.ggml.tokens");
  const types = file.list<number>("tokenizer.ggml.token_type");
  const fail = (reason: string): never => {
    throw new Error(`Cannot use the tokenizer of "${file.path}": ${reason}`);
  };
  if (types.length !== tokens.length) {
    fail(`it has ${tokens.length} tokens, but ${types.length} in "tokenizer.ggml.token_type"`);
  }
  const seen = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (typeof token !== "string" || token === "") fail(`its token ${id} is no text or empty`);
    const earlier = seen.get(token);
    if (earlier !== undefined) {
      fail(`its tokens ${earlier} and ${id} are both ${JSON.stringify(token)}`);
    }
    seen.set(token, id);
    const type = types[id];
    if (!Number.isInteger(type) || type < PieceType.NORMAL || type > PieceType.BYTE) {
      fail(`its "tokenizer.ggml.token_type" of token ${id} is ${type}, expected 1…6`);
    }
  });
  return { tokens, types };
}

/** True of a token that is found in a text before it is split. */
function isAdded(type: number): boolean {
  return type === PieceType.CONTROL || type === PieceType.USER_DEFINED;
}

function flag(file: GgufFile, name: string): boolean | undefined {
  const value = file.get(`tokenizer.ggml.${name}`);
  if (value === undefined || typeof value === "boolean") return value;
  throw new Error(
    `Cannot use the tokenizer of "${file.path}": its "tokenizer.ggml.${name}" is neither true nor ` +
      `false`,
  );
}

/** Ids that the file names, and what holds where it names none. */
function specialTokens(
  file: GgufFile,
  vocabSize: number,
  otherwise: { bosId?: number; eosId?: number; addBos: boolean },
): Omit<Tokenizer, "encode" | "decode"> {
  const id = (name: string, otherwise?: number) => {
    const key = `tokenizer.ggml.${name}_token_id`;
    const value = file.get(key) ?? otherwise;
    if (value === undefined) return undefined;
    if (Number.isInteger(value) && value as number >= 0 && value as number < vocabSize) {
      return value as number;
    }
    throw new Error(
      `Cannot use the tokenizer of "${file.path}": its "${key}" is ${value}, expected an id in ` +
        `0…${vocabSize - 1}`,
    );
  };
  const eosId = id("eos", otherwise.eosId);
  if (eosId === undefined) {
    throw new Error(
      `Cannot use the tokenizer of "${file.path}": its metadata has no ` +
        `"tokenizer.ggml.eos_token_id"`,
    );
  }
  const bosId = id("bos", otherwise.bosId);
  const ends = [eosId, id("eot"), id("eom")].filter((id) => id !== undefined);
  return {
    bosId: bosId ?? eosId,
    eosId,
    eosIds: [...new Set(ends)],
    addBos: bosId !== undefined && (flag(file, "add_bos_token") ?? otherwise.addBos),
    vocabSize,
  };
}
