/**
 * Artefacts: results that take minutes or hours, kept in a folder named by the configuration that
 * made them.
 *
 * `data/cache/<kind>/<hash of the configuration>/` holds the files and an `artefact.json` that says
 * what made them. The folder gets its name only when it is complete; until then it is a
 * `….partial` folder that nothing reads. So a later notebook starts without recomputing, an edited
 * value recomputes what depends on it, and an interrupted run leaves nothing that is trusted.
 *
 * @module
 */
import { join, relative } from "node:path";
import { hostname } from "node:os";
import { kill, pid } from "node:process";
import { writeError, writeFileAtomic } from "./atomic.ts";
import { canonicalJson, configHash } from "./hash.ts";
import { cacheDir, ROOT } from "./paths.ts";
import { VERSION } from "./version.ts";

/** What an artefact is and what decides its content. */
export interface ArtefactKey {
  /** Kind, a folder name such as `"activations"`. */
  readonly kind: string;
  /** Everything that decides the content, as plain data; see {@linkcode configHash}. */
  readonly config: unknown;
  /** Folder that holds the kinds; default `data/cache`, see {@linkcode cacheDir}. */
  readonly dir?: string;
}

/** How to read an artefact, and how to make it. */
export interface ArtefactMaker<T> {
  /** Reads the artefact from its folder. */
  load(dir: string): Promise<T> | T;
  /** Writes the artefact's files into an empty folder. What it returns is ignored. */
  make(dir: string): Promise<unknown>;
}

/** Content of `artefact.json`. */
export interface ArtefactRecord {
  readonly kind: string;
  readonly config: unknown;
  /** {@linkcode configHash} of `config`. */
  readonly hash: string;
  /** Version of the library that made it. */
  readonly libraryVersion: string;
  /** When it was complete, ISO 8601. */
  readonly created: string;
}

/**
 * Loads an artefact, or makes it first, and prints one line that says which and why.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { artefact } from "interlens";
 *
 * const dir = await Deno.makeTempDir();
 * let made = 0;
 * const squares = (upTo: number) =>
 *   artefact<number[]>({ kind: "squares", config: { upTo }, dir }, {
 *     load: async (dir) => JSON.parse(await Deno.readTextFile(`${dir}/squares.json`)),
 *     make: async (dir) => {
 *       made++;
 *       const values = Array.from({ length: upTo }, (_, i) => i * i);
 *       await Deno.writeTextFile(`${dir}/squares.json`, JSON.stringify(values));
 *     },
 *   });
 *
 * assertEquals(await squares(3), [0, 1, 4]);
 * assertEquals(await squares(3), [0, 1, 4]);
 * assertEquals(made, 1);
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @param key What it is.
 * @param maker How to load and make it.
 * @throws Whatever `make` throws; nothing is left behind then, and earlier artefacts stay as they
 * are.
 * @throws {TypeError} If the configuration is not plain data.
 * @throws {Error} If a complete artefact cannot be read, naming its folder.
 */
export async function artefact<T>(key: ArtefactKey, maker: ArtefactMaker<T>): Promise<T> {
  const dir = artefactDir(key);
  const record = await readRecord(key, dir);
  if (record) {
    console.log(`${key.kind}: loaded, made ${record.created.slice(0, 10)} (${shown(dir)})`);
  } else {
    console.log(`${key.kind}: making it, ${await reasonToMake(key)} (${shown(dir)})`);
    await make(key, dir, maker);
  }
  try {
    return await maker.load(dir);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `Cannot load the ${key.kind} in "${dir}" (delete this folder to make it again): ${reason}`,
      { cause: error },
    );
  }
}

/** A folder as a published notebook may show it: from the repository on, where it lies in there. */
function shown(dir: string): string {
  const path = relative(ROOT, dir);
  return path.startsWith("..") ? dir : path;
}

/**
 * Folder in which an artefact lies, or would lie; nothing is created.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { artefactDir, configHash } from "interlens";
 *
 * const dir = artefactDir({ kind: "sae", config: { k: 32 }, dir: "/cache" });
 * assertEquals(dir, `/cache/sae/${configHash({ k: 32 })}`);
 * ```
 */
export function artefactDir({ kind, config, dir = cacheDir() }: ArtefactKey): string {
  if (!/^[\w-]+$/.test(kind)) {
    throw new RangeError(
      `Cannot keep an artefact of kind "${kind}": a kind is a folder name of letters, digits, ` +
        `"-" and "_"`,
    );
  }
  return join(dir, kind, configHash(config));
}

