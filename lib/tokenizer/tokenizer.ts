/**
 * What every tokenizer can do.
 *
 * @module
 */

/** Turns text into token ids and back. */
export interface Tokenizer {
  /**
   * Ids of a text; BOS and EOS are not added. Half a surrogate pair counts as U+FFFD. Text such as
   * `<s>` is what it is for the library that made the vocabulary: that token for `tokenizers`,
   * three characters for `sentencepiece`.
   */
  encode(text: string): number[];
  /**
   * Text of ids, special tokens included; bytes that are no UTF-8 become U+FFFD, an id that has no
   * token becomes nothing. Where a tokenizer puts a space before a text, it is left out again: join
   * the text of single ids with {@linkcode TextStream}, not with this.
   */
  decode(ids: ArrayLike<number>): string;
  /** Token that begins a sequence; where a model has none, the one that ends it. */
  readonly bosId: number;
  /** Token that ends one. */
  readonly eosId: number;
  /** All tokens at which a model may stop writing, `eosId` among them; left out: only that one. */
  readonly eosIds?: readonly number[];
  /** True if the model was trained with BOS in front of its text. */
  readonly addBos: boolean;
  /** One more than the highest id that it gives; left out: not known. */
  readonly vocabSize?: number;
}

/**
 * Refuses a tokenizer that gives ids which a model has no embedding for. Fewer ids than embeddings
 * are usual: tables are padded to a round number.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { cacheDir, checkVocabulary, GgufFile, ggufTokenizer } from "interlens";
 *
 * using file = await GgufFile.open(cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf"));
 * const tokenizer = ggufTokenizer(file);
 * checkVocabulary(tokenizer, 49152, file.path);
 * assertThrows(() => checkVocabulary(tokenizer, 32000, file.path), Error, "49151");
 * ```
 *
 * @param vocabSize Rows of the model's embedding.
 * @param where File or folder of the tokenizer, for the error.
 * @throws {Error} If there are more ids than rows.
 */
export function checkVocabulary(
  tokenizer: Pick<Tokenizer, "vocabSize" | "bosId" | "eosId" | "eosIds">,
  vocabSize: number,
  where: string,
): void {
  const { bosId, eosId, eosIds = [] } = tokenizer;
  const size = Math.max(
    tokenizer.vocabSize ?? 0,
    bosId + 1,
    ...[eosId, ...eosIds].map((id) => id + 1),
  );
  if (size > vocabSize) {
    throw new Error(
      `Cannot use the tokenizer of "${where}" with this model: its ids go up to ${size - 1}, but ` +
        `the embedding of the model has ${vocabSize} rows; use the tokenizer it was trained with`,
    );
  }
}
