/**
 * The cache that Hugging Face's tools share, in their layout: `blobs/<checksum>` holds content,
 * `snapshots/<commit>/<path>` links to it, `refs/<revision>` names a commit. What Python fetched is
 * used here, and the other way round.
 *
 * @module
 */
import { basename, dirname, join, relative } from "node:path";
import { writeFileAtomic } from "../files/mod.ts";
import { checkPath, isCommit, type Place } from "./repo.ts";

/** A file of a repository. */
export interface HubEntry {
  /** Path in the repository, parts separated by "/". */
  readonly path: string;
  /** Bytes of its content. */
  readonly size: number;
  /** SHA-256 of its content in hexadecimal, where the hub keeps it in LFS. */
  readonly sha256?: string;
}

/** Commit that the revision had when it was last asked for; undefined if it never was. */
export async function knownCommit({ folder, revision }: Place): Promise<string | undefined> {
  if (isCommit(revision)) return revision;
  const commit = await Deno.readTextFile(join(folder, "refs", revision)).catch(() => "");
  return isCommit(commit.trim()) ? commit.trim() : undefined;
}

/** Remembers the commit of a revision. */
export async function rememberCommit(place: Place, commit: string): Promise<void> {
  if (await knownCommit(place) === commit) return;
  await writeFileAtomic(join(place.folder, "refs", place.revision), commit);
}

/** Folder with the files of a commit. */
export function snapshotFolder({ folder }: Place, commit: string): string {
  return join(folder, "snapshots", commit);
}

/** Files of a commit that the cache has, by path. */
export async function cachedEntries(place: Place, commit: string): Promise<HubEntry[]> {
  const entries: HubEntry[] = [];
  const root = snapshotFolder(place, commit);
  async function walk(below: string): Promise<void> {
    for await (const { name, isDirectory } of Deno.readDir(join(root, below))) {
      const path = below === "" ? name : `${below}/${name}`;
      if (isDirectory) {
        await walk(path);
        continue;
      }
      const info = await Deno.stat(join(root, path)).catch(() => undefined);
      if (!info?.isFile) continue;
      const blob = basename(await Deno.readLink(join(root, path)).catch(() => ""));
      const sha256 = /^[0-9a-f]{64}$/.test(blob) ? { sha256: blob } : {};
      entries.push({ path, size: info.size, ...sha256 });
    }
  }
  await walk("").catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  return entries.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Path of a file in the cache; undefined if it is not there, or only a link to nothing. */
export async function cachedFile(
  place: Place,
  commit: string,
  path: string,
): Promise<string | undefined> {
  const file = join(snapshotFolder(place, commit), path);
  return await Deno.stat(file).then(({ isFile }) => isFile, () => false) ? file : undefined;
}

/**
 * Puts content under its path in a snapshot, as a relative link; where the system makes no links,
 * as a file, moved there if nothing else can use the content yet.
 */
export async function linkInto(
  place: Place,
  { commit, path, blob, fresh }: { commit: string; path: string; blob: string; fresh: boolean },
): Promise<void> {
  checkPath(path, "file of a repository");
  const file = join(snapshotFolder(place, commit), path);
  const folder = dirname(file);
  await Deno.mkdir(folder, { recursive: true });
  await Deno.remove(file).catch(() => {});
  try {
    await Deno.symlink(relative(folder, blob), file);
  } catch (error) {
    // Another process may have been faster.
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (fresh) await Deno.rename(blob, file);
    else await writeFileAtomic(file, (await Deno.open(blob)).readable);
  }
}
