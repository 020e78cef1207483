/**
 * Text of tokens that come one at a time.
 *
 * @module
 */
import type { Tokenizer } from "./tokenizer.ts";

/** What a stream needs of a tokenizer. */
export type StreamTokenizer = Pick<Tokenizer, "decode">;

/** Ids that are decoded again with a new one; more cost time, fewer lose what a text began with. */
const WINDOW = 16;
/** A character has at most four bytes, so three may stand for the start of one. */
const UNFINISHED = /\uFFFD{1,3}$/;

/**
 * Turns ids into text as they come. A piece holds whole characters only, although a token may be
 * part of one, and all pieces together are the text that `decode` gives of all ids: a space between
 * two words is kept, also where `decode` drops the one that begins a text.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { TextStream } from "interlens";
 *
 * // Every byte a token: "é" is two of them.
 * const bytes = { decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(ids)) };
 * const stream = new TextStream(bytes);
 * const pieces = [...new TextEncoder().encode("né")].map((id) => stream.push(id));
 * assertEquals(pieces, ["n", "", "é"]);
 * assertEquals(stream.end(), "");
 * ```
 */
export class TextStream {
  readonly #tokenizer: StreamTokenizer;
  /** The latest ids. */
  #ids: number[] = [];
  /** How much of their text was given out. */
  #given = 0;

  /**
   * @param tokenizer Decodes the ids.
   * @param after Ids of the text that this one goes on from, such as a prompt; its text is not part
   * of the stream.
   */
  constructor(tokenizer: StreamTokenizer, after: ArrayLike<number> = []) {
    this.#tokenizer = tokenizer;
    this.#ids = Array.prototype.slice.call(after, -WINDOW);
    this.#given = this.#certain().length;
  }

  /** Adds an id; returns the text that is certain now and was not before, often of this id alone. */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#certain();
    const piece = text.slice(this.#given);
    this.#given = Math.max(this.#given, text.length);
    if (this.#ids.length > 2 * WINDOW) this.#forget();
    return piece;
  }

  /** Ends the text: returns what was held back, with U+FFFD for a character that never ended. */
  end(): string {
    const rest = this.#tokenizer.decode(this.#ids).slice(this.#given);
    this.#given += rest.length;
    return rest;
  }

  #certain(): string {
    return this.#tokenizer.decode(this.#ids).replace(UNFINISHED, "");
  }

  /** Drops ids from the front, where that changes nothing that follows. */
  #forget(): void {
    const text = this.#tokenizer.decode(this.#ids);
    const kept = this.#ids.slice(-WINDOW);
    const end = this.#tokenizer.decode(kept);
    const held = text.length - this.#given;
    // A cut through a character, or a dropped space and nothing else, would show here.
    if (end.length <= held || !text.endsWith(end)) return;
    this.#ids = kept;
    this.#given = end.length - held;
  }
}
