/** Ids that the reference libraries gave, from tests/fixtures/token_ids. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "../../lib/files/mod.ts";
import type { Tokenizer } from "../../lib/tokenizer/mod.ts";

/** Path of a file beside the recorded ids. */
export function recordedPath(name: string): string {
  return join(ROOT, "tests", "fixtures", "token_ids", name);
}

export function recordedBytes(name: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(recordedPath(name));
}

// deno-lint-ignore no-explicit-any -- every file has its own structure
export function recordedJson(name: string): any {
  return JSON.parse(Deno.readTextFileSync(recordedPath(name)));
}

/** Ids of every text, and what they decode to where that is not the text. */
export interface Recorded {
  readonly ids: number[][];
  readonly decoded: (string | null)[];
}

/** Rows of a variant by their place in the texts; all others are those of its base. */
export type Difference = Readonly<Record<string, [number[], string | null]>>;

export interface SentencepieceVariant extends Recorded {
  readonly name: string;
  readonly model: string;
  readonly suffix: string;
}

const SENTENCEPIECE = recordedJson("sentencepiece.json");

export const TEXTS: readonly string[] = SENTENCEPIECE.texts;

export function resolve(base: Recorded, differs: Difference): Recorded {
  return {
    ids: base.ids.map((ids, i) => differs[i]?.[0] ?? ids),
    decoded: base.decoded.map((text, i) => i in differs ? differs[i][1] : text),
  };
}

export const SENTENCEPIECE_VARIANTS: readonly SentencepieceVariant[] = SENTENCEPIECE.variants.map((
  variant: SentencepieceVariant & { base?: number; differs: Difference },
) =>
  variant.base === undefined
    ? variant
    : { ...variant, ...resolve(SENTENCEPIECE.variants[variant.base], variant.differs) }
);

/** Bytes of a variant's `tokenizer.model`. */
export function variantBytes({ model, suffix }: SentencepieceVariant): Uint8Array<ArrayBuffer> {
  const appended = suffix.match(/../g)?.map((hex) => parseInt(hex, 16)) ?? [];
  return Uint8Array.from([...recordedBytes(`${model}.model`), ...appended]);
}

/** Compares ids of all texts, and the texts of all ids. */
export function assertRecorded(
  tokenizer: Pick<Tokenizer, "encode" | "decode">,
  { ids, decoded }: Recorded,
): void {
  TEXTS.forEach((text, i) => {
    assertEquals(tokenizer.encode(text), ids[i], `ids of ${JSON.stringify(text)}`);
    assertEquals(
      tokenizer.decode(ids[i]),
      decoded[i] ?? text,
      `text of the ids of ${JSON.stringify(text)}`,
    );
  });
}
