import { assertEquals } from "@std/assert";
import { bpeCodec } from "../../lib/tokenizer/bpe_codec.ts";
import { byteLevel, GPT2_SPLIT, splitJson } from "../../lib/tokenizer/bpe_steps.ts";
import type { JsonObject } from "../../lib/tokenizer/json_fields.ts";
import { TextStream } from "../../lib/tokenizer/mod.ts";
import { assertRecorded, recordedJson, resolve, TEXTS } from "./recorded.ts";

const RECORDED = recordedJson("tokenizers.json");
const LLAMA3: JsonObject = recordedJson("llama3.json");
const LLAMA2: JsonObject = recordedJson("llama2.json");
const codec = (json: JsonObject) => bpeCodec(json, "test/tokenizer.json");

Deno.test("byte-level BPE like LLaMA 3's: ids and texts are those of the tokenizers library", () => {
  assertRecorded(codec(LLAMA3), RECORDED.llama3);
});

Deno.test("a converted sentencepiece vocabulary: ids and texts are those of the tokenizers library", () => {
  assertRecorded(codec(LLAMA2), RECORDED.llama2);
});

Deno.test("Metaspace in front of the first part, of words, and of older files: ids are the library's", () => {
  const with_ = (part: JsonObject) =>
    codec({ ...LLAMA2, normalizer: null, pre_tokenizer: { type: "Metaspace", ...part } });
  const first = resolve(RECORDED.llama2, RECORDED.metaspace);
  assertRecorded(with_({ replacement: "▁", prepend_scheme: "first", split: false }), first);
  const words = resolve(RECORDED.llama2, RECORDED["metaspace words"]);
  assertRecorded(with_({ replacement: "▁", prepend_scheme: "always", split: true }), words);
  assertRecorded(with_({ replacement: "▁", add_prefix_space: true }), words);
});

Deno.test("splits of all kinds cut where the tokenizers library cuts", () => {
  const digits = { type: "Digits", individual_digits: true };
  const gpt2 = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = { ...LLAMA3.model as JsonObject, ignore_merges: false };
  for (
    const pre_tokenizer of [gpt2, {
      type: "Sequence",
      pretokenizers: [splitJson(GPT2_SPLIT), byteLevel()],
    }]
  ) {
    const expected = resolve(RECORDED.llama3, RECORDED.splits["gpt-2"]);
    assertRecorded(codec({ ...LLAMA3, model, pre_tokenizer }), expected);
  }
  const smollm = { type: "Sequence", pretokenizers: [digits, gpt2] };
  assertRecorded(
    codec({ ...LLAMA3, model, pre_tokenizer: smollm }),
    resolve(RECORDED.llama3, RECORDED.splits.smollm),
  );
  for (const { behavior, invert, pattern, pieces } of RECORDED.behaviors) {
    const split = { type: "Split", behavior, invert, pattern };
    const plain = { type: "Sequence", pretokenizers: [split, byteLevel()] };
    const ids = codec({ ...LLAMA3, pre_tokenizer: plain });
    // Cut parts are never joined, so the ids are those of the parts.
    const alone = codec({ ...LLAMA3, pre_tokenizer: byteLevel() });
    TEXTS.slice(0, pieces.length).forEach((text, i) => {
      const expected = (pieces[i] as string[]).flatMap((piece) => alone.encode(piece));
      assertEquals(ids.encode(text), expected, `${behavior}, ${invert}: ${JSON.stringify(text)}`);
    });
  }
});

Deno.test("half a surrogate pair, no text, and ids without a token", () => {
  for (const json of [LLAMA2, LLAMA3]) {
    const { encode, decode } = codec(json);
    assertEquals(encode("a\ud83d"), encode("a\ufffd"));
    assertEquals(encode(""), []);
    assertEquals(decode([]), "");
    const ids = encode("the model");
    assertEquals(decode([1e6, ids[0], -1, 0.5, ...ids.slice(1)]), "the model");
  }
});

Deno.test("pieces of a stream join to the text of all ids", () => {
  for (const json of [LLAMA2, LLAMA3]) {
    const tokenizer = codec(json);
    for (const text of TEXTS) {
      const ids = tokenizer.encode(text);
      const stream = new TextStream(tokenizer);
      const pieces = [...ids.map((id) => stream.push(id)), stream.end()];
      assertEquals(pieces.join(""), tokenizer.decode(ids), JSON.stringify(text));
    }
  }
});
