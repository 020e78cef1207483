/**
 * Whole folders, such as artefacts, in a storage.
 *
 * @module
 */
import { basename, join } from "node:path";
import { partialFolder } from "../files/artefact.ts";
import { writeError } from "../files/atomic.ts";
import { checkKey, isTemporary } from "./keys.ts";
import type { Storage } from "./storage.ts";

/** Times that a folder is tried to be moved where others move theirs. */
const MOVES = 10;

/** Which file of a folder makes it complete. */
export interface FolderOptions {
  /** Name of the file that is written last and looked for first, such as `"artefact.json"`. */
  last: string;
  /** Stops it; what is there then is not complete. */
  signal?: AbortSignal;
}

/**
 * Puts a folder into a storage, file by file, `last` at the end: who finds that one finds all.
 *
 * A folder that is complete there already stays as it is: folders are named by what makes their
 * content, so it is the same.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openStorage, pullFolder, pushFolder } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/made`);
 * await Deno.writeTextFile(`${dir}/made/artefact.json`, "{}");
 * await Deno.writeTextFile(`${dir}/made/weights.bin`, "1234");
 *
 * const storage = openStorage(`${dir}/shared`);
 * await pushFolder(storage, `${dir}/made`, "sae/1f2e", { last: "artefact.json" });
 * assertEquals(await storage.stat("sae/1f2e/weights.bin"), { size: 4 });
 *
 * await pullFolder(storage, "sae/1f2e", `${dir}/pulled`, { last: "artefact.json" });
 * assertEquals(await Deno.readTextFile(`${dir}/pulled/weights.bin`), "1234");
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param dir Folder to read.
 * @param key Its name in the storage.
 * @throws {Deno.errors.NotFound} If `dir` has no file `last`.
 */
export async function pushFolder(
  storage: Storage,
  dir: string,
  key: string,
  { last, signal }: FolderOptions,
): Promise<void> {
  const names = await filesBelow(dir);
  if (!names.includes(last)) {
    throw new Deno.errors.NotFound(
      `Cannot put "${dir}" into "${storage.url}": it has no "${last}", so it is not complete`,
    );
  }
  for (const name of names) checkKey(`${key}/${name}`);
  if (await storage.stat(`${key}/${last}`)) return;
  for (const name of [...names.filter((name) => name !== last), last]) {
    await storage.upload(join(dir, name), `${key}/${name}`, { signal });
  }
}

/** Names of all files below a folder, sorted. */
async function filesBelow(dir: string, prefix = ""): Promise<string[]> {
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(dir, prefix))) {
    if (!isDirectory) names.push(prefix + name);
    else for (const below of await filesBelow(dir, `${prefix}${name}/`)) names.push(below);
  }
  return names.sort();
}

/**
 * Copies a folder out of a storage, if it is complete there. The local folder gets its name when it
 * is complete. One that is there with its `last` stays as it is; one without is replaced if it has no
 * files but those of the storage.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openStorage, pullFolder } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * const storage = openStorage(`${dir}/shared`);
 * await storage.write("sae/1f2e/weights.bin", "1234");
 * const pull = () => pullFolder(storage, "sae/1f2e", `${dir}/pulled`, { last: "artefact.json" });
 * assertEquals(await pull(), false);
 *
 * await storage.write("sae/1f2e/artefact.json", "{}");
 * assertEquals(await pull(), true);
 * assertEquals(await Deno.readTextFile(`${dir}/pulled/weights.bin`), "1234");
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param key Name of the folder in the storage.
 * @param dir Local folder to make.
 * @returns False if the storage has no complete one.
 * @throws {Error} If `dir` holds other files.
 */
export async function pullFolder(
  storage: Storage,
  key: string,
  dir: string,
  { last, signal }: FolderOptions,
): Promise<boolean> {
  checkKey(`${key}/${last}`);
  const isComplete = (dir: string) =>
    Deno.stat(join(dir, last)).then(({ isFile }) => isFile, () => false);
  if (await isComplete(dir)) return true;
  if (!await storage.stat(`${key}/${last}`)) return false;
  const names: string[] = [];
  for await (const { key: file } of storage.list(`${key}/`)) names.push(file.slice(key.length + 1));
  await checkReplaceable(dir, new Set(names));
  const partial = await partialFolder(dir);
  try {
    for (const name of names) {
      await storage.download(`${key}/${name}`, join(partial, name), { signal });
    }
    await moveInto(partial, dir, isComplete);
  } finally {
    await Deno.remove(partial, { recursive: true }).catch(() => {});
  }
  return true;
}

/** @throws {Error} If something is there that is not of the folder that comes. */
async function checkReplaceable(dir: string, names: ReadonlySet<string>): Promise<void> {
  let found: string[];
  try {
    found = await filesBelow(dir);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw writeError(dir, error);
  }
  const other = found.find((name) => !names.has(name) && !isTemporary(basename(name)));
  if (other === undefined) return;
  throw new Error(
    `Cannot write "${dir}": it holds other files, such as "${other}", and would be replaced. Give ` +
      `another folder, or delete them`,
  );
}

/** Gives a complete folder its name; another complete one, which somebody else made, stays. */
async function moveInto(
  partial: string,
  dir: string,
  isComplete: (dir: string) => Promise<boolean>,
): Promise<void> {
  const old = `${partial}.old.partial`;
  for (let attempt = 1;; attempt++) {
    try {
      return await Deno.rename(partial, dir);
    } catch (error) {
      if (await isComplete(dir)) return;
      if (attempt === MOVES) throw writeError(dir, error);
    }
    try {
      await Deno.rename(dir, old);
    } catch {
      // Somebody else moved it at the same time.
      continue;
    }
    if (await isComplete(old)) await Deno.rename(old, dir).catch(() => {});
    await Deno.remove(old, { recursive: true }).catch(() => {});
  }
}
