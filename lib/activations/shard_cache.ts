/**
 * A folder that holds some of the files of a store: at most so many bytes, and those stay that were
 * used last. Several threads and processes may share it.
 *
 * What is there, what is on its way and when it was used stand in the folder itself: whole files under
 * their names, reservations in a hidden folder of each who fetches, times of use as times of change.
 * Whoever makes room holds a lock; a reservation ends with the process that made it.
 *
 * @module
 */
import { join } from "node:path";
import { writeError } from "../files/atomic.ts";

const FETCHING = ".fetching.";
const LOCK = ".lock";
/** Names this process to its threads. Its number would not do: in containers, all are number 1. */
const PROCESS = crypto.randomUUID();

/** A name for one who fetches in this process, differently each time. */
export function fetcherName(): string {
  return `${PROCESS}.${crypto.randomUUID()}`;
}

/** What became of a wish for room. */
export interface Room {
  /**
   * `"there"`: the file is whole in the folder. `"elsewhere"`: another one is fetching it.
   * `"full"`: what would have to go must stay. `"reserved"`: fetch it to `path`.
   */
  readonly state: "there" | "elsewhere" | "full" | "reserved";
  /** Where the file is to be put, until `commit`. */
  readonly path: string;
  /** Files that are whole in the folder now. */
  readonly present: ReadonlySet<string>;
}

/** Keeps files of known sizes in a folder. */
export class ShardCache {
  /** The folder. */
  readonly dir: string;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #maxBytes: number;
  readonly #own: string;
  /** How the folders begin of all who fetch in this process. */
  readonly #process: string;
  #ownLock: Deno.FsFile | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * @param dir The folder; it need not exist.
   * @param sizes Bytes of every file that may be asked for; others in the folder are left alone.
   * @param maxBytes Bytes that these files may take in all, those on their way included.
   * @param name Names the one who fetches; a thread gets it from the thread that started it.
   */
  constructor(
    dir: string,
    sizes: ReadonlyMap<string, number>,
    maxBytes: number,
    name: string = fetcherName(),
  ) {
    this.dir = dir;
    this.#sizes = sizes;
    this.#maxBytes = maxBytes;
    this.#own = ShardCache.folderOf(dir, name);
    this.#process = `${FETCHING}${name.split(".")[0]}.`;
  }

  /** Where one who fetches under this name keeps what is not whole yet. */
  static folderOf(dir: string, name: string): string {
    return join(dir, `${FETCHING}${name}`);
  }

  /** Files that are whole in the folder; one of another size is removed. */
  async present(): Promise<ReadonlySet<string>> {
    return await this.#locked(async () => new Set((await this.#files()).keys()));
  }

