/**
 * Where a span of a text ends in tokens.
 *
 * @module
 */
import type { Tokenizer } from "../tokenizer/mod.ts";

/**
 * Index of the token that holds the last character of a span, with BOS in front as token 0, so that
 * the first token of the text is 1. Found by decoding more and more of the ids, which holds for bytes
 * and for vocabularies that normalise text.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadModel, openDevice, targetToken } from "interlens";
 *
 * await openDevice();
 * const { tokenizer } = await loadModel(undefined, { stopAtLayer: 1 });
 * assertEquals(targetToken(tokenizer, "The lamp flickered twice.", "lamp"), 2);
 * ```
 *
 * @param tokenizer The model's.
 * @param text The text, without BOS.
 * @param span Part of the text; its first occurrence counts.
 * @throws {RangeError} If the span is empty or not in the text.
 */
export function targetToken(
  tokenizer: Pick<Tokenizer, "encode" | "decode">,
  text: string,
  span: string,
): number {
  const start = text.indexOf(span);
  if (span === "" || start === -1) {
    throw new RangeError(
      `Cannot find the target "${span}" in the text "${text}": expected a part of the text`,
    );
  }
  // Through the tokenizer too: a vocabulary may lower case or compose characters.
  const through = (end: number) => tokenizer.decode(tokenizer.encode(text.slice(0, end)));
  const before = through(start);
  const upTo = through(start + span.length);
  const ids = tokenizer.encode(text);
  for (let count = 1; count <= ids.length && upTo.length > before.length; count++) {
    // Bytes of an unfinished character are no character yet, so it is the text that is compared.
    if (tokenizer.decode(ids.slice(0, count)).startsWith(upTo)) return count;
  }
  throw new RangeError(
    `Cannot find the target "${span}" among the tokens of "${text}": the tokenizer reads it as ` +
      `"${tokenizer.decode(ids)}"; choose a span that it keeps`,
  );
}
