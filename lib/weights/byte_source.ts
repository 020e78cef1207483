/**
 * Bytes at positions: a file, or bytes in memory.
 *
 * @module
 */

/** Something with a length whose bytes can be read anywhere. */
export interface ByteSource extends Disposable {
  /** Name for messages; of a file, where it lies. */
  readonly path: string;
  /** Length in bytes. */
  readonly size: number;
  /** A few bytes at once, as parsers of headers need them; the range lies within the source. */
  readNow(position: number, length: number): Uint8Array<ArrayBuffer>;
  /** Fills `into`; the range lies within the source. */
  read(position: number, into: Uint8Array<ArrayBuffer>): Promise<void>;
}

/**
 * Opens a file.
 *
 * @throws {Error} If there is no such file, or it is a folder or a device.
 */
export function openFile(path: string): ByteSource {
  return new FileSource(path);
}

/** Bytes in memory under a name. */
export function bytesSource(path: string, bytes: Uint8Array): ByteSource {
  return {
    path,
    size: bytes.length,
    readNow: (position, length) => bytes.slice(position, position + length),
    read(position, into) {
      into.set(bytes.subarray(position, position + into.length));
      return Promise.resolve();
    },
    [Symbol.dispose]() {},
  };
}

class FileSource implements ByteSource {
  readonly path: string;
  readonly size: number;
  readonly #file: Deno.FsFile;
  #open = true;
  /** Ends when the last read that was asked for has. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.path = path;
    let stat: Deno.FileInfo;
    try {
      stat = Deno.statSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Error(`Cannot read "${path}": there is no such file`, { cause: error });
    }
    // Before it is opened: that would wait for what writes to a pipe.
    if (!stat.isFile) throw new Error(`Cannot read "${path}": it is not a file`);
    this.#file = Deno.openSync(path);
    this.size = stat.size;
  }

  readNow(position: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    this.#file.seekSync(position, Deno.SeekMode.Start);
    for (let filled = 0; filled < length;) {
      filled += this.#count(this.#file.readSync(bytes.subarray(filled)), position + filled);
    }
    return bytes;
  }

  read(position: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    // A file has one position: seek and read of one caller must not mix with those of another.
    const reading = this.#last.then(async () => {
      await this.#file.seek(position, Deno.SeekMode.Start);
      for (let filled = 0; filled < into.length;) {
        filled += this.#count(await this.#file.read(into.subarray(filled)), position + filled);
      }
    });
    this.#last = reading.catch(() => {});
    return reading;
  }

  [Symbol.dispose](): void {
    if (this.#open) this.#file.close();
    this.#open = false;
  }

  #count(count: number | null, position: number): number {
    if (count !== null) return count;
    throw new Error(
      `"${this.path}" ends at byte ${position} although it was longer when it was opened: ` +
        `something changed it`,
    );
  }
}
