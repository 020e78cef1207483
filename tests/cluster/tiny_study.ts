/** A study that takes seconds: a narrow generated checkpoint and a few documents. */
import type { StudyText } from "../../lib/cluster/mod.ts";
import type { SaeTrainingConfig } from "../../lib/dictionary/mod.ts";
import { sha256 } from "../../lib/files/mod.ts";
import type { NfmConfig } from "../../lib/interaction/mod.ts";
import type { Storage } from "../../lib/storage/mod.ts";
import { writeSubject } from "../notebooks/subject.ts";

/** Writes its model and its text into a folder. */
export async function writeTinyStudy(folder: string, shards = 3): Promise<StudyText> {
  const { model, text } = await writeSubject(folder);
  return {
    ...{ model, text, seed: 0, shards },
    harvest: {
      hook: "blocks.1.hook_resid_post",
      contextLength: 32,
      tokens: { train: 2400, validation: 300, test: 900 },
      batchSize: 8,
      seed: 0,
    },
  };
}

/** A dictionary of a second or two. */
export const TINY_SAE: SaeTrainingConfig = {
  ...{ architecture: "topk", dSae: 128, k: 8, steps: 40, batchSize: 128, seed: 0 },
};

/** A machine of a second or two. */
export const TINY_NFM: NfmConfig = { parts: "both", K: 8, steps: 30, batchSize: 128, seed: 0 };

/** Uses a folder as the cache of this process while `use` runs, as if it were another node. */
export async function onNode<T>(folder: string, use: () => Promise<T>): Promise<T> {
  const before = Deno.env.get("INTERLENS_CACHE");
  Deno.env.set("INTERLENS_CACHE", folder);
  try {
    return await use();
  } finally {
    if (before === undefined) Deno.env.delete("INTERLENS_CACHE");
    else Deno.env.set("INTERLENS_CACHE", before);
  }
}

/**
 * Bytes of every file of a storage, and what its records say came out: without nodes and times, which
 * stand in `artefact.json` and in records beside the result.
 */
export async function contentsOf(storage: Storage): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { key } of storage.list("")) {
    const bytes = await storage.read(key);
    if (key.endsWith("artefact.json") || key.startsWith("units/")) {
      const record = JSON.parse(new TextDecoder().decode(bytes));
      const { created: _, seconds: __, node: ___, ...same } = record;
      found[key] = JSON.stringify(same);
    } else {
      found[key] = `${bytes.length} ${await sha256(bytes)}`;
    }
  }
  return found;
}
