import { assert, assertEquals } from "@std/assert";
import { TextStream } from "../../lib/tokenizer/mod.ts";
import { parseSentencepiece } from "../../lib/tokenizer/sentencepiece_model.ts";
import { sentencepieceCodec } from "../../lib/tokenizer/sentencepiece_tokenizer.ts";
import { assertRecorded, SENTENCEPIECE_VARIANTS, TEXTS, variantBytes } from "./recorded.ts";

const codecs = SENTENCEPIECE_VARIANTS.map((variant) =>
  sentencepieceCodec(parseSentencepiece(variantBytes(variant), variant.name))
);
const [llama] = codecs;

SENTENCEPIECE_VARIANTS.forEach((variant, i) => {
  Deno.test(`${variant.name}: ids and texts are those of the sentencepiece library`, () => {
    assert(TEXTS.length > 200);
    assertRecorded(codecs[i], variant);
  });
});

Deno.test("with byte fallback and whitespace kept, decoding gives back every text", () => {
  for (const text of TEXTS) {
    // A marker that stands in the text is a space afterwards.
    assertEquals(llama.decode(llama.encode(text)), text.replaceAll("▁", " "));
  }
});

Deno.test("half a surrogate pair counts as U+FFFD", () => {
  assertEquals(llama.encode("a\ud83d"), llama.encode("a\ufffd"));
  assertEquals(llama.encode("\ude00b"), llama.encode("\ufffdb"));
});

Deno.test("a long text has the ids of its words, and one word of 100,000 letters is no problem", () => {
  const word = llama.encode("the model");
  assertEquals(llama.encode("the model ".repeat(5000).trimEnd()).length, word.length * 5000);
  const long = "ab".repeat(50_000);
  assertEquals(llama.decode(llama.encode(long)), long);
});

Deno.test("special tokens are decoded as they are written, ids without a token as nothing", () => {
  const bos = 1;
  const [space] = llama.encode("the");
  assertEquals(llama.decode([bos, space, 2]), "<s> the</s>");
  assertEquals(llama.decode([space, 1e6, -1, space]), "the the");
  assertEquals(llama.decode([]), "");
});

Deno.test("each byte that is no UTF-8 becomes U+FFFD, those around it what they are", () => {
  const byte = (value: number) => 5 + value; // after <unk>, <s>, </s> and two symbols of the user
  assertEquals(llama.decode([0xe2, 0x96, 0x41].map(byte)), "\ufffd\ufffdA");
  assertEquals(llama.decode([0xc3, 0xa9, 0xff, 0xef, 0xbb, 0xbf].map(byte)), "é\ufffd\ufeff");
});

Deno.test("pieces of a stream join to the text of all ids, the space before a word included", () => {
  codecs.forEach((codec, i) => {
    for (const text of TEXTS) {
      const ids = codec.encode(text);
      const stream = new TextStream(codec);
      const pieces = [...ids.map((id) => stream.push(id)), stream.end()];
      assertEquals(
        pieces.join(""),
        codec.decode(ids),
        `${SENTENCEPIECE_VARIANTS[i].name}: ${text}`,
      );
    }
  });
  const stream = new TextStream(llama, llama.encode("Hello"));
  assertEquals(llama.encode(" world".trim()).map((id) => stream.push(id)).join(""), " world");
});
