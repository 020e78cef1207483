/**
 * Thousands of tokenizers with something changed in them. Whatever it is, texts are encoded to ids of
 * the vocabulary, or an error names the file and what is wrong in it. A failure prints the format and
 * the seed; `deno test -A tests/tokenizer/fuzz_test.ts -- FORMAT SEED` runs that one alone.
 */
import { assert } from "@std/assert";
import { bpeCodec } from "../../lib/tokenizer/bpe_codec.ts";
import { parseJson } from "../../lib/tokenizer/folder_settings.ts";
import { ggufTokenizer } from "../../lib/tokenizer/mod.ts";
import { parseSentencepiece } from "../../lib/tokenizer/sentencepiece_model.ts";
import { sentencepieceCodec } from "../../lib/tokenizer/sentencepiece_tokenizer.ts";
import type { Tokenizer } from "../../lib/tokenizer/mod.ts";
import { bytesSource } from "../../lib/weights/byte_source.ts";
import { GgufFile } from "../../lib/weights/mod.ts";
import { ggufBytes } from "../weights/gguf_writer.ts";
import { mutateBytes, mutateJson, Random } from "../weights/mutants.ts";
import { recordedBytes, recordedJson, TEXTS } from "./recorded.ts";

const FILES_PER_FORMAT = 3000;
/** Name of every file: no error has it unless it names the file. */
const NAME = "mutant/tokenizer";

type Codec = Pick<Tokenizer, "encode" | "decode" | "vocabSize">;

const MODELS = ["bpe", "unigram", "unused"].map((name) => recordedBytes(`${name}.model`));
const JSONS = ["llama3", "llama2"].map((name) => JSON.stringify(recordedJson(`${name}.json`)));
const { pieces, scores, types } = parseSentencepiece(MODELS[0], NAME);
const GGUF = [
  ggufBytes({
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": [...pieces],
    "tokenizer.ggml.scores": Array.from(scores, (score) => 1e6 + Math.round(score)),
    "tokenizer.ggml.token_type": Array.from(types),
  }, {}),
  ggufBytes({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": ["<s>", "a", "b", "ab", "Ġ", "Ġab"],
    "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b", "Ġ ab"],
    "tokenizer.ggml.eos_token_id": 0,
  }, {}),
] as Uint8Array<ArrayBuffer>[];

/** One or two changes that know nothing of the format. */
function blind(files: readonly Uint8Array<ArrayBuffer>[], random: Random): Uint8Array<ArrayBuffer> {
  let bytes = random.pick(files);
  for (let i = 0; i <= random.below(2); i++) {
    bytes = mutateBytes(bytes, random.pick(files), random);
  }
  return bytes;
}

/** A field of a protocol buffer with another value, at the end: the last value holds. */
function appended(bytes: Uint8Array<ArrayBuffer>, random: Random): Uint8Array<ArrayBuffer> {
  const field = random.pick([1, 2, 3, 4, 5]);
  const inner = [random.pick([1, 2, 3, 4, 5, 24, 35, 44]) % 16 << 3 | random.pick([0, 0, 2, 5, 1])];
  for (let i = 0; i < random.below(8); i++) inner.push(random.below(256));
  return Uint8Array.from([...bytes, field << 3 | 2, inner.length, ...inner]);
}

const FORMATS: Readonly<Record<string, (random: Random) => Codec>> = {
  sentencepiece(random) {
    const bytes = random.below(4) ? blind(MODELS, random) : appended(random.pick(MODELS), random);
    return sentencepieceCodec(parseSentencepiece(bytes, NAME));
  },
  json(random) {
    const text = random.pick(JSONS);
    const mutant = random.below(4)
      ? mutateJson(JSON.parse(text), random)
      : new TextDecoder().decode(blind([new TextEncoder().encode(text)], random));
    return bpeCodec(parseJson(mutant, NAME), NAME);
  },
  gguf: (random) => ggufTokenizer(GgufFile.from(bytesSource(NAME, blind(GGUF, random)))),
};

/** Passes an error that names the file and a field, a token, a piece or a byte of it. */
function assertNames(error: unknown): void {
  const message = error instanceof Error ? error.message : "";
  const rest = message.replaceAll(`"${NAME}"`, "");
  const named = rest !== message && message.length < 2000 &&
    /"[^"]*"|\b(byte|piece|pieces|token|tokens) \d|is not JSON|GGUF|no piece/.test(rest);
  if (!named) throw error;
}

function assertHarmless(format: string, seed: number): boolean {
  const random = new Random(seed);
  const started = performance.now();
  let codec: Codec | undefined;
  try {
    try {
      codec = FORMATS[format](random);
    } catch (error) {
      assertNames(error);
    }
    if (codec) {
      const size = codec.vocabSize!;
      for (let i = 0; i < 4; i++) {
        const ids = codec.encode(random.pick(TEXTS));
        assert(ids.every((id) => Number.isInteger(id) && id >= 0 && id < size), `${ids}`);
        codec.decode(ids);
      }
      codec.decode(Array.from({ length: 20 }, () => random.below(size + 2)));
    }
    const ms = performance.now() - started;
    assert(ms < 2000, `it took ${ms} ms`);
  } catch (error) {
    throw new Error(`The ${format} file of seed ${seed} is not refused as it should be: ${error}`, {
      cause: error,
    });
  }
  return codec !== undefined;
}

const [only, seed] = Deno.args;
for (const format of Object.keys(FORMATS)) {
  Deno.test({
    name: `${FILES_PER_FORMAT} changed tokenizers (${format}) are used or refused by name`,
    ignore: only !== undefined && only !== format,
    fn() {
      if (only) return void assertHarmless(format, Number(seed));
      let used = 0;
      for (let seed = 0; seed < FILES_PER_FORMAT; seed++) {
        if (assertHarmless(format, seed)) used++;
      }
      // Neither all nor none: the changes matter, and do not all break the same thing.
      assert(used > FILES_PER_FORMAT / 100 && used < FILES_PER_FORMAT * 0.95, `${used} were used`);
    },
  });
}
