/**
 * What a rehearsal of the `paper` profile runs on.
 */
import { join } from "node:path";
import { brown } from "../../lib/corpus/mod.ts";
import { writeCheckpoint } from "../model/large_checkpoint.ts";
import { recordedPath } from "../tokenizer/recorded.ts";

/** Words of Brown that stand in for WikiText. */
const DOCUMENTS = 60;

/**
 * Writes a random checkpoint of OpenLLaMA's form, narrow, and a text, for a rehearsal.
 *
 * @param folder Where.
 * @returns Their paths: `INTERLENS_MODEL` and `INTERLENS_TEXT`.
 */
export async function writeSubject(folder: string): Promise<{ model: string; text: string }> {
  const model = join(folder, "open_llama");
  await Deno.mkdir(model);
  await writeCheckpoint(model, {
    ...{ dModel: 64, nHeads: 4, dMlp: 172, vocabSize: 704 },
    ...{ nLayers: 26, storedLayers: 26 },
  });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.remove(join(model, name));
  }
  await Deno.copyFile(recordedPath("bpe.model"), join(model, "tokenizer.model"));
  const settings = { tokenizer_class: "LlamaTokenizer", add_bos_token: true };
  await Deno.writeTextFile(join(model, "tokenizer_config.json"), JSON.stringify(settings));
  const text = join(folder, "text.jsonl");
  const documents = (await brown()).slice(0, DOCUMENTS);
  await Deno.writeTextFile(text, documents.map(({ text }) => JSON.stringify({ text })).join("\n"));
  return { model, text };
}
