/**
 * Files of a repository on this machine's disk, downloaded when they are not there yet.
 *
 * @module
 */
import { join } from "node:path";
import { notice, progress } from "../display/mod.ts";
import { requireSpace } from "../files/mod.ts";
import {
  cachedEntries,
  cachedFile,
  type HubEntry,
  knownCommit,
  linkInto,
  rememberCommit,
  snapshotFolder,
} from "./cache.ts";
import { download } from "./download.ts";
import { type RemoteFile, remoteFile, remoteFiles } from "./listing.ts";
import { checkPath, type HubRepo, isCommit, type Place, placeOf } from "./repo.ts";
import { HubError, type HubOptions } from "./request.ts";
import { hubSettings } from "./settings.ts";

/** Below this many bytes a download is over before a progress line could be read. */
const SHOWN_BYTES = 10e6;

/** Attempts to reach the hub where the cache can stand in. */
const CACHED_ATTEMPTS = 2;

/**
 * Path of one file of a repository on this machine.
 *
 * The file is looked for in the cache that Hugging Face's tools share and downloaded if it is not
 * there: resumed where an earlier call stopped, its checksum compared. The hub is asked which
 * version is current, unless the revision is a commit; if it cannot be asked or refuses, the version
 * in the cache is used, with a notice. Environment: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`,
 * `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` (seconds of silence, default 30).
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { hubFile } from "interlens";
 *
 * const repo = { id: "openlm-research/open_llama_3b" };
 * const readConfig = async () => JSON.parse(await Deno.readTextFile(await hubFile(repo, "config.json")));
 * await assertRejects(() => hubFile(repo, "../config.json"), RangeError, '"../config.json"');
 * ```
 *
 * @param repo The repository.
 * @param path Path of the file in it.
 * @param options Signal, and how long to wait before another attempt.
 * @throws {RangeError} If the name of the repository or the path could not be one.
 * @throws {Error} If the hub refuses (saying what may help), has no such repository, revision or
 * file, cannot be reached and the cache has no copy, or sends something that is not the file.
 */
export async function hubFile(
  repo: HubRepo,
  path: string,
  options: HubOptions = {},
): Promise<string> {
  const place = placeOf(repo, await hubSettings());
  checkPath(path, `file of "${place.id}"`);
  const known = await knownCommit(place);
  const cached = known && await cachedFile(place, known, path);
  if (cached && isCommit(place.revision)) return cached;
  const found = await askHub(place, {
    what: `"${path}"`,
    cached,
    ask: (attempts) => remoteFile(place, path, { ...options, attempts }),
  });
  if (found === undefined) return cached!;
  await obtain(place, { ...options, commit: found.commit, files: [found.file] });
  return join(snapshotFolder(place, found.commit), path);
}

/**
 * Files of a repository with their sizes, by path. Offline, those that the cache has.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { hubFiles } from "interlens";
 *
 * const wikitext = { id: "Salesforce/wikitext", kind: "dataset" } as const;
 * const bytes = async () => (await hubFiles(wikitext)).reduce((sum, { size }) => sum + size, 0);
 * await assertRejects(() => hubFiles({ ...wikitext, id: "../wikitext" }), RangeError, "owner/name");
 * ```
 *
 * @param repo The repository.
 * @param options As of {@linkcode hubFile}.
 * @throws {RangeError} If the name could not be one, or the hub lists a path that could leave a folder.
 * @throws {Error} As {@linkcode hubFile}.
 */
export async function hubFiles(repo: HubRepo, options: HubOptions = {}): Promise<HubEntry[]> {
  const { files } = await list(placeOf(repo, await hubSettings()), options);
  return files.map(({ path, size, sha256 }) => ({ path, size, ...(sha256 && { sha256 }) }));
}

/**
 * Folder with those files of a repository that are wanted; what is missing is downloaded, one file
 * after another, with one progress line over all bytes. Offline, the folder has those of them that
 * were downloaded before.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { hubSnapshot } from "interlens";
 *
 * const repo = { id: "openlm-research/open_llama_3b" };
 * const folder = () => hubSnapshot(repo, (path) => /\.(json|model|bin)$/.test(path));
 * await assertRejects(() => hubSnapshot({ id: "open llama" }, () => true), RangeError, "owner/name");
 * ```
 *
 * @param repo The repository.
 * @param wanted Whether a file, by its path in the repository, is wanted.
 * @param options As of {@linkcode hubFile}.
 * @throws {Error} As {@linkcode hubFile}; also if no file is wanted, or the disk has too little space.
 */
