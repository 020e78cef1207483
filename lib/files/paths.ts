/**
 * Where things lie: the root of the repository, and the cache in which models, activation stores
 * and trained artefacts are kept.
 *
 * Both come from the place of this file, never from the working directory: a notebook, a test and
 * a command see the same cache.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Root of the repository, an absolute path without a slash at its end.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { ROOT } from "interlens";
 *
 * assert((await Deno.stat(`${ROOT}/deno.json`)).isFile);
 * ```
 */
export const ROOT: string = resolve(fileURLToPath(new URL("../..", import.meta.url)));

/**
 * Absolute path of something in the cache: `data/cache/…`, or below the folder named in the
 * environment variable `INTERLENS_CACHE`. Nothing is created.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { cacheDir } from "interlens";
 *
 * assert(cacheDir("models", "a.gguf").startsWith(cacheDir("models")));
 * ```
 *
 * @param parts Names of folders and files below the cache.
 */
export function cacheDir(...parts: string[]): string {
  const chosen = Deno.env.get("INTERLENS_CACHE");
  return join(chosen ? resolve(chosen) : join(ROOT, "data", "cache"), ...parts);
}
