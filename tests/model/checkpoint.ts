/** Parts of a generated checkpoint. */
import { join } from "node:path";

/** Writes a tokenizer of 48 ids: three special ones, then single letters and digits. */
export async function tokenizerFiles(folder: string): Promise<void> {
  const pieces = ["<unk>", "<s>", "</s>", ..."abcdefghijklmnopqrstuvwxyz0123456789Ġ"];
  const special = (id: number) => ({
    id,
    content: pieces[id],
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  const tokenizer = {
    version: "1.0",
    added_tokens: [special(0), special(1), special(2)],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      unk_token: "<unk>",
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: [],
    },
  };
  await Deno.writeTextFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  await Deno.writeTextFile(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: "<s>",
      eos_token: "</s>",
      add_bos_token: true,
    }),
  );
}
