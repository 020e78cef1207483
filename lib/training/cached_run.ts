/**
 * A training run that is done once: its result is kept under the hash of what decides
 * it, and a run that was stopped goes on where it was.
 *
 * @module
 */
import { join } from "node:path";
import { artefact, artefactDir, cacheDir } from "../files/mod.ts";
import { removeCheckpoint } from "./checkpoint.ts";
import type { CheckpointOptions } from "./fit.ts";

/** What a run is, and where it is kept. */
export interface CachedRunKey {
  /** Kind of result, a folder name. */
  kind: string;
  /** Everything that decides the result, as plain data. */
  config: unknown;
  /**
   * True (default) keeps the result in the cache and the unfinished run in `checkpoints` beside it;
   * a text names another folder for both; false keeps nothing.
   */
  cache?: boolean | string;
}

/** How to train, keep and load. */
export interface CachedRunMaker<T extends { stopped: boolean }> {
  /** Trains, or goes on from the checkpoint. */
  train(checkpoint?: CheckpointOptions): Promise<T>;
  /** Writes a finished result into an empty folder. */
  save(result: T, dir: string): Promise<void>;
  /** Reads it. */
  load(dir: string): Promise<T>;
  /** Frees what a result holds, once it is saved. */
  dispose(result: T): void;
}

/** Carries what a stopped run has past the artefact, which must not keep it as complete. */
class Stopped<T> extends Error {
  constructor(readonly result: T) {
    super("The run was stopped");
  }
}

/**
 * Loads a trained result, or trains it.
 *
 * A run that is stopped returns what it has, keeps its checkpoint, and goes on from there the next
 * time it is called with the same configuration.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { cachedRun } from "interlens";
 *
 * const cache = await Deno.makeTempDir();
 * let trained = 0;
 * const run = () =>
 *   cachedRun({ kind: "answer", config: { seed: 0 }, cache }, {
 *     train: () => Promise.resolve({ answer: 42, stopped: ++trained < 0 }),
 *     save: ({ answer }, dir) => Deno.writeTextFile(`${dir}/answer.txt`, `${answer}`),
 *     load: async (dir) => ({ answer: +await Deno.readTextFile(`${dir}/answer.txt`), stopped: false }),
 *     dispose: () => {},
 *   });
 * assertEquals([(await run()).answer, (await run()).answer, trained], [42, 42, 1]);
 * await Deno.remove(cache, { recursive: true });
 * ```
 *
 * @param key What it is.
 * @param maker How it is made.
 * @returns The result; from its file if it is complete and cached, so that the first call and a
 * later one give the same bytes.
 */
export async function cachedRun<T extends { stopped: boolean }>(
  { kind, config, cache = true }: CachedRunKey,
  maker: CachedRunMaker<T>,
): Promise<T> {
  if (cache === false) return await maker.train();
  const dir = cache === true ? cacheDir() : cache;
  const key = { kind, config, dir };
  const hash = artefactDir(key).split(/[\\/]/).at(-1)!;
  const checkpoint = { dir: join(dir, "checkpoints", `${kind}-${hash}`), config };
  try {
    const loaded = await artefact<T>(key, {
      load: (dir) => maker.load(dir),
      make: async (dir) => {
        const result = await maker.train(checkpoint);
        if (result.stopped) throw new Stopped(result);
        await maker.save(result, dir);
        maker.dispose(result);
      },
    });
    await removeCheckpoint(checkpoint.dir);
    return loaded;
  } catch (error) {
    if (error instanceof Stopped) return error.result as T;
    throw error;
  }
}
