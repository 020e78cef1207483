/**
 * Harvest: run a model over documents and keep the activations of every token on disk.
 *
 * @module
 */
import { artefact, artefactDir } from "../files/mod.ts";
import { whileRunning } from "../training/mod.ts";
import type { Splits } from "../corpus/mod.ts";
import { HarvestRun, hookDir } from "./harvest_run.ts";
import {
  checkHarvest,
  harvestConfig,
  type HarvestHooksOptions,
  type HarvestOptions,
  isStreamed,
  withDefaults,
  workOptions,
} from "./harvest_settings.ts";
import type { ActivationSource } from "./source.ts";
import { ActivationStore } from "./store.ts";
import { inUnfinished, linkAll } from "./unfinished.ts";
import { planBatches, plannedWork, type StreamedDocuments, streamedWork } from "./work.ts";

/**
 * Activations of a model on documents: loaded if they were harvested before, otherwise harvested
 * with a progress line.
 *
 * Sequences are drawn over all documents in turn, so that a small number of tokens covers as many
 * documents as it can. BOS is left out by token id and padding by length, other sinks by norm: a split
 * has fewer tokens than asked for by as many as that. Activations stream to files; a file's worth of
 * each split is in memory, beside some bytes for every token's id.
 *
 * Documents that need not fit into memory come as {@linkcode StreamedDocuments}. Their sequences are
 * taken in the order of the source; training shuffles the whole store anyway.
 *
 * A harvest that was stopped or killed goes on where it was, from a folder `unfinished` beside the
 * stores, and ends with the same bytes.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, harvest, openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * const model = randomModel({ nLayers: 1 }, 0);
 * const dir = await Deno.makeTempDir();
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const store = await harvest(model, { train, validation, test }, {
 *   hook: "blocks.0.hook_resid_post",
 *   contextLength: 8,
 *   tokens: { train: 20, validation: 5, test: "all" },
 *   dir,
 * });
 * assertEquals(store.split("train").tokens, 20);
 * const x = store.split("train").rows(0, 3); // [3, d_model], normalised
 * assertEquals(x.shape, [3, model.cfg.dModel]);
 * x.dispose();
 * model.dispose();
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param model The model, or anything that runs like one.
 * @param documents Documents by split, of which none may be in two, or a source of them.
 * @param options What to harvest, and how.
 * @throws {RangeError} If an option cannot be used, the hook point does not exist or has no vector
 * a token, or the documents have fewer tokens than asked for.
 * @throws {Error} If an activation is NaN or infinite, or too large for float16, naming document and
 * position; if the disk is full. Other stores stay as they are.
 */
export async function harvest(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  options: HarvestOptions,
): Promise<ActivationStore> {
  const { hook, ...rest } = options;
  return (await harvestHooks(model, documents, { ...rest, hooks: [hook] }))[hook];
}

/**
 * Activations at several hook points from one run of the model: a store for each, with the same
 * tokens in the same order, for a transcoder or for several layers.
 *
 * A token whose norm is that of a sink at one of them is left out at all of them.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromTexts, harvestHooks, openDevice, randomModel } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0);
 * const dir = await Deno.makeTempDir();
 * const [train, validation, test] = ["train", "validation", "test"].map((name) =>
 *   fromTexts(["The kettle sang.", "Nobody answered"], { name })
 * );
 * const [input, output] = ["blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"];
 * const stores = await harvestHooks(model, { train, validation, test }, {
 *   hooks: [input, output],
 *   tokens: { train: "all", validation: "all", test: "all" },
 *   dir,
 * });
 * assertEquals(stores[input].split("test").tokenIds, stores[output].split("test").tokenIds);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param model The model, or anything that runs like one.
 * @param documents Documents by split, of which none may be in two, or a source of them.
 * @param options What to harvest, and how.
 * @returns Stores by hook point.
 * @throws As {@linkcode harvest}.
 */
export async function harvestHooks(
  model: ActivationSource,
  documents: Splits | StreamedDocuments,
  options: HarvestHooksOptions,
): Promise<Record<string, ActivationStore>> {
  const settings = withDefaults(options);
  checkHarvest(model, documents, settings);
  const { hooks } = settings;
  const config = await harvestConfig(model, documents, settings);
  const key = { kind: "activations", config, dir: options.dir };
  const open = (dir: string) =>
    Object.fromEntries(
      hooks.map((hook) => [hook, ActivationStore.open(hookDir(dir, hook, hooks))]),
    );
  const make = async (folder: string, dir: string) => {
    const plan = workOptions(model, settings);
    const work = isStreamed(documents)
      ? streamedWork(documents, model.tokenizer, plan)
      : plannedWork(
        { batches: planBatches(documents, model.tokenizer, plan) },
        documents,
        plan.masked,
      );
    await Deno.mkdir(folder, { recursive: true });
    const label = `Harvesting ${hooks.join(", ")}`;
    await new HarvestRun(folder, config, model, work, { ...settings, label }).run();
    await linkAll(folder, dir);
  };
  const name = `activations-${artefactDir(key).slice(-16)}`;
  return await whileRunning(
    options.signal,
    () =>
      inUnfinished(name, options, (folder) =>
        artefact(key, {
          load: open,
          make: (dir) => make(folder, dir),
        })),
  );
}
