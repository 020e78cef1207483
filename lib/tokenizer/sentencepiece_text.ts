/**
 * How sentencepiece prepares a text: characters replaced, spaces trimmed, marked and put in front.
 *
 * @module
 */
import type { SentencepieceModel } from "./sentencepiece_model.ts";

/** A space inside a piece. */
export const SPACE = "▁";

/** Finds the longest of some strings at a place of a text. */
export class PrefixMatcher {
  /** By their first UTF-16 unit, the longest first. */
  readonly #byUnit = new Map<number, string[]>();

  constructor(strings: readonly string[]) {
    for (const string of strings.toSorted((a, b) => b.length - a.length)) {
      const unit = string.charCodeAt(0);
      const others = this.#byUnit.get(unit);
      if (others) others.push(string);
      else this.#byUnit.set(unit, [string]);
    }
  }

  get empty(): boolean {
    return this.#byUnit.size === 0;
  }

  /** The longest string that a text has at a place; undefined if none. */
  at(text: string, position: number): string | undefined {
    return this.#byUnit.get(text.charCodeAt(position))
      ?.find((string) => text.startsWith(string, position));
  }
}

/** What of a model concerns a text before it is cut into pieces. */
export type Preparation = Pick<
  SentencepieceModel,
  "charsmap" | "addDummyPrefix" | "removeExtraWhitespaces" | "escapeWhitespaces"
>;

/**
 * Prepares a text.
 *
 * @param text Well-formed UTF-16.
 * @param kept Strings that nothing is replaced in: symbols of the user.
 */
export function prepareText(
  text: string,
  { charsmap, addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces }: Preparation,
  kept: PrefixMatcher,
): string {
  if (text === "") return "";
  const space = escapeWhitespaces ? SPACE : " ";
  if (!charsmap && !removeExtraWhitespaces) {
    return (addDummyPrefix ? space : "") + (escapeWhitespaces ? text.replaceAll(" ", SPACE) : text);
  }
  /** What stands at a place in the prepared text, and where the next place is. */
  const step = (at: number): [string, number] => {
    const symbol = kept.at(text, at);
    if (symbol !== undefined) return [symbol, at + symbol.length];
    const replaced = charsmap?.longest(text, at);
    if (replaced) return [replaced.by, replaced.end];
    const end = at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
    return [text.slice(at, end), end];
  };
  let at = 0;
  if (removeExtraWhitespaces) {
    while (at < text.length) {
      const [part, next] = step(at);
      if (part !== " ") break;
      at = next;
    }
    if (at === text.length) return "";
  }
  let prepared = addDummyPrefix ? space : "";
  let afterSpace = removeExtraWhitespaces;
  while (at < text.length) {
    let [part, next] = step(at);
    at = next;
    if (afterSpace) part = part.replace(/^ +/, "");
    if (part === "") continue;
    if (removeExtraWhitespaces) afterSpace = part.endsWith(" ");
    prepared += escapeWhitespaces ? part.replaceAll(" ", SPACE) : part;
  }
  if (!removeExtraWhitespaces) return prepared;
  let end = prepared.length;
  while (prepared.startsWith(space, end - 1) && end > 0) end--;
  return prepared.slice(0, end);
}
