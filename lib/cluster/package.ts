/**
 * The project as a zip file that Ray hands to its nodes.
 *
 * @module
 */
import { zipSync } from "fflate";
import { hashSources, type Sources } from "./versions.ts";

/** A zip file with its name. */
export interface ProjectPackage {
  /** Name under which the head keeps it, from the hash of the sources. */
  readonly name: string;
  readonly content: Uint8Array<ArrayBuffer>;
}

/**
 * Packs sources: the same files give the same bytes, whenever and wherever.
 *
 * ```ts
 * import { assertEquals, assertMatch } from "@std/assert";
 * import { packProject } from "./package.ts";
 *
 * const sources = new Map([["lib/mod.ts", new TextEncoder().encode("export {};")]]);
 * const { name, content } = packProject(sources);
 * assertMatch(name, /^_ray_pkg_[0-9a-f]{32}\.zip$/);
 * assertEquals(packProject(sources).content, content);
 * ```
 */
export function packProject(sources: Sources): ProjectPackage {
  // A zip file holds local times without a zone: the earliest that it knows, on this machine.
  const mtime = new Date(1980, 0, 1);
  const content = zipSync(Object.fromEntries(sources), { level: 6, mtime, os: 3 });
  return { name: `_ray_pkg_${hashSources(sources)}.zip`, content };
}
