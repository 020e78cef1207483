/**
 * What the hub says about a repository: its commit, its files, and one of its files.
 *
 * @module
 */
import type { HubEntry } from "./cache.ts";
import { apiUrl, checkPath, fileUrl, isCommit, type Place } from "./repo.ts";
import { Answer, HubError, type HubOptions, persist } from "./request.ts";

/** A file, and how its content is known. */
export interface RemoteFile extends HubEntry {
  /** Name of the content: SHA-256 of a file in LFS, else the SHA-1 that git gives it. */
  readonly checksum: string;
}

/** A file at a commit, asked for by HEAD. */
export async function remoteFile(
  place: Place,
  path: string,
  options: HubOptions & { attempts?: number },
): Promise<{ commit: string; file: RemoteFile }> {
  return await persist(async () => {
    await using answer = await Answer.to(fileUrl(place, place.revision, path), {
      place,
      what: `file "${path}"`,
      method: "HEAD",
      signal: options.signal,
    });
    const { headers } = answer;
    const size = headers.get("x-linked-size") ??
      (answer.status === 200 ? headers.get("content-length") : null);
    const etag = headers.get("x-linked-etag") ?? headers.get("etag");
    const file = {
      path,
      size: size === null ? undefined : Number(size),
      checksum: etag?.replace(/^W\//, "").replaceAll('"', ""),
    };
    return { commit: commitOf(place, headers.get("x-repo-commit")), file: checked(place, file) };
  }, options);
}

/** The commit of the revision and all its files. */
export async function remoteFiles(
  place: Place,
  options: HubOptions & { attempts?: number },
): Promise<{ commit: string; files: RemoteFile[] }> {
  const ask = (url: string) =>
    persist(async () => {
      const what = `revision "${place.revision}"`;
      await using answer = await Answer.to(url, { place, what, signal: options.signal });
      return { body: await answer.json(), link: answer.headers.get("link") ?? "" };
    }, options);

  let commit = place.revision;
  if (!isCommit(commit)) {
    const { body } = await ask(apiUrl(place, "revision", commit));
    commit = commitOf(place, (body as { sha?: unknown } | null)?.sha);
  }
  const tree = apiUrl(place, "tree", commit);
  const files = new Map<string, RemoteFile>();
  for (let query: string | undefined = "?recursive=true"; query !== undefined;) {
    const { body, link }: { body: unknown; link: string } = await ask(tree + query);
    if (!Array.isArray(body)) throw notAHub(place, "lists files in no list");
    for (const entry of body) {
      if (entry?.type !== "file") continue;
      const { path, size, oid, lfs } = entry;
      const file = checked(place, { path, size: lfs?.size ?? size, checksum: lfs?.oid ?? oid });
      // Also ends a listing that goes round in circles.
      if (files.has(file.path)) throw notAHub(place, `lists the file "${file.path}" twice`);
      files.set(file.path, file);
    }
    // Only the query: a mirror may hand on a link to the hub that it mirrors.
    const [, next] = /<([^>]*)>\s*;\s*rel="next"/.exec(link) ?? [];
    query = next === undefined ? undefined : new URL(next, tree).search;
    if (query !== undefined && body.length === 0) throw notAHub(place, "lists an empty page");
  }
  return { commit, files: [...files.values()].sort((a, b) => a.path < b.path ? -1 : 1) };
}

function commitOf(place: Place, commit: unknown): string {
  if (typeof commit === "string" && isCommit(commit)) return commit;
  throw notAHub(place, `names no commit for revision "${place.revision}"`);
}

function checked(
  place: Place,
  { path, size, checksum }: { path?: unknown; size?: unknown; checksum?: unknown },
): RemoteFile {
  if (typeof path !== "string") throw notAHub(place, "lists a file without a path");
  checkPath(path, `file of a repository ("${place.id}" lists it)`);
  if (!Number.isSafeInteger(size) || Number(size) < 0) {
    throw notAHub(place, `does not say how long "${path}" is`);
  }
  if (typeof checksum !== "string" || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(checksum)) {
    throw notAHub(place, `gives no SHA-1 or SHA-256 of "${path}"`);
  }
  const sha256 = checksum.length === 64 ? { sha256: checksum } : {};
  return { path, size: Number(size), checksum, ...sha256 };
}

function notAHub({ id, settings }: Place, does: string): HubError {
  return new HubError(
    `"${settings.endpoint}" ${does} (repository "${id}"): it does not answer as a hub does. Check ` +
      `HF_ENDPOINT and the proxy`,
  );
}
