/**
 * One process at a time in a folder that several may work in.
 *
 * @module
 */
import { dirname } from "node:path";

/** Milliseconds between two looks at a lock: waiting for it in the system could not be stopped. */
const WAIT_MS = 100;

/**
 * The right to work in a folder: a lock in a file beside it, which ends with the process that holds
 * it, however that ends. `using` it gives it back.
 */
export class FolderLock implements Disposable {
  readonly #dir: string;
  readonly #file: Deno.FsFile | undefined;

  private constructor(dir: string, file: Deno.FsFile | undefined) {
    this.#dir = dir;
    this.#file = file;
  }

  /**
   * Waits until nobody else, in this process or another, works in the folder.
   *
   * Where nothing can be written, or the file system knows no locks, it gives one that keeps nobody out:
   * a cache that can only be read is still of use.
   *
   * ```ts
   * import { assertEquals, assertRejects } from "@std/assert";
   * import { FolderLock } from "./folder_lock.ts";
   *
   * const dir = await Deno.makeTempDir();
   * {
   *   using _mine = await FolderLock.acquire(`${dir}/work`);
   *   await assertRejects(() => FolderLock.acquire(`${dir}/work`, AbortSignal.timeout(10)));
   * }
   * using _next = await FolderLock.acquire(`${dir}/work`);
   * assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["work.lock"]);
   * ```
   *
   * @param dir The folder; it need not exist.
   * @param signal Ends the waiting.
   * @throws {DOMException} If the signal comes first.
   */
  static async acquire(dir: string, signal?: AbortSignal): Promise<FolderLock> {
    let file: Deno.FsFile | undefined;
    try {
      do {
        file?.close();
        file = undefined;
        await Deno.mkdir(dirname(dir), { recursive: true });
        file = await Deno.open(`${dir}.lock`, { write: true, create: true });
        for (let waits = 0; !await file.tryLock(true); waits++) {
          if (waits === 0) console.log(`another process is at work in ${dir}, waiting for it`);
          signal?.throwIfAborted();
          await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
        }
        // The one before removed its lock: what was waited for may be a file without a name.
      } while ((await file.stat()).ino !== await inode(`${dir}.lock`));
    } catch {
      if (signal?.aborted) file?.close();
      signal?.throwIfAborted();
    }
    return new FolderLock(dir, file);
  }

  /** Lets others in. Of a folder around it that is empty nothing stays. */
  [Symbol.dispose](): void {
    try {
      Deno.removeSync(`${this.#dir}.lock`);
      Deno.removeSync(dirname(this.#dir));
    } catch {
      // Not empty, or gone.
    }
    this.#file?.close();
  }
}

function inode(path: string): Promise<number | null | undefined> {
  return Deno.stat(path).then(({ ino }) => ino, () => undefined);
}
