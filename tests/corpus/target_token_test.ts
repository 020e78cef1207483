import { assert, assertEquals, assertThrows } from "@std/assert";
import { targetToken } from "../../lib/corpus/mod.ts";
import { bpeCodec } from "../../lib/tokenizer/bpe_codec.ts";
import { parseSentencepiece } from "../../lib/tokenizer/sentencepiece_model.ts";
import { sentencepieceCodec } from "../../lib/tokenizer/sentencepiece_tokenizer.ts";
import { recordedJson, SENTENCEPIECE_VARIANTS, variantBytes } from "../tokenizer/recorded.ts";

type Codec = { encode(text: string): number[]; decode(ids: ArrayLike<number>): string };

/** Vocabularies of every kind: byte-level BPE, and sentencepiece of several settings. */
const CODECS: [string, Codec][] = [
  ["byte-level", bpeCodec(recordedJson("llama3.json"), "llama3/tokenizer.json")],
  ["converted sentencepiece", bpeCodec(recordedJson("llama2.json"), "llama2/tokenizer.json")],
  ...SENTENCEPIECE_VARIANTS.map((variant): [string, Codec] => [
    variant.name,
    sentencepieceCodec(parseSentencepiece(variantBytes(variant), variant.name)),
  ]),
];

const CASES: [text: string, span: string][] = [
  ["The lamp flickered twice in the hall.", "lamp"],
  ["The lamp flickered twice in the hall.", "flickered"],
  ["The lamp flickered twice in the hall.", "The"],
  ["The lamp flickered twice in the hall.", "hall."],
  ["She paid at the café before noon", "café"],
  ["It rained on 12 days", "12"],
  ["東京 is a word 🦜 here", "🦜"],
];

for (const [name, codec] of CODECS) {
  Deno.test(`${name}: the target's token is the last one that its last character needs`, () => {
    for (const [text, span] of CASES) {
      const end = text.indexOf(span) + span.length;
      const ids = codec.encode(text);
      const at = targetToken(codec, text, span);
      assert(at >= 1 && at <= ids.length);
      // A vocabulary may normalise; then it does so with the part, too.
      const whole = codec.decode(codec.encode(text.slice(0, end)));
      const upTo = (count: number) => codec.decode(ids.slice(0, count));
      assert(upTo(at).startsWith(whole), `${span}: ${upTo(at)}`);
      assert(!upTo(at - 1).startsWith(whole), `${span}: ${upTo(at - 1)} has it already`);
    }
  });
}

Deno.test("with a token a byte, the target is at its last byte, BOS being token 0", () => {
  const bytes = {
    encode: (text: string) => [...new TextEncoder().encode(text)],
    decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(ids)),
  };
  assertEquals(targetToken(bytes, "né ici", "n"), 1);
  assertEquals(targetToken(bytes, "né ici", "né"), 3);
  assertEquals(targetToken(bytes, "né ici", "ici"), 7);
});

Deno.test("a span that is not in the text, or that the tokenizer does not keep, is an error", () => {
  const letters = {
    encode: (text: string) => [...text.replaceAll("x", "")].map((c) => c.charCodeAt(0)),
    decode: (ids: ArrayLike<number>) => String.fromCharCode(...Array.from(ids)),
  };
  assertThrows(() => targetToken(letters, "a tale", "lamp"), RangeError, '"lamp"');
  assertThrows(() => targetToken(letters, "a tale", ""), RangeError);
  assertThrows(
    () => targetToken(letters, "xx a tale", "xx"),
    RangeError,
    "choose a span that it keeps",
  );
});
