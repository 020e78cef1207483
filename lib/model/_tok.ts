import { PreTrainedTokenizer } from "@huggingface/transformers";
import type { Tokenizer } from "../tokenizer/mod.ts";
export async function folderTokenizer(folder: string): Promise<Tokenizer> {
  const json = JSON.parse(await Deno.readTextFile(folder + "/tokenizer.json"));
  const config = JSON.parse(await Deno.readTextFile(folder + "/tokenizer_config.json"));
  const model = new PreTrainedTokenizer(json, config);
  return {
    encode: (t) => model.encode(t, { add_special_tokens: false }),
    decode: (ids) => ids.length ? model.decode(Array.from(ids)) : "",
    bosId: 1,
    eosId: 2,
    addBos: true,
  };
}
