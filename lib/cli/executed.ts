/**
 * Which notebooks need not run again: what an execution depended on, kept beside what it gave.
 *
 * @module
 */
import { basename, join, relative } from "node:path";
import {
  cacheDir,
  canonicalJson,
  configHash,
  ROOT,
  sha256,
  VERSION,
  writeFileAtomic,
} from "../files/mod.ts";
import { type Notebook, readNotebook } from "../site/mod.ts";
import type { Profile } from "../study/mod.ts";

/** What decides the outputs of a notebook; each part is a text or the hash of what it names. */
export interface Dependencies {
  /** Sources of the cells. */
  readonly source: string;
  readonly profile: Profile;
  /** Version of the library, and the content of the files that notebooks can reach. */
  readonly library: string;
  readonly deno: string;
  /** Stimuli and reported numbers in `data/`, and what variables of the environment name. */
  readonly inputs: string;
  /** Headlines and verdicts of other notebooks; empty if it reads none. */
  readonly findings: string;
}

interface Execution {
  readonly name: string;
  readonly dependencies: Dependencies;
  /** Hash of what was written, without pictures, which are drawn later. */
  readonly written: string;
  readonly seconds: number;
}

/** Folders of `lib` whose code no notebook's numbers depend on. */
const WITHOUT_EFFECT = ["cli", "site"];

/**
 * What the outputs of a notebook depend on just now.
 *
 * @param path The notebook.
 * @param profile The profile that it would run in.
 */
export async function dependenciesOf(path: string, profile: Profile): Promise<Dependencies> {
  const sources = (await readNotebook(path)).cells
    .map(({ cell_type, source }) => [cell_type, [source].flat().join("")]);
  const code = sources.map(([, source]) => source).join("\n");
  const reads = /\bread(?:Verdicts|Headlines)\b/.test(code);
  const others = (file: string) => basename(file) !== `${basename(path, ".ipynb")}.json`;
  return {
    source: configHash(sources),
    profile,
    library: `${VERSION} ${await libraryHash()}`,
    deno: Deno.version.deno,
    inputs: configHash([await dataHash(), await environment()]),
    findings: reads
      ? configHash([
        await contents(cacheDir("verdicts", profile), others),
        await contents(cacheDir("headlines", profile), others),
      ])
      : "",
  };
}

/**
 * Whether an executed notebook is what running it again would give.
 *
 * @param output The executed notebook.
 * @param dependencies What it would depend on now.
 * @returns Undefined if it is; else why not, as part of a sentence.
 */
export async function staleness(
  output: string,
  dependencies: Dependencies,
): Promise<string | undefined> {
  const record = await readExecution(output);
  if (!record) return NEVER;
  for (const [name, reason] of Object.entries(REASONS) as [keyof Dependencies, string][]) {
    if (record.dependencies[name] !== dependencies[name]) return reason;
  }
  const written = await readNotebook(output).then(hashOf, () => undefined);
  if (written !== record.written) return "what it gave is not there any more";
}

/** Why a notebook runs for the first time. */
export const NEVER = "it was not executed before";

const REASONS: Record<keyof Dependencies, string> = {
  source: "its cells have changed",
  profile: "it was executed in another profile",
  library: "the library has changed",
  deno: "Deno has changed",
  inputs: "its data or the environment have changed",
  findings: "other notebooks have found something else",
};

/**
 * Records an execution.
 *
 * @param output The executed notebook.
 * @param dependencies What it depended on when it began.
 * @param seconds How long it took.
 */
export async function recordExecution(
  output: string,
  dependencies: Dependencies,
  seconds: number,
): Promise<void> {
  const written = hashOf(await readNotebook(output));
  const record: Execution = { name: basename(output, ".ipynb"), dependencies, written, seconds };
  await writeFileAtomic(placeOf(output), JSON.stringify(record, null, 2) + "\n");
}

/**
 * How long a notebook took when it last ran in a profile, in seconds; undefined if it never did.
 *
 * @param output Where it is written.
 * @param profile The profile.
 */
export async function lastSeconds(output: string, profile: Profile): Promise<number | undefined> {
  const record = await readExecution(output);
  return record?.dependencies.profile === profile ? record.seconds : undefined;
}

function placeOf(output: string): string {
  return cacheDir("executed", `${basename(output, ".ipynb")}-${configHash(output)}.json`);
}

async function readExecution(output: string): Promise<Execution | undefined> {
  try {
    const record = JSON.parse(await Deno.readTextFile(placeOf(output)));
    return typeof record?.dependencies === "object" ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Hash of cells and outputs, without the pictures of figures. */
function hashOf({ cells }: Notebook): string {
  const copy = structuredClone(cells);
  for (const { outputs = [] } of copy) {
    for (const { data, metadata } of outputs) {
      delete data?.["image/png"];
      delete metadata?.["image/png"];
    }
  }
  return configHash(JSON.parse(canonicalJson(copy)));
}

async function libraryHash(): Promise<string> {
  const lib = join(ROOT, "lib");
  return configHash(
    await contents(
      lib,
      (file) => !WITHOUT_EFFECT.some((folder) => relative(lib, file).startsWith(`${folder}/`)),
    ),
  );
}

async function dataHash(): Promise<string> {
  const data = join(ROOT, "data");
  return configHash(
    await contents(data, (file) => !relative(data, file).startsWith("cache/")),
  );
}

/** Path and hash of every file below a folder that passes, in order; none if there is no folder. */
async function contents(
  folder: string,
  passes: (file: string) => boolean,
): Promise<[string, string][]> {
  const found: [string, string][] = [];
  let entries: Deno.DirEntry[];
  try {
    entries = await Array.fromAsync(Deno.readDir(folder));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = join(folder, name);
    if (isDirectory) {
      if (passes(`${path}/`)) found.push(...await contents(path, passes));
    } else if (passes(path)) {
      found.push([relative(ROOT, path), await sha256(await Deno.readFile(path))]);
    }
  }
  return found;
}

/** Variables that change what a notebook does; those that name files with their sizes and times. */
async function environment(): Promise<unknown> {
  const without = new Set(["INTERLENS_PROFILE", "INTERLENS_CHROMIUM", "INTERLENS_NOTEBOOK"]);
  const variables = Object.entries(Deno.env.toObject())
    .filter(([name]) => name.startsWith("INTERLENS_") && !without.has(name))
    .sort(([a], [b]) => a < b ? -1 : 1);
  return await Promise.all(variables.map(async ([name, value]) => [
    ...[name, value],
    name === "INTERLENS_CACHE" ? [] : await stamps(value),
  ]));
}

async function stamps(path: string): Promise<[string, number, number][]> {
  const stat = path === "" ? undefined : await Deno.stat(path).catch(() => undefined);
  if (!stat) return [];
  const files = stat.isDirectory
    ? (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => join(path, name)).sort()
    : [path];
  return await Promise.all(files.map(async (file) => {
    const { size, mtime } = await Deno.stat(file);
    return [file, size, mtime?.getTime() ?? 0] as [string, number, number];
  }));
}
