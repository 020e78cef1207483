import { assertEquals, assertThrows } from "@std/assert";
import { cacheDir } from "../../lib/files/mod.ts";
import { ggufTokenizer } from "../../lib/tokenizer/mod.ts";
import { parseSentencepiece } from "../../lib/tokenizer/sentencepiece_model.ts";
import { bytesSource } from "../../lib/weights/byte_source.ts";
import { GgufFile } from "../../lib/weights/mod.ts";
import { ggufBytes } from "../weights/gguf_writer.ts";
import {
  assertRecorded,
  recordedBytes,
  recordedJson,
  resolve,
  SENTENCEPIECE_VARIANTS,
} from "./recorded.ts";

type Metadata = Parameters<typeof ggufBytes>[0];

const RECORDED = recordedJson("tokenizers.json");
const LLAMA3 = recordedJson("llama3.json");

function open(metadata: Metadata): GgufFile {
  return GgufFile.from(bytesSource("test.gguf", ggufBytes(metadata, {})));
}

/** Metadata that llama.cpp's converter makes of llama3.json, with another name for its splits. */
function gpt2Metadata(pre: string): Metadata {
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(LLAMA3.model.vocab)) tokens[id as number] = token;
  const types = tokens.map(() => 1);
  for (const { id, content, special } of LLAMA3.added_tokens) {
    tokens[id] = content;
    types[id] = special ? 3 : 4;
  }
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": LLAMA3.model.merges.map((pair: string[]) => pair.join(" ")),
    "tokenizer.ggml.bos_token_id": tokens.indexOf("<|begin_of_text|>"),
    "tokenizer.ggml.eos_token_id": tokens.indexOf("<|end_of_text|>"),
    "tokenizer.ggml.eot_token_id": tokens.indexOf("<|eot_id|>"),
  };
}

/** Metadata of bpe.model. Scores are ranks, which this writer can write. */
function llamaMetadata(): Metadata {
  const { pieces, scores, types } = parseSentencepiece(recordedBytes("bpe.model"), "bpe.model");
  const order = Array.from(scores).toSorted((a, b) => a - b);
  return {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": [...pieces],
    "tokenizer.ggml.scores": Array.from(scores, (score) => order.indexOf(score)),
    "tokenizer.ggml.token_type": Array.from(types),
  };
}

Deno.test("the embedded vocabulary: ids and texts are those of transformers", async () => {
  using file = await GgufFile.open(cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf"));
  assertRecorded(ggufTokenizer(file), RECORDED.smollm2);
});

Deno.test("a byte-level vocabulary in a GGUF file: ids are those of its tokenizer.json", () => {
  for (const pre of ["llama-bpe", "llama3", "llama-v3"]) {
    assertRecorded(ggufTokenizer(open(gpt2Metadata(pre))), RECORDED.llama3);
  }
});

Deno.test("splits by their names in GGUF: ids are those of the tokenizers library", () => {
  for (const [pre, differs] of Object.entries(RECORDED.splits)) {
    const expected = resolve(RECORDED.llama3, differs as Parameters<typeof resolve>[1]);
    assertRecorded(ggufTokenizer(open(gpt2Metadata(pre))), expected);
  }
  const { "tokenizer.ggml.pre": _, ...without } = gpt2Metadata("");
  assertRecorded(ggufTokenizer(open(without)), resolve(RECORDED.llama3, RECORDED.splits.default));
});

Deno.test("a sentencepiece vocabulary in a GGUF file: ids are those of its tokenizer.model", () => {
  const [plain, bare, trimmed] = SENTENCEPIECE_VARIANTS;
  const metadata = llamaMetadata();
  assertRecorded(ggufTokenizer(open(metadata)), plain);
  const noSpace = { ...metadata, "tokenizer.ggml.add_space_prefix": false };
  assertRecorded(ggufTokenizer(open(noSpace)), bare);
  const trims = { ...metadata, "tokenizer.ggml.remove_extra_whitespaces": true };
  assertRecorded(ggufTokenizer(open(trims)), trimmed);
});

Deno.test("special tokens: what the file says, else what its kind has", () => {
  const ends = (metadata: Metadata) => {
    const { bosId, eosId, eosIds, addBos, vocabSize } = ggufTokenizer(open(metadata));
    return [bosId, eosId, eosIds, addBos, vocabSize];
  };
  const llama3 = gpt2Metadata("llama-bpe");
  const [bos, eos, eot] = ["bos", "eos", "eot"].map((name) =>
    llama3[`tokenizer.ggml.${name}_token_id`] as number
  );
  const size = (llama3["tokenizer.ggml.tokens"] as string[]).length;
  assertEquals(ends(llama3), [bos, eos, [eos, eot], true, size]);
  assertEquals(ends({ ...llama3, "tokenizer.ggml.add_bos_token": false })[3], false);
  assertEquals(ends(gpt2Metadata("gpt-2"))[3], false);
  assertEquals(ends({ ...gpt2Metadata("gpt-2"), "tokenizer.ggml.add_bos_token": true })[3], true);
  const { "tokenizer.ggml.bos_token_id": _, ...noBos } = llama3;
  assertEquals(ends(noBos), [eos, eos, [eos, eot], false, size]);
  assertEquals(ends(llamaMetadata()), [1, 2, [2], true, 700]);
});

Deno.test("a vocabulary that is not supported or contradicts itself is refused by name", () => {
  const gpt2 = gpt2Metadata("gpt-2");
  const llama = llamaMetadata();
  const tokens = llama["tokenizer.ggml.tokens"] as string[];
  const types = llama["tokenizer.ggml.token_type"] as number[];
  const cases: [Metadata, string][] = [
    [{ ...gpt2, "tokenizer.ggml.model": "bert" }, '"tokenizer.ggml.model" is "bert"'],
    [gpt2Metadata("poro"), '"tokenizer.ggml.pre" is "poro", expected one of "smollm", "gpt-2"'],
    [{ ...gpt2, "tokenizer.ggml.token_type": [1] }, '1 in "tokenizer.ggml.token_type"'],
    [{ ...gpt2, "tokenizer.ggml.merges": ["a zz"] }, '"tokenizer.ggml.merges[0]" has "zz"'],
    [{ ...gpt2, "tokenizer.ggml.merges": ["abc"] }, '"tokenizer.ggml.merges[0]" is "abc"'],
    [{ ...gpt2, "tokenizer.ggml.eos_token_id": 1e6 }, '"tokenizer.ggml.eos_token_id" is 1000000'],
    [{ ...gpt2, "tokenizer.ggml.add_bos_token": 1 }, '"tokenizer.ggml.add_bos_token"'],
    [{ ...llama, "tokenizer.ggml.tokens": tokens.with(9, tokens[8]) }, 'tokens 8 and 9 are both "'],
    [{ ...llama, "tokenizer.ggml.token_type": types.with(7, 1) }, '"<0x02>" is missing'],
    [{ ...llama, "tokenizer.ggml.token_type": types.with(7, 9) }, "token 7 is 9, expected 1…6"],
    [{ ...llama, "tokenizer.ggml.scores": [1] }, '"tokenizer.ggml.scores"'],
  ];
  for (const [metadata, message] of cases) {
    const error = assertThrows(() => ggufTokenizer(open(metadata)), Error, message);
    assertEquals(error.message.includes('"test.gguf"'), true, error.message);
  }
});
