/**
 * The tokenizer in the folder of a model, as Hugging Face's hub has them.
 *
 * @module
 */
import { join } from "node:path";
import { bpeCodec } from "./bpe_codec.ts";
import { readJsonFile, readSettings, specialTokens } from "./folder_settings.ts";
import { parseSentencepiece, PieceType } from "./sentencepiece_model.ts";
import { sentencepieceCodec } from "./sentencepiece_tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Files that {@linkcode folderTokenizer} reads where they are there: one of the first two, and what
 * says more of it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { TOKENIZER_FILES } from "interlens";
 *
 * assertEquals(TOKENIZER_FILES.slice(0, 2), ["tokenizer.json", "tokenizer.model"]);
 * ```
 */
export const TOKENIZER_FILES: readonly string[] = [
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "generation_config.json",
  "config.json",
];

/** Classes that put BOS in front although no file says so. */
const ADD_BOS = /^(Code)?Llama(Tokenizer|TokenizerFast)$/;

/**
 * The tokenizer in a folder: byte-pair encoding in a `tokenizer.json`, else sentencepiece's
 * `tokenizer.model` (BPE or unigram).
 *
 * Ids are those of the library that the file is of: `tokenizers`, where added tokens such as `<s>` are
 * tokens wherever they stand in a text, or `sentencepiece`, where they are text like any other. Which
 * tokens begin and end a text, and whether BOS stands in front, `tokenizer_config.json` says; where
 * it does not, BOS stands in front if the `tokenizer.json` puts it there, and with a
 * `tokenizer.model`, as for LLaMA.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { join } from "node:path";
 * import { folderTokenizer, ROOT } from "interlens";
 *
 * // A small vocabulary like LLaMA's.
 * const folder = await Deno.makeTempDir();
 * await Deno.copyFile(join(ROOT, "tests/fixtures/token_ids/bpe.model"), join(folder, "tokenizer.model"));
 * const tokenizer = await folderTokenizer(folder);
 * const ids = tokenizer.encode("the lens");
 * assertEquals(tokenizer.decode([tokenizer.bosId, ...ids]), "<s> the lens");
 * assertEquals(tokenizer.addBos, true);
 * await Deno.remove(folder, { recursive: true });
 * ```
 *
 * @throws {Error} If there is no tokenizer, or one that is not supported or contradicts itself; the
 * message names the file, and the byte or the field.
 */
export async function folderTokenizer(folder: string): Promise<Tokenizer> {
  const settings = await readSettings(folder);
  const jsonPath = join(folder, "tokenizer.json");
  const json = await readJsonFile(jsonPath);
  if (json !== undefined) {
    const { encode, decode, ids, first, vocabSize } = bpeCodec(json, jsonPath);
    const { tokenizerClass = "" } = settings;
    const ends = specialTokens(settings, {
      idOf: (token) => ids.get(token),
      addBos: ADD_BOS.test(tokenizerClass),
      vocabSize,
    }, folder);
    const putsBos = first !== undefined && ids.get(first) === ends.bosId;
    return {
      encode,
      decode,
      ...ends,
      addBos: ends.addBos || settings.addBos === undefined && putsBos,
    };
  }
  const modelPath = join(folder, "tokenizer.model");
  const bytes = await Deno.readFile(modelPath).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `There is no tokenizer in "${folder}": expected "tokenizer.json" or "tokenizer.model"`,
      { cause: error },
    );
  });
  const parsed = parseSentencepiece(bytes, modelPath);
  const model = settings.addPrefixSpace === false ? { ...parsed, addDummyPrefix: false } : parsed;
  const { encode, decode, vocabSize } = sentencepieceCodec(model);
  const ends = specialTokens(settings, {
    idOf(token) {
      const id = model.pieces.indexOf(token);
      return id < 0 || model.types[id] === PieceType.BYTE ? undefined : id;
    },
    bosId: model.bosId,
    eosId: model.eosId,
    addBos: true,
    vocabSize,
  }, folder);
  return { encode, decode, ...ends };
}