async function make<T>(key: ArtefactKey, dir: string, maker: ArtefactMaker<T>): Promise<void> {
  const partial = await partialFolder(dir);
  try {
    await Deno.mkdir(partial, { recursive: true }).catch((error) => {
      throw writeError(partial, error);
    });
    await maker.make(partial);
    const record: ArtefactRecord = {
      kind: key.kind,
      config: key.config,
      hash: configHash(key.config),
      libraryVersion: VERSION,
      created: new Date().toISOString(),
    };
    await writeFileAtomic(join(partial, "artefact.json"), JSON.stringify(record, null, 2) + "\n");
    await moveInto(partial, key, dir);
  } finally {
    await Deno.remove(partial, { recursive: true }).catch(() => {});
  }
}

/** Gives a complete folder its name, in one step that cannot replace another complete one. */
async function moveInto(partial: string, key: ArtefactKey, dir: string): Promise<void> {
  try {
    return await Deno.rename(partial, dir);
  } catch (error) {
    // Whoever finished the same artefact meanwhile made the same thing: theirs stays.
    if (await readRecord(key, dir)) return;
    if (!await exists(dir)) throw writeError(dir, error);
  }
  const incomplete = `${partial}.old.partial`;
  await Deno.rename(dir, incomplete);
  await Deno.rename(partial, dir);
  await Deno.remove(incomplete, { recursive: true });
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}

/** The record of a complete artefact; undefined where the folder must not be trusted. */
async function readRecord(key: ArtefactKey, dir: string): Promise<ArtefactRecord | undefined> {
  const record = await parseRecord(dir);
  return record?.kind === key.kind && record.hash === configHash(key.config) ? record : undefined;
}

async function parseRecord(dir: string): Promise<ArtefactRecord | undefined> {
  try {
    const record = JSON.parse(await Deno.readTextFile(join(dir, "artefact.json")));
    return typeof record?.created === "string" ? record : undefined;
  } catch {
    return undefined;
  }
}

async function reasonToMake(key: ArtefactKey): Promise<string> {
  const dir = artefactDir(key);
  if (await exists(dir)) return "what lies there is incomplete";
  const siblings: ArtefactRecord[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(join(dir, ".."))) {
      const record = isDirectory && /^[0-9a-f]{16}$/.test(name) &&
        await parseRecord(join(dir, "..", name));
      if (record) siblings.push(record);
    }
  } catch {
    return "the first of its kind";
  }
  if (siblings.length === 0) return "the first of its kind";
  const differences = siblings
    .map((record) => ({
      created: record.created,
      fields: differingFields(record.config, key.config),
    }))
    .sort((a, b) => a.fields.length - b.fields.length || (a.created < b.created ? 1 : -1));
  const { created, fields } = differences[0];
  const shown = fields.slice(0, 3).join(", ") + (fields.length > 3 ? ", …" : "");
  return `different from the nearest one (${created.slice(0, 10)}) in ${shown}`;
}

/** Fields in which two configurations differ, as `a.b: before → after`. */
function differingFields(before: unknown, after: unknown, path = ""): string[] {
  if (isObject(before) && isObject(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return keys.flatMap((key) =>
      differingFields(before[key], after[key], path === "" ? key : `${path}.${key}`)
    );
  }
  const [a, b] = [before, after].map((value) =>
    value === undefined ? "absent" : canonicalJson(value)
  );
  const short = (text: string) => text.length > 40 ? `${text.slice(0, 39)}…` : text;
  return a === b ? [] : [`${path || "the whole"}: ${short(a)} → ${short(b)}`];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Name of a folder in which `dir` is made until it is complete. Earlier ones whose process, on this
 * machine, ended without a chance to remove them are removed.
 */
export async function partialFolder(dir: string): Promise<string> {
  await removeAbandoned(dir);
  return `${dir}.${owner()}.${crypto.randomUUID().slice(0, 8)}.partial`;
}

/** This machine and process, as they stand in the name of a partial folder. */
function owner(): string {
  return `${hostname().replace(/[^\w-]/g, "_")}.${pid}`;
}

/** Removes partial folders of this artefact whose process, on this machine, ended without a chance to. */
async function removeAbandoned(dir: string): Promise<void> {
  const machine = owner().split(".")[0];
  const parent = join(dir, "..");
  const prefix = `${dir.slice(parent.length + 1)}.${machine}.`;
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(parent)) names.push(name);
  } catch {
    return;
  }
  for (const name of names) {
    if (!name.startsWith(prefix) || !name.endsWith(".partial")) continue;
    const process = Number(name.slice(prefix.length).split(".")[0]);
    if (!Number.isInteger(process) || isRunning(process)) continue;
    await Deno.remove(join(parent, name), { recursive: true }).catch(() => {});
  }
}

function isRunning(process: number): boolean {
  try {
    // Signal 0 asks whether the process exists and sends nothing.
    return kill(process, 0);
  } catch (error) {
    return (error as { code?: string }).code !== "ESRCH";
  }
}