  /**
   * Makes room for a file. First those files go that nobody will read, as far as is known, and of them
   * those first that were not used for the longest time; then those that will be read last.
   *
   * @param name Which file.
   * @param next Files that will be read, in that order. Those before `name` stay.
   * @throws {Error} If the folder cannot be written to.
   */
  async reserve(name: string, next: readonly string[]): Promise<Room> {
    return await this.#locked(async () => {
      const files = await this.#files();
      const reserved = await this.#reserved();
      const path = join(this.#own, name, name);
      const answer = (state: Room["state"]) => ({ state, path, present: new Set(files.keys()) });
      if (files.has(name)) return answer("there");
      if (reserved.has(name)) return answer("elsewhere");
      const size = this.#sizes.get(name)!;
      let used = size;
      for (const one of [...files.keys(), ...reserved]) used += this.#sizes.get(one)!;
      let over = used - this.#maxBytes;
      const going: string[] = [];
      for (const one of removable(files, name, next)) {
        if (over <= 0) break;
        going.push(one);
        over -= this.#sizes.get(one)!;
      }
      if (over > 0) return answer("full");
      for (const one of going) {
        await Deno.remove(join(this.dir, one)).catch(ignoreAbsent);
        files.delete(one);
      }
      await Deno.mkdir(join(this.#own, name), { recursive: true });
      return answer("reserved");
    });
  }

  /** Takes a file that was fetched to where `reserve` said into the folder. */
  async commit(name: string): Promise<void> {
    await this.#locked(async () => {
      const path = join(this.#own, name, name);
      // Counted as whole or as reserved, never as neither: only who holds the lock counts.
      await Deno.rename(path, join(this.dir, name));
      await Deno.remove(join(this.#own, name), { recursive: true });
    });
  }

  /** Gives a reservation back. */
  async release(name: string): Promise<void> {
    await Deno.remove(join(this.#own, name), { recursive: true }).catch(() => {});
  }

  /** Says when a file was used. */
  async touch(name: string, at: Date): Promise<void> {
    await Deno.utime(join(this.dir, name), at, at).catch(ignoreAbsent);
  }

  /** Gives all reservations back. */
  async close(): Promise<void> {
    await this.#turn;
    this.#ownLock?.close();
    this.#ownLock = undefined;
    await Deno.remove(this.#own, { recursive: true }).catch(() => {});
  }

  /** One at a time, of this thread and of all others. */
  #locked<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(async () => {
      let lock: Deno.FsFile | undefined;
      try {
        await Deno.mkdir(this.dir, { recursive: true });
        lock = await locked(join(this.dir, LOCK));
        this.#ownLock ??= await this.#claim();
        return await work();
      } catch (error) {
        throw error instanceof Deno.errors.PermissionDenied ? writeError(this.dir, error) : error;
      } finally {
        lock?.close();
      }
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Makes the own folder, with a lock in it that ends with this process. */
  async #claim(): Promise<Deno.FsFile | undefined> {
    await Deno.mkdir(this.#own, { recursive: true });
    return await locked(join(this.#own, LOCK));
  }

  /** Files that are whole, with the times of their last use. */
  async #files(): Promise<Map<string, number>> {
    const files = new Map<string, number>();
    for await (const { name, isFile } of Deno.readDir(this.dir)) {
      const expected = isFile ? this.#sizes.get(name) : undefined;
      if (expected === undefined) continue;
      const path = join(this.dir, name);
      const { size, mtime } = await Deno.stat(path).catch(() => ({ size: -1, mtime: null }));
      if (size === expected) files.set(name, mtime?.getTime() ?? 0);
      else await Deno.remove(path).catch(ignoreAbsent);
    }
    return files;
  }

  /** Files that somebody is fetching; what killed processes left is removed. */
  async #reserved(): Promise<Set<string>> {
    const names = new Set<string>();
    for await (const { name: folder } of Deno.readDir(this.dir)) {
      if (!folder.startsWith(FETCHING)) continue;
      const path = join(this.dir, folder);
      // Some file systems have one lock a process, so those of this one are not tried.
      if (!folder.startsWith(this.#process) && await isFree(join(path, LOCK))) {
        await Deno.remove(path, { recursive: true }).catch(() => {});
        continue;
      }
      for await (const { name, isDirectory } of Deno.readDir(path)) {
        if (isDirectory && this.#sizes.has(name)) names.add(name);
      }
    }
    return names;
  }
}

/** Files that may go to make room for one, the first to go first. */
function removable(
  files: ReadonlyMap<string, number>,
  name: string,
  next: readonly string[],
): string[] {
  const needed = new Set(next);
  const unneeded = [...files].filter(([one]) => !needed.has(one)).sort(([, a], [, b]) => a - b);
  const order = [...needed];
  const after = needed.has(name) ? order.slice(order.indexOf(name) + 1).reverse() : [];
  return [...unneeded.map(([one]) => one), ...after.filter((one) => files.has(one))];
}

/** An open file that is locked, where the file system has locks. */
async function locked(path: string): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { write: true, create: true });
  // A file system without locks has to do: then two processes may at times hold more than they should.
  await file.lock(true).catch(() => {});
  return file;
}

/** True if nobody holds the lock. */
async function isFree(path: string): Promise<boolean> {
  try {
    using file = await Deno.open(path, { write: true });
    return await file.tryLock(true);
  } catch (error) {
    return error instanceof Deno.errors.NotFound;
  }
}

function ignoreAbsent(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
