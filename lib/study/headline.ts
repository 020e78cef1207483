/**
 * Headline numbers: what a notebook found, in a file that the quickstart and the site's index read.
 *
 * @module
 */
import { cacheDir, writeFileAtomic } from "../files/mod.ts";
import { type Profile, profile } from "./profile.ts";

/** One finding with its number. */
export interface Headline {
  /** What was measured, in a few words. */
  readonly quantity: string;
  readonly value: number;
  readonly unit: string;
  /** 95 % interval, where there is one. */
  readonly interval?: readonly [number, number];
}

/**
 * Stores a notebook's headline numbers as `headlines/<profile>/<notebook>.json` in the cache.
 *
 * ```ts
 * import { assertRejects } from "@std/assert";
 * import { headline } from "interlens";
 *
 * // A number that is none is not stored.
 * const findings = [{ quantity: "FVU on test documents", value: NaN, unit: "" }];
 * await assertRejects(() => headline("example", findings), RangeError, "FVU on test documents");
 * ```
 *
 * @param notebook Name of the notebook without its extension, for example `"02_sae"`.
 * @throws {RangeError} If a value is not finite.
 */
export async function headline(notebook: string, findings: Headline[]): Promise<void> {
  for (const { quantity, value } of findings) {
    if (!Number.isFinite(value)) {
      throw new RangeError(`Cannot report "${quantity}" = ${value}: expected a finite number`);
    }
  }
  const path = cacheDir("headlines", profile(), `${notebook}.json`);
  await writeFileAtomic(path, JSON.stringify({ notebook, findings }, null, 2) + "\n");
}

/** A notebook's findings. */
export interface Headlines {
  readonly notebook: string;
  readonly findings: readonly Headline[];
}

/**
 * The headline numbers of a profile, by notebook in reading order.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { readHeadlines } from "interlens";
 *
 * assert((await readHeadlines()).every(({ findings }) => findings.length > 0));
 * ```
 *
 * @param of The profile, by default the one in force.
 * @returns Empty if no notebook ran in it.
 */
export async function readHeadlines(of: Profile = profile()): Promise<Headlines[]> {
  return await readRecords<Headlines>(cacheDir("headlines", of));
}

/** The JSON files of a folder in the order of their names; none if there is no folder. */
export async function readRecords<T>(folder: string): Promise<T[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) if (name.endsWith(".json")) names.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const read = async (name: string) => {
    const path = `${folder}/${name}`;
    try {
      return JSON.parse(await Deno.readTextFile(path)) as T;
    } catch (cause) {
      throw new Error(`Cannot read "${path}": delete it and run its notebook again`, { cause });
    }
  };
  return await Promise.all(names.sort().map(read));
}
