/**
 * Where a harvest works until it is complete: one process at a time, and what a killed one left
 * stays for the next.
 *
 * @module
 */
import { join } from "node:path";
import { cacheDir } from "../files/mod.ts";
import { FolderLock } from "../files/folder_lock.ts";
import { BadActivation } from "./harvest_run.ts";

/**
 * Runs a harvest in a folder of its own, once nobody else works there, and removes that folder after it.
 * If the harvest fails or is stopped, the folder stays for the next try, unless there is nothing to go on
 * from.
 *
 * @param name Name of the folder, the same for the same harvest.
 * @param options.dir Folder of the cache. Default {@linkcode cacheDir}.
 * @throws {DOMException} If the signal comes while it waits.
 */
export async function inUnfinished<T>(
  name: string,
  { dir = cacheDir(), signal }: { dir?: string; signal?: AbortSignal },
  harvest: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = join(dir, "unfinished", name);
  using _lock = await FolderLock.acquire(folder, signal);
  let keep = false;
  try {
    return await harvest(folder);
  } catch (error) {
    const recorded = await Deno.stat(join(folder, "harvest.json")).then(() => true, () => false);
    keep = recorded && !(error instanceof BadActivation);
    throw error;
  } finally {
    if (!keep) await Deno.remove(folder, { recursive: true }).catch(() => {});
  }
}

/** Gives the files a second name in another folder, so that a kill between two of them loses none. */
export async function linkAll(from: string, to: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (isDirectory) {
      await Deno.mkdir(target, { recursive: true });
      await linkAll(source, target);
    } else await Deno.link(source, target).catch(() => Deno.rename(source, target));
  }
}
