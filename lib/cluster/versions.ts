/**
 * What must be the same on the driver and on every node, so that results do not depend on where a
 * unit ran: the version of the library, its very sources, and Deno.
 *
 * Imports no npm package: a node asks itself before anything is installed there.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { ROOT, VERSION } from "../files/mod.ts";

/** Files and folders of the repository that a unit needs; names with a dot before them are not read. */
const SOURCES = [
  ...["deno.json", "deno.lock", "lib", "data/reported", "data/stimuli", "tests/std_assert"],
];

/** What is compared. */
export interface Versions {
  /** Version of the library. */
  readonly interlens: string;
  /** Hash of its sources; see {@linkcode hashSources}. */
  readonly sources: string;
  /** Version of Deno. */
  readonly deno: string;
}

/** Files by their path from the root, with "/" between its parts, in the order of their paths. */
export type Sources = ReadonlyMap<string, Uint8Array<ArrayBuffer>>;

/**
 * Reads the files that a unit needs: the library, its pinned packages, and the data it comes with.
 *
 * @param root Root of the repository. Default: that of this library.
 * @throws {Error} If one of them is missing.
 */
export async function readSources(root: string = ROOT): Promise<Sources> {
  const paths: string[] = [];
  const walk = async (path: string): Promise<void> => {
    const { isDirectory } = await Deno.stat(join(root, path)).catch((cause) => {
      throw new Error(`"${root}" is no complete copy of the project: it lacks "${path}"`, {
        cause,
      });
    });
    if (!isDirectory) return void paths.push(path);
    for await (const { name, isSymlink } of Deno.readDir(join(root, path))) {
      if (!name.startsWith(".") && !isSymlink) await walk(`${path}/${name}`);
    }
  };
  for (const path of SOURCES) await walk(path);
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const path of paths.sort()) files.set(path, await Deno.readFile(join(root, path)));
  return files;
}

/**
 * Thirty-two hexadecimal digits that name the content of files: the start of a SHA-256 over the
 * hash and the path of each, in the order of paths.
 */
export function hashSources(sources: Sources): string {
  const whole = createHash("sha256");
  for (const [path, content] of sources) {
    whole.update(`${createHash("sha256").update(content).digest("hex")}  ${path}\n`);
  }
  return whole.digest("hex").slice(0, 32);
}

/** The versions of this process with sources that were read. */
export function versionsWith(sources: Sources): Versions {
  return { interlens: VERSION, sources: hashSources(sources), deno: Deno.version.deno };
}

/**
 * Says in what a node differs; undefined if in nothing.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { differenceOf } from "./versions.ts";
 *
 * const here = { interlens: "0.1.0", sources: "1f".repeat(16), deno: "2.9.6" };
 * assertEquals(differenceOf(here, { ...here }), undefined);
 * assertEquals(differenceOf(here, { ...here, deno: "2.9.4" }), "Deno 2.9.4 in place of 2.9.6");
 * ```
 *
 * @param here What is expected.
 * @param there What the node has.
 */
export function differenceOf(here: Versions, there: Versions): string | undefined {
  const differences: string[] = [];
  const compare = (name: string, expected: string, found: string) => {
    if (found !== expected) differences.push(`${name} ${found} in place of ${expected}`);
  };
  compare("interlens", here.interlens, there.interlens);
  compare("sources", here.sources.slice(0, 12), there.sources.slice(0, 12));
  compare("Deno", here.deno, there.deno);
  return differences.length > 0 ? differences.join(", ") : undefined;
}
