import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { checkVocabulary, folderTokenizer, type Tokenizer } from "../../lib/tokenizer/mod.ts";
import { inScratch } from "../files/scratch.ts";
import {
  assertRecorded,
  recordedBytes,
  recordedJson,
  SENTENCEPIECE_VARIANTS,
  TEXTS,
} from "./recorded.ts";

const LLAMA3 = recordedJson("llama3.json");
const RECORDED = recordedJson("tokenizers.json");

/** Opens a folder of these files: bytes, or what becomes JSON. */
async function open(files: Record<string, unknown>): Promise<Tokenizer> {
  let tokenizer: Tokenizer | undefined;
  await inScratch(async (folder) => {
    for (const [name, content] of Object.entries(files)) {
      const path = join(folder, name);
      if (content instanceof Uint8Array) await Deno.writeFile(path, content);
      else {
        const text = typeof content === "string" ? content : JSON.stringify(content);
        await Deno.writeTextFile(path, text);
      }
    }
    tokenizer = await folderTokenizer(folder);
  });
  return tokenizer!;
}

const BPE = { "tokenizer.model": recordedBytes("bpe.model") };
const JSON_FILE = { "tokenizer.json": LLAMA3 };
const config = (fields: object) => ({ "tokenizer_config.json": fields });
const EOS = config({ eos_token: "<|end_of_text|>", bos_token: "<|begin_of_text|>" });
const NO_POST = { "tokenizer.json": { ...LLAMA3, post_processor: null } };

Deno.test("a tokenizer.json comes before a tokenizer.model, either alone will do", async () => {
  assertRecorded(await open({ ...JSON_FILE, ...BPE, ...EOS }), RECORDED.llama3);
  assertRecorded(await open(BPE), SENTENCEPIECE_VARIANTS[0]);
  assertRecorded(
    await open({ ...BPE, ...config({ add_prefix_space: false }) }),
    SENTENCEPIECE_VARIANTS[1],
  );
});

Deno.test("special tokens: tokenizer_config.json, then the map, the vocabulary, the model's files", async () => {
  const ends = ({ bosId, eosId, eosIds }: Tokenizer) => [bosId, eosId, eosIds];
  const { "<|begin_of_text|>": bos, "<|end_of_text|>": eos, "<|eot_id|>": eot } = Object
    .fromEntries(
      LLAMA3.added_tokens.map(({ id, content }: { id: number; content: string }) => [content, id]),
    );
  assertEquals(ends(await open({ ...JSON_FILE, ...EOS })), [bos, eos, [eos]]);
  const objects = config({ bos_token: { content: "<|begin_of_text|>" }, eos_token: null });
  const map = { "special_tokens_map.json": { eos_token: "<|eot_id|>", bos_token: "x" } };
  assertEquals(ends(await open({ ...JSON_FILE, ...objects, ...map })), [bos, eot, [eot]]);
  const generation = { "generation_config.json": { eos_token_id: [eos, eot], bos_token_id: bos } };
  assertEquals(ends(await open({ ...JSON_FILE, ...generation })), [bos, eos, [eos, eot]]);
  assertEquals(ends(await open({ ...JSON_FILE, "config.json": { eos_token_id: eot } })), [
    ...[eot, eot],
    [eot],
  ]);
  assertEquals(ends(await open(BPE)), [1, 2, [2]]);
  assertEquals(ends(await open({ ...BPE, "config.json": { eos_token_id: 7 } })), [1, 2, [2, 7]]);
  assertEquals(ends(await open({ ...BPE, ...config({ eos_token: "<user>" }) })), [1, 3, [3]]);
});

Deno.test("BOS stands in front where a setting says so, else where the file or its class does", async () => {
  const addBos = async (files: Record<string, unknown>) => (await open(files)).addBos;
  const named = { bos_token: "<|begin_of_text|>", eos_token: "<|end_of_text|>" };
  assertEquals(await addBos(BPE), true);
  assertEquals(await addBos({ ...BPE, ...config({ add_bos_token: false }) }), false);
  assertEquals(await addBos({ ...JSON_FILE, ...EOS }), true);
  assertEquals(
    await addBos({ ...JSON_FILE, ...config({ ...named, add_bos_token: false }) }),
    false,
  );
  assertEquals(await addBos({ ...NO_POST, ...EOS }), false);
  assertEquals(await addBos({ ...NO_POST, ...config({ ...named, add_bos_token: true }) }), true);
  const classed = config({ ...named, tokenizer_class: "LlamaTokenizerFast" });
  assertEquals(await addBos({ ...NO_POST, ...classed }), true);
  const noBos = config({ eos_token: "<|end_of_text|>", add_bos_token: true });
  assertEquals(await addBos({ ...NO_POST, ...noBos }), false);
});