export async function hubSnapshot(
  repo: HubRepo,
  wanted: (path: string) => boolean,
  options: HubOptions = {},
): Promise<string> {
  const place = placeOf(repo, await hubSettings());
  const { commit, files, remote } = await list(place, options);
  const chosen = files.filter(({ path }) => wanted(path));
  if (chosen.length === 0) {
    const names = files.slice(0, 10).map(({ path }) => `"${path}"`).join(", ");
    throw new HubError(
      `None of the files that are needed is in ${remote ? "" : "the cached copy of "}the ` +
        `${place.kind} "${place.id}": it has ${names || "none"}${files.length > 10 ? ", …" : ""}`,
      true,
    );
  }
  if (remote) await obtain(place, { ...options, commit, files: chosen as RemoteFile[] });
  return snapshotFolder(place, commit);
}

/** The files of the revision: the hub's, or the cache's if the hub cannot be asked. */
async function list(place: Place, options: HubOptions): Promise<{
  commit: string;
  files: (HubEntry | RemoteFile)[];
  remote: boolean;
}> {
  const known = await knownCommit(place);
  const cached = known ? await cachedEntries(place, known) : [];
  const found = await askHub(place, {
    what: "the list of its files",
    cached: cached.length > 0,
    ask: (attempts) => remoteFiles(place, { ...options, attempts }),
  });
  return found ? { ...found, remote: true } : { commit: known!, files: cached, remote: false };
}

/** What the hub says; undefined if it cannot say it and the cache has something. */
async function askHub<T>(
  { id, kind, revision, settings }: Place,
  { what, cached, ask }: {
    what: string;
    cached: unknown;
    ask: (attempts?: number) => Promise<T>;
  },
): Promise<T | undefined> {
  if (settings.offline) {
    if (cached) return undefined;
    throw new HubError(
      `The cache has not ${what} of the ${kind} "${id}" at revision "${revision}", and HF_HUB_OFFLINE ` +
        `is set: unset it to download, or set HF_HOME to the folder that has it ("${settings.cache}" ` +
        `was looked in)`,
    );
  }
  try {
    return await ask(cached ? CACHED_ATTEMPTS : undefined);
  } catch (error) {
    if (!cached || !(error instanceof HubError) || error.absent) throw error;
    notice(`${error.message}. The copy of "${id}" in the cache is used`);
  }
}

/** Downloads what is missing of some files, and puts all of them into the snapshot of a commit. */
async function obtain(
  place: Place,
  { commit, files, ...options }: HubOptions & { commit: string; files: RemoteFile[] },
): Promise<void> {
  const missing: RemoteFile[] = [];
  for (const file of files) if (!await cachedFile(place, commit, file.path)) missing.push(file);
  if (missing.length > 0) {
    const size = ({ checksum }: RemoteFile, end = "") =>
      Deno.stat(join(place.folder, "blobs", checksum + end)).then(({ size }) => size, () => 0);
    const sizes = await Promise.all(missing.map(async (file) =>
      // An empty file has nothing to wait for.
      await size(file) > 0 ? 0 : file.size - Math.min(file.size, await size(file, ".incomplete"))
    ));
    const left = sizes.reduce((sum, bytes) => sum + bytes, 0);
    await Deno.mkdir(place.folder, { recursive: true });
    await requireSpace(place.folder, left, `Downloading "${place.id}"`);
    await downloadAll(place, missing, { ...options, commit, shown: left >= SHOWN_BYTES });
  }
  // Not before: a reference names a snapshot that has something in it. A cache that is only read
  // has what it needs.
  await rememberCommit(place, commit).catch((error) => {
    if (missing.length > 0) throw error;
  });
}

async function downloadAll(
  place: Place,
  files: RemoteFile[],
  { commit, shown, ...options }: HubOptions & { commit: string; shown: boolean },
): Promise<void> {
  const megabytes = (bytes: number) => Math.floor(bytes / 1e6);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const line = shown
    ? progress(`Downloading ${place.id}`, { total: Math.max(1, megabytes(total)), unit: "MB" })
    : undefined;
  let before = 0;
  try {
    for (const file of files) {
      const { blob, fresh } = await download(place, file, {
        ...options,
        commit,
        onBytes: (bytes) => line?.update(megabytes(before + bytes)),
      });
      await linkInto(place, { commit, path: file.path, blob, fresh });
      line?.update(megabytes(before += file.size));
    }
  } catch (error) {
    line?.stop(options.signal?.aborted ? "stopped" : "failed");
    throw error;
  }
  line?.finish();
}
