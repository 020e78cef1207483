/**
 * A place for files that several machines see, whatever it is made of.
 *
 * @module
 */

/**
 * Files by key. A key is a relative path with "/" between its parts, without ".." in it. A file is
 * whole or not there, whoever is killed when.
 */
export interface Storage {
  /** Address, such as `"file:///shared/interlens"` or `"s3://bucket/prefix"`. */
  readonly url: string;
  /** Size of a file in bytes; undefined if there is none. */
  stat(key: string): Promise<{ size: number } | undefined>;
  /** Bytes of a file, or those from `start` to before `end`. */
  read(key: string, range?: { start: number; end: number }): Promise<Uint8Array>;
  /** Files whose keys begin so, in the order of their keys. */
  list(prefix: string): AsyncIterable<{ key: string; size: number }>;
  /** Writes a small file. */
  write(key: string, content: Uint8Array | string): Promise<void>;
  /** Copies a local file of any size to a key. */
  upload(path: string, key: string): Promise<void>;
  /** Copies a file to a local path, atomically; a dropped connection goes on where it was. */
  download(
    key: string,
    path: string,
    options?: { sha256?: string; signal?: AbortSignal },
  ): Promise<void>;
  /** Removes a file, if it is there. */
  remove(key: string): Promise<void>;
}
