/**
 * What every tokenizer can do.
 *
 * @module
 */

/** Turns text into token ids and back. */
export interface Tokenizer {
  /** Ids of a text, without BOS. */
  encode(text: string): number[];
  /** Text of ids, special tokens included; bytes that are no UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>): string;
  /** Token that begins a sequence. */
  readonly bosId: number;
  /** Token that ends one. */
  readonly eosId: number;
  /** True if the model was trained with BOS in front of its text. */
  readonly addBos: boolean;
}
