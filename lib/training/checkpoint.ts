/**
 * Checkpoints: everything that a run needs to go on as if it had never stopped.
 *
 * One safetensors file, written atomically: parameters, both moments of Adam, any
 * state of the trainer; in its metadata the step, the history and the configuration.
 * Batches are a pure function of seed and step, so there is no data position to store.
 *
 * @module
 */
import { join } from "node:path";
import { canonicalJson, readSafetensors, writeSafetensors } from "../files/mod.ts";
import type { StoredTensor } from "../tensor/mod.ts";

/** One line of a run's history: the step, from 1, and the numbers known after it. */
export type HistoryRow = { step: number } & Record<string, number>;

/** What a checkpoint holds. */
export interface Checkpoint {
  /** Updates that were done. */
  step: number;
  /** Rows so far. */
  history: HistoryRow[];
  /** Parameters and moments, as `Adam.state` gives them. */
  adam: Record<string, StoredTensor>;
  /** State of the trainer beside Adam's. */
  state: Record<string, StoredTensor>;
  /** Parameters of the best evaluation, if they are kept. */
  best?: Record<string, StoredTensor>;
}

const FILE = "checkpoint.safetensors";
const STATE = "state/";
const BEST = "best/";

/**
 * Writes a checkpoint; the one before stays until the new one is complete.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadCheckpoint, saveCheckpoint } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * const w = { dtype: "F32" as const, shape: [1], data: Float32Array.of(3) };
 * const adam = { w, "m/w": w, "v/w": w };
 * await saveCheckpoint(dir, { seed: 0 }, { step: 7, history: [], adam, state: {} });
 * assertEquals((await loadCheckpoint(dir, { seed: 0 }))?.step, 7);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param dir Folder, made if missing.
 * @param config The configuration of the run, plain data.
 * @throws {RangeError} If a parameter is not finite: the last good checkpoint is kept.
 */
export async function saveCheckpoint(
  dir: string,
  config: unknown,
  checkpoint: Checkpoint,
): Promise<void> {
  for (const [name, { data }] of Object.entries(checkpoint.adam)) {
    if (!allFinite(data)) {
      throw new RangeError(
        `Cannot keep a checkpoint of step ${checkpoint.step}: "${name}" has values that are not ` +
          "finite; the checkpoint before is kept",
      );
    }
  }
  await Deno.mkdir(dir, { recursive: true });
  const tensors = {
    ...checkpoint.adam,
    ...prefixed(STATE, checkpoint.state),
    ...prefixed(BEST, checkpoint.best ?? {}),
  };
  await writeSafetensors(join(dir, FILE), tensors, {
    step: `${checkpoint.step}`,
    history: JSON.stringify(checkpoint.history),
    config: canonicalJson(config),
  });
}

/**
 * Reads the checkpoint of a folder.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { loadCheckpoint, saveCheckpoint } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * const w = { dtype: "F32" as const, shape: [1], data: Float32Array.of(3) };
 * const adam = { w, "m/w": w, "v/w": w };
 * await saveCheckpoint(dir, { seed: 0 }, { step: 7, history: [], adam, state: {} });
 * await assertRejects(() => loadCheckpoint(dir, { seed: 1 }), Error, "seed (0, wanted 1)");
 * await Deno.remove(dir, { recursive: true });
 * assertEquals(await loadCheckpoint(dir, { seed: 0 }), undefined);
 * ```
 *
 * @param dir Folder.
 * @param config The configuration that wants to go on from it.
 * @returns Undefined if there is none.
 * @throws {Error} If it was made by another configuration, naming the fields that differ.
 */
export async function loadCheckpoint(
  dir: string,
  config: unknown,
): Promise<Checkpoint | undefined> {
  const path = join(dir, FILE);
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const { tensors, metadata } = await readSafetensors(path);
  const wanted = JSON.parse(canonicalJson(config));
  const differing = differences(JSON.parse(metadata.config ?? "null"), wanted);
  if (differing.length > 0) {
    throw new Error(
      `Cannot go on from "${path}": its configuration differs in ${differing.join(", ")}; ` +
        "train into another folder, or delete this one to start again",
    );
  }
  const adam: Record<string, StoredTensor> = {};
  const state: Record<string, StoredTensor> = {};
  const best: Record<string, StoredTensor> = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    if (name.startsWith(STATE)) state[name.slice(STATE.length)] = tensor;
    else if (name.startsWith(BEST)) best[name.slice(BEST.length)] = tensor;
    else adam[name] = tensor;
  }
  return { step: Number(metadata.step), history: JSON.parse(metadata.history), adam, state, best };
}

/** Removes what processes that were killed while they wrote a checkpoint left behind. */
export async function removeHalfWritten(dir: string): Promise<void> {
  const names = await Array.fromAsync(Deno.readDir(dir), ({ name }) => name).catch(() => []);
  for (const name of names) {
    if (name.startsWith(`.${FILE}.`) && name.endsWith(".tmp")) {
      await Deno.remove(join(dir, name)).catch(() => {});
    }
  }
}

/**
 * Removes the checkpoint of a folder, if there is one.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { removeCheckpoint } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * await removeCheckpoint(dir);
 * await removeCheckpoint(dir); // nothing there is not an error
 * await assertRejects(() => Deno.stat(dir), Deno.errors.NotFound);
 * ```
 */
export async function removeCheckpoint(dir: string): Promise<void> {
  await Deno.remove(dir, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

function prefixed(
  prefix: string,
  tensors: Record<string, StoredTensor>,
): Record<string, StoredTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, t]) => [prefix + name, t]));
}

/** In one pass without branches: a checkpoint has hundreds of millions of numbers. */
function allFinite(data: ArrayLike<number>): boolean {
  let zero = 0; // NaN from the first number on that is NaN or infinite
  for (let i = 0; i < data.length; i++) zero += data[i] * 0;
  return zero === 0;
}

/** The paths at which two plain values differ, with both values. */
function differences(a: unknown, b: unknown, path = ""): string[] {
  const isObject = (x: unknown) => typeof x === "object" && x !== null;
  if (isObject(a) && isObject(b)) {
    const [left, right] = [a, b] as Record<string, unknown>[];
    return [...new Set([...Object.keys(left), ...Object.keys(right)])]
      .flatMap((key) => differences(left[key], right[key], path ? `${path}.${key}` : key));
  }
  return a === b ? [] : [`${path || "kind"} (${JSON.stringify(a)}, wanted ${JSON.stringify(b)})`];
}
