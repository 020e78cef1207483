/**
 * A place for files that several machines see, whatever it is made of.
 *
 * @module
 */

/** Files by key; made by `openStorage`. */
export interface Storage {
  /** Address, such as `"file:///shared/interlens"` or `"s3://bucket/prefix"`. */
  readonly url: string;
  /** How it was opened, for another thread that opens the same place. */
  readonly options?: StorageOptions;
  /** Size of a file in bytes; undefined if there is none. */
  stat(key: string): Promise<{ size: number } | undefined>;
  /**
   * Bytes of a file, or those from `start` to before `end`, as far as the file goes.
   *
   * @throws {Deno.errors.NotFound} If there is no such file.
   */
  read(key: string, range?: { start: number; end: number }): Promise<Uint8Array>;
  /** Files whose keys begin so, by key in the order of its UTF-8 bytes. */
  list(prefix: string): AsyncIterable<{ key: string; size: number }>;
  /** Writes a small file; replaces what was there. */
  write(key: string, content: Uint8Array | string): Promise<void>;
  /**
   * Puts a local file of any size; replaces what was there. Where the storage is a folder on the
   * same disk, both are one file from then on: replace the local one, never change it in place.
   *
   * @param options.signal Stops it; nothing of the file is visible then.
   */
  upload(path: string, key: string, options?: { signal?: AbortSignal }): Promise<void>;
  /**
   * Copies a file to a local path, whole or not at all; a dropped connection goes on where it was.
   *
   * @param options.sha256 What it must be, in hexadecimal. Without it, the checksum that the storage
   * keeps counts, if it keeps one.
   * @param options.signal Stops it.
   * @throws {Deno.errors.NotFound} If there is no such file.
   * @throws {Error} If the bytes that arrive are others.
   */
  download(
    key: string,
    path: string,
    options?: { sha256?: string; signal?: AbortSignal },
  ): Promise<void>;
  /** Removes a file, if it is there. */
  remove(key: string): Promise<void>;
}

/** How patient a storage is with a server; a folder has no use for it. */
export interface StorageOptions {
  /** Times that a request is tried, with growing pauses in between; default 8 (about 10 s). */
  attempts?: number;
  /** Milliseconds without a byte after which a connection counts as dropped; default 60,000. */
  patience?: number;
}
