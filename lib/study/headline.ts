/**
 * Headline numbers: what a notebook found, in a file that the quickstart and the site's index read.
 *
 * @module
 */
import { cacheDir, writeFileAtomic } from "../files/mod.ts";
import { profile } from "./profile.ts";

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
