/**
 * Writing a file so that it is either whole or not there.
 *
 * The bytes go to a temporary file in the same folder, are flushed to the disk, and only then take
 * the name of the file (`rename` within a folder is atomic). Whoever reads the path meanwhile sees
 * the earlier content. After an error the temporary file is gone and the earlier content is intact.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";

/** What can be written: bytes, text (as UTF-8), or a stream of chunks that is never held whole. */
export type FileContent = Uint8Array | string | AsyncIterable<Uint8Array>;

/**
 * Writes a file atomically; makes its folder if needed.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { writeFileAtomic } from "interlens";
 *
 * const folder = await Deno.makeTempDir();
 * await writeFileAtomic(`${folder}/a/note.txt`, "whole or not there");
 * assertEquals(await Deno.readTextFile(`${folder}/a/note.txt`), "whole or not there");
 * assertEquals([...Deno.readDirSync(`${folder}/a`)].length, 1);
 * await Deno.remove(folder, { recursive: true });
 * ```
 *
 * @param path File to write; replaced if it exists.
 * @param content Its bytes, its text, or the chunks to write one after another.
 * @throws {Error} If the disk is full or the folder cannot be written to, saying which and what to
 * do. An error thrown by a stream of chunks is passed on unchanged.
 */
export async function writeFileAtomic(path: string, content: FileContent): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${crypto.randomUUID()}.tmp`);
  let written = 0;

  const attempt = async <T>(action: () => Promise<T>): Promise<T> => {
    try {
      return await action();
    } catch (error) {
      throw writeError(path, error, written);
    }
  };

  await attempt(() => Deno.mkdir(folder, { recursive: true }));
  const file = await attempt(() => Deno.open(temporary, { write: true, createNew: true }));
  try {
    try {
      for await (const chunk of chunksOf(content)) {
        for (let start = 0; start < chunk.length;) {
          const count = await attempt(() => file.write(chunk.subarray(start)));
          start += count;
          written += count;
        }
      }
      await attempt(() => file.sync());
    } finally {
      file.close();
    }
    await attempt(() => Deno.rename(temporary, path));
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

async function* chunksOf(content: FileContent): AsyncIterable<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

/**
 * One sentence for a write that failed: what could not be written, why, and what to do.
 *
 * @param path What was to be written.
 * @param error What the system said.
 * @param written Bytes that went through before.
 */
export function writeError(path: string, error: unknown, written = 0): Error {
  const code = (error as { code?: string }).code;
  const message = error instanceof Error ? error.message : String(error);
  const failed = `Cannot write "${path}"`;
  const elsewhere = "set INTERLENS_CACHE to a folder on another disk";
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new Error(
      `${failed}: the disk is full after ${written} bytes. Free some space or ${elsewhere}, then ` +
        `run this again; nothing was left behind`,
      { cause: error },
    );
  }
  // Deno gives this one no code: 27 is EFBIG on Linux and macOS.
  if (code === "EFBIG" || /\(os error 27\)/.test(message)) {
    return new Error(
      `${failed}: files may not grow beyond ${written} bytes here. Raise the limit ` +
        `("ulimit -f unlimited") or ${elsewhere}, then run this again; nothing was left behind`,
      { cause: error },
    );
  }
  if (error instanceof Deno.errors.PermissionDenied || code === "EROFS") {
    return new Error(
      `${failed}: its folder is not writable. Make it writable or set INTERLENS_CACHE to another ` +
        `folder, then run this again`,
      { cause: error },
    );
  }
  return new Error(`${failed}: ${message}`, { cause: error });
}
