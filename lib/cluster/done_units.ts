/**
 * Which units are done, asked with few requests.
 *
 * @module
 */
import type { Storage } from "../storage/mod.ts";
import { concurrently } from "./concurrently.ts";
import { recordKey } from "./record.ts";

/** Lookups one by one before everything is listed, and unknown units at once that are worth a list. */
const ONE_BY_ONE = 32;

const RECORD = /^units\/([0-9a-f]{16})\.json$/;

/**
 * Knows which units have a record.
 *
 * A few are asked for one by one; where there are many, all records are listed once. The list takes
 * eight bytes a record. What it says to be done stays done; what it does not is asked for again.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { openStorage } from "interlens";
 * import { DoneUnits } from "./done_units.ts";
 *
 * const folder = await Deno.makeTempDir();
 * const storage = openStorage(folder);
 * await storage.write("units/00000000000000ff.json", "{}");
 * const done = new DoneUnits(storage);
 * assertEquals(await done.among(["00000000000000ff", "0000000000000001"]), ["00000000000000ff"]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export class DoneUnits {
  readonly #storage: Storage;
  #listed = new BigUint64Array(0);
  #asked = 0;

  /** @param storage Where the records lie. */
  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Those of some units that are done. */
  async among(hashes: readonly string[]): Promise<string[]> {
    let unknown = hashes.filter((hash) => !this.#has(hash));
    this.#asked += unknown.length;
    const many = this.#listed.length === 0 && this.#asked > ONE_BY_ONE;
    if (unknown.length > ONE_BY_ONE || (many && unknown.length > 0)) {
      await this.#list();
      this.#asked = 0;
      unknown = unknown.filter((hash) => !this.#has(hash));
      if (unknown.length > ONE_BY_ONE) unknown = [];
    }
    const found = new Set<string>();
    await concurrently(unknown, async (hash) => {
      if (await this.#storage.stat(recordKey(hash))) found.add(hash);
    });
    return hashes.filter((hash) => found.has(hash) || this.#has(hash));
  }

  #has(hash: string): boolean {
    const wanted = BigInt(`0x${hash}`);
    let [low, high] = [0, this.#listed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#listed[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return this.#listed[low] === wanted;
  }

  async #list(): Promise<void> {
    let hashes = new BigUint64Array(1024);
    let count = 0;
    for await (const { key } of this.#storage.list("units/")) {
      const hash = RECORD.exec(key)?.[1];
      if (!hash) continue;
      if (count === hashes.length) {
        const larger = new BigUint64Array(2 * count);
        larger.set(hashes);
        hashes = larger;
      }
      hashes[count++] = BigInt(`0x${hash}`);
    }
    this.#listed = hashes.slice(0, count).sort();
  }
}
