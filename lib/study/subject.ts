/**
 * What a notebook studies: the model and the text of its configuration, and activations of both.
 *
 * @module
 */
import { type ActivationStore, harvest } from "../activations/mod.ts";
import {
  brown,
  type DocumentSource,
  fromCsv,
  fromFolder,
  fromJsonl,
  type PackTokenizer,
  splitDocuments,
  SPLITS,
  type Splits,
  takeDocuments,
  wikitext,
} from "../corpus/mod.ts";
import { sourceOf } from "../corpus/source.ts";
import { loadModel, type Model } from "../model/mod.ts";
import type { StudyConfig } from "./config.ts";

/** Shares of the documents that are split into train, validation and test. */
const SHARES = { train: 0.8, validation: 0.1, test: 0.1 };
/** Documents differ in length, and the last sequence of each may be left out. */
const MARGIN = 1.3;

/** Documents by split, and activations of them. */
export interface StudyData {
  readonly documents: Splits;
  readonly store: ActivationStore;
}

/**
 * The model of a configuration, with the blocks that its hook point needs.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openDevice, openSubject, studyConfig } from "interlens";
 *
 * await openDevice();
 * using model = await openSubject(studyConfig());
 * assertEquals(model.hookNames().at(-1), "blocks.15.hook_resid_post");
 * ```
 *
 * @param config Names the model (`model`) and the hook point (`harvest.hook`).
 * @param options `whole`: all blocks and the logits; `signal`: stops the download.
 * @returns The model, the caller's.
 * @throws As `loadModel`.
 */
export async function openSubject(
  { model, harvest: { hook } }: Pick<StudyConfig, "model" | "harvest">,
  { whole = false, signal }: { whole?: boolean; signal?: AbortSignal } = {},
): Promise<Model> {
  const layer = /^blocks\.(\d+)\./.exec(hook)?.[1];
  const stopAtLayer = whole || layer === undefined ? undefined : Number(layer) + 1;
  return await loadModel(model ?? undefined, { stopAtLayer, signal });
}

/**
 * The documents of a configuration, split by document: `"brown"`, `"wikitext"`, or a path to a folder
 * of text files, a JSON Lines file with a field `text` or a CSV file with a column `text`.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studyConfig, studyDocuments } from "interlens";
 *
 * const { train, test } = await studyDocuments(studyConfig({ text: "brown" }), { encode: () => [] });
 * assertEquals([train.length, test.length], [400, 50]);
 * ```
 *
 * @param config Names the text (`text`), how many tokens are wanted, and the seed of the split.
 * @param tokenizer Decides what a token is, where only a part of the text is taken.
 * @throws {Error} As the source of the text.
 */
export async function studyDocuments(
  { text, seed, harvest: { tokens } }: Pick<StudyConfig, "text" | "seed" | "harvest">,
  tokenizer: Pick<PackTokenizer, "encode">,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Splits> {
  const split = { ...SHARES, seed };
  if (text === "brown") return splitDocuments(await brown(), split);
  const wanted = SPLITS.map((name) => [tokens[name], SHARES[name]] as const);
  if (text !== "wikitext" || wanted.some(([count]) => count === "all")) {
    return splitDocuments(await Array.fromAsync(studySource(text)), split);
  }
  // As many as the split that needs most for its share.
  const needed = Math.max(...wanted.map(([count, share]) => Number(count) / share));
  const documents = await takeDocuments(wikitext({ signal }), {
    tokens: Math.ceil(MARGIN * needed),
    tokenizer,
    signal,
  });
  return splitDocuments(documents, split);
}

/**
 * The text of a configuration as a source, which need not fit into memory.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { studySource, takeDocuments } from "interlens";
 *
 * const [first] = await takeDocuments(studySource("brown"), { documents: 1 });
 * assertEquals(first.text.length > 1000, true);
 * ```
 *
 * @param text As in {@linkcode StudyConfig.text}.
 */
export function studySource(text: string): DocumentSource {
  if (text === "brown") {
    return sourceOf(async function* () {
      yield* await brown();
    });
  }
  if (text === "wikitext") return wikitext();
  if (text.endsWith(".jsonl")) return fromJsonl(text, { field: "text" });
  if (text.endsWith(".csv")) return fromCsv(text, { column: "text" });
  return fromFolder(text);
}

/**
 * Documents and activations of a configuration: harvested, or loaded where they were before.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cacheDir, openDevice, studyConfig, studyData } from "interlens";
 *
 * await openDevice();
 * const dir = await Deno.makeTempDir();
 * const text = `${dir}/mine.jsonl`; // at least a document for each split
 * const documents = Array.from({ length: 10 }, (_, i) => ({ text: `Letter ${i} came late.` }));
 * await Deno.writeTextFile(text, documents.map((d) => JSON.stringify(d)).join("\n"));
 * const model = cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf");
 * Deno.env.set("INTERLENS_CACHE", dir);
 * const { store } = await studyData(studyConfig({
 *   ...{ model, text },
 *   harvest: { hook: "blocks.0.hook_resid_post", tokens: { train: 20, validation: 2, test: 2 } },
 * }));
 * assertEquals(store.dModel, 576);
 * Deno.env.delete("INTERLENS_CACHE");
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @throws As `loadModel`, `studyDocuments` and `harvest`.
 */
export async function studyData(
  config: StudyConfig,
  { signal }: { signal?: AbortSignal } = {},
): Promise<StudyData> {
  using model = await openSubject(config, { signal });
  const documents = await studyDocuments(config, model.tokenizer, { signal });
  const store = await harvest(model, documents, { ...config.harvest, signal });
  return { documents, store };
}
