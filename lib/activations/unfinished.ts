/**
 * Where a harvest works until it is complete: one process at a time, and what a killed one left
 * stays for the next.
 *
 * @module
 */
import { dirname, join } from "node:path";

/** Milliseconds between two looks at a lock: waiting for it in the system could not be stopped. */
const WAIT_MS = 100;

/** A folder with a lock beside it, which ends with the process that holds it. */
export class UnfinishedFolder {
  /** The folder; it need not exist. */
  readonly dir: string;
  readonly #lock: Deno.FsFile | undefined;

  private constructor(dir: string, lock: Deno.FsFile | undefined) {
    this.dir = dir;
    this.#lock = lock;
  }

  /** Waits until no other process, or harvest of this one, works in the folder. */
  static async lock(dir: string, signal?: AbortSignal): Promise<UnfinishedFolder> {
    let file: Deno.FsFile | undefined;
    try {
      do {
        file?.close();
        file = undefined;
        await Deno.mkdir(dirname(dir), { recursive: true });
        file = await Deno.open(`${dir}.lock`, { write: true, create: true });
        for (let waits = 0; !await file.tryLock(true); waits++) {
          if (waits === 0) {
            console.log(`another process is at work in ${dir}, waiting for it`);
          }
          signal?.throwIfAborted();
          await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
        }
        // The one before removed its lock: what was waited for may be a file without a name.
      } while ((await file.stat()).ino !== await inode(`${dir}.lock`));
    } catch {
      if (signal?.aborted) file?.close();
      signal?.throwIfAborted();
      // A cache that cannot be written to can still be read; a file system without locks has to do.
    }
    return new UnfinishedFolder(dir, file);
  }

  /** Gives the files a second name in another folder, so that a kill between two of them loses none. */
  async moveTo(dir: string): Promise<void> {
    await linkAll(this.dir, dir);
  }

  /** Removes the folder. */
  async remove(): Promise<void> {
    await Deno.remove(this.dir, { recursive: true }).catch(() => {});
  }

  /** Removes the folder unless it is wanted and holds a record to go on from. */
  async removeUnless(wanted: boolean): Promise<void> {
    const recorded = await Deno.stat(join(this.dir, "harvest.json")).then(() => true, () => false);
    if (!wanted || !recorded) await this.remove();
  }

  /** Lets others in. */
  unlock(): void {
    try {
      Deno.removeSync(`${this.dir}.lock`);
      Deno.removeSync(dirname(this.dir));
    } catch {
      // Not empty, or gone.
    }
    this.#lock?.close();
  }
}

function inode(path: string): Promise<number | null | undefined> {
  return Deno.stat(path).then(({ ino }) => ino, () => undefined);
}

async function linkAll(from: string, to: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (isDirectory) {
      await Deno.mkdir(target, { recursive: true });
      await linkAll(source, target);
    } else await Deno.link(source, target).catch(() => Deno.rename(source, target));
  }
}
