/**
 * Names of repositories and their files, checked before they become addresses and paths.
 *
 * @module
 */
import { join } from "node:path";
import type { HubSettings } from "./settings.ts";

/** A repository on the hub. */
export interface HubRepo {
  /** Name, `"owner/name"`; a few old ones have no owner. */
  readonly id: string;
  /** Default "model". */
  readonly kind?: "model" | "dataset";
  /** Branch, tag or commit; default "main". */
  readonly revision?: string;
}

/** A checked repository, and where it and its copy are. */
export interface Place extends Required<HubRepo> {
  readonly settings: HubSettings;
  /** Folder of the repository in the cache. */
  readonly folder: string;
  /** Folder of the locks that Hugging Face's tools take, too. */
  readonly locks: string;
}

/** True for the name of a commit: what it names never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** @throws {RangeError} If the id, kind or revision could not be one. */
export function placeOf(
  { id, kind = "model", revision = "main" }: HubRepo,
  settings: HubSettings,
): Place {
  const part = "[A-Za-z0-9_](?:[\\w.-]{0,94}[A-Za-z0-9_])?";
  if (!new RegExp(`^(?:${part}/)?${part}$`).test(id) || /--|\.\.|\.git$/.test(id)) {
    throw new RangeError(
      `"${id}" is no repository of a hub: expected "owner/name" of letters, digits, "-", "_" and "."`,
    );
  }
  if (kind !== "model" && kind !== "dataset") {
    throw new RangeError(
      `A repository of kind "${kind}" is unknown: expected "model" or "dataset"`,
    );
  }
  checkPath(revision, `revision of "${id}"`);
  const name = [`${kind}s`, ...id.split("/")].join("--");
  return {
    id,
    kind,
    revision,
    settings,
    folder: join(settings.cache, name),
    locks: join(settings.cache, ".locks", name),
  };
}

/**
 * Refuses a path that could leave the folder that it is put in, on this system or another.
 *
 * @throws {RangeError} Naming the path.
 */
export function checkPath(path: string, what: string): void {
  const refused = path.length > 1000 || path.split("/").some((part) =>
    // deno-lint-ignore no-control-regex
    part === "" || part === "." || part === ".." || /^[a-z]:|[\\\x00-\x1f\x7f]/i.test(part)
  );
  if (refused) {
    throw new RangeError(
      `"${path}" is no ${what}: expected names separated by "/", without "..", a drive, a ` +
        `backslash or control characters`,
    );
  }
}

/** Address of a file's content at a revision. */
export function fileUrl({ id, kind, settings }: Place, revision: string, path: string): string {
  const parts = path.split("/").map(encodeURIComponent).join("/");
  const prefix = kind === "dataset" ? "datasets/" : "";
  return `${settings.endpoint}/${prefix}${id}/resolve/${encodeURIComponent(revision)}/${parts}`;
}

/** Address of what the hub says about a revision, or about its files. */
export function apiUrl(
  { id, kind, settings }: Place,
  about: "revision" | "tree",
  revision: string,
): string {
  return `${settings.endpoint}/api/${kind}s/${id}/${about}/${encodeURIComponent(revision)}`;
}
