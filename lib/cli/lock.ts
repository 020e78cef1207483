/**
 * One set-up at a time in one repository.
 *
 * The system's file lock decides who works: it ends with the process that holds it, however that
 * ends, so a lock can never be stale. The file's content says who holds it and which programs it
 * started; those survive their parent when it is killed and would go on writing, so the next
 * holder ends them first.
 *
 * @module
 */
import { dirname } from "node:path";
import { ROOT } from "../files/mod.ts";

interface Content {
  pid: number;
  children: number[];
}

/** A held lock. `using` it releases it. */
export class Lock implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #children = new Set<number>();

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Takes the lock, waiting as long as another process holds it.
   *
   * ```ts
   * import { assertEquals } from "@std/assert";
   * import { Lock } from "./lock.ts";
   *
   * const path = await Deno.makeTempFile();
   * {
   *   using _lock = await Lock.acquire(path);
   *   assertEquals(JSON.parse(await Deno.readTextFile(path)).pid, Deno.pid);
   * }
   * await Deno.remove(path);
   * ```
   *
   * @param path File of the lock; made if it is not there.
   * @param waiting Called once with the holder's process id if the lock is held.
   */
  static async acquire(path: string, waiting: (pid: number) => void = () => {}): Promise<Lock> {
    await Deno.mkdir(dirname(path), { recursive: true });
    const file = await Deno.open(path, { read: true, write: true, create: true });
    if (!await file.tryLock(true)) {
      waiting((await read(path)).pid);
      await file.lock(true);
    }
    const { children } = await read(path);
    await end(children);
    const lock = new Lock(file);
    lock.#write();
    return lock;
  }

  /** Notes a program that must not outlive this process, until `ended` settles. */
  track(child: number, ended: Promise<unknown>): void {
    this.#children.add(child);
    this.#write();
    const forget = () => {
      this.#children.delete(child);
      this.#write();
    };
    ended.then(forget, forget);
  }

  #write(): void {
    const content: Content = { pid: Deno.pid, children: [...this.#children] };
    const bytes = new TextEncoder().encode(JSON.stringify(content));
    this.#file.truncateSync(0);
    this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#file.writeSync(bytes);
  }

  /** Lets the next one in. The file stays: removing it would split the lock in two. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

async function read(path: string): Promise<Content> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    return { pid: 0, children: [] };
  }
}

/** Ends left-over programs and what they started, if they still are programs of this repository. */
async function end(roots: number[]): Promise<void> {
  const leftOver = async () => {
    const processes = await list();
    const found = processes.filter(({ pid, line }) => roots.includes(pid) && line.includes(ROOT));
    // The list grows while it is walked: children of children are found too.
    for (const { pid } of found) found.push(...processes.filter(({ parent }) => parent === pid));
    return found.map(({ pid }) => pid);
  };
  if (roots.length === 0) return;
  const pids = await leftOver();
  for (const pid of pids) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  // It writes nothing more once the system has taken it off the list.
  for (let i = 0; i < 100 && (await list()).some(({ pid }) => pids.includes(pid)); i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function list(): Promise<{ pid: number; parent: number; line: string }[]> {
  try {
    // Zombies have no command line and write nothing.
    const ps = new Deno.Command("ps", { args: ["-Ao", "pid=,ppid=,args="], stderr: "null" });
    const lines = new TextDecoder().decode((await ps.output()).stdout).split("\n");
    return lines
      .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
      .filter((match) => match !== null)
      .filter(([, , , line]) => !line.endsWith("<defunct>"))
      .map(([, pid, parent, line]) => ({ pid: Number(pid), parent: Number(parent), line }));
  } catch {
    return [];
  }
}