Deno.test("encoding never adds BOS or EOS, so BOS stands in front once", async () => {
  for (const tokenizer of [await open(BPE), await open({ ...JSON_FILE, ...EOS })]) {
    for (const text of TEXTS.filter((text) => !text.includes("<"))) {
      const ids = tokenizer.encode(text);
      assert(!ids.includes(tokenizer.bosId) && !ids.includes(tokenizer.eosId));
    }
  }
});

Deno.test("a vocabulary larger than the embedding is refused, a smaller one is not", async () => {
  const tokenizer = await open(BPE);
  assertEquals(tokenizer.vocabSize, 700);
  checkVocabulary(tokenizer, 700, "folder");
  checkVocabulary(tokenizer, 32000, "folder");
  assertThrows(() => checkVocabulary(tokenizer, 699, "folder"), Error, "699 rows");
  const ends = await open({ ...BPE, "config.json": { eos_token_id: 900 } });
  assertThrows(() => checkVocabulary(ends, 800, "folder"), Error, "up to 900");
});

Deno.test("what is wrong with a folder is said with its file and its field", async () => {
  const { model, added_tokens } = LLAMA3;
  const json = (changes: object) => ({ "tokenizer.json": { ...LLAMA3, ...changes }, ...EOS });
  const inModel = (changes: object) => json({ model: { ...model, ...changes } });
  const cases: [Record<string, unknown>, string[]][] = [
    [{}, ["There is no tokenizer", "tokenizer.model"]],
    [JSON_FILE, ["no token ends a text", "eos_token"]],
    [{ "tokenizer.json": '{"model": {' }, ["tokenizer.json", "is not JSON", "position 11"]],
    [{ "tokenizer.json": '{"a": 1, "a": 2}' }, ["tokenizer.json", '"a" twice']],
    [{ ...JSON_FILE, ...config({ eos_token: "<end>" }) }, ["eos_token", "<end>"]],
    [{ ...JSON_FILE, ...config({ eos_token: 3 }) }, ["tokenizer_config.json", "eos_token"]],
    [{ ...BPE, ...config({ add_bos_token: "yes" }) }, ["tokenizer_config.json", "add_bos_token"]],
    [{ ...BPE, "generation_config.json": { eos_token_id: [-1] } }, [
      "generation_config.json",
      "[-1]",
    ]],
    [{ "tokenizer.model": new Uint8Array() }, ["tokenizer.model", "no pieces"]],
    [json({ model: null }), ["tokenizer.json", '"model" is null']],
    [inModel({ type: "Unigram" }), ['"model.type" is "Unigram"']],
    [inModel({ vocab: { ...model.vocab, x: 3 } }), ['"model.vocab" gives both', "the id 3"]],
    [inModel({ vocab: { ...model.vocab, xx: -1 } }), ['"model.vocab["xx"]" is -1']],
    [inModel({ vocab: { ...model.vocab, xx: 1e12 } }), ['"model.vocab["xx"]" is 1000000000000']],
    [inModel({ merges: [["a", "zz"]] }), ['"model.merges[0]" has "zz"']],
    [inModel({ byte_fallback: true }), ['no "<0x00>"', "byte_fallback"]],
    [inModel({ dropout: 0.1 }), ['"model.dropout" is 0.1']],
    [json({ added_tokens: [{ ...added_tokens[0], id: 0 }] }), ['"added_tokens" gives both']],
    [json({ added_tokens: [{ ...added_tokens[0], single_word: true }] }), ["single_word"]],
    [json({ normalizer: { type: "Precompiled" } }), ['"normalizer.type" is "Precompiled"']],
    [json({ pre_tokenizer: { type: "Bert" } }), ['"pre_tokenizer.type" is "Bert"']],
    [json({ decoder: { type: "CTC" } }), ['"decoder.type" is "CTC"']],
  ];
  for (const [files, parts] of cases) {
    const error = await assertRejects(() => open(files), Error);
    for (const part of parts) assertStringIncludes(error.message, part);
  }
});
