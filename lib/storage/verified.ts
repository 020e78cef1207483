/**
 * Bytes on their way out of a storage, and whether they are those that were put there.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** The bytes that came are not those that were put there; another attempt may bring the right ones. */
export class WrongContent extends Error {
  override name = "WrongContent";
}

/**
 * Passes chunks on and, after the last one, compares their SHA-256.
 *
 * @param source What arrives.
 * @param url Where from, for the message.
 * @param sha256 What it must be; undefined if nobody knows. A function is asked after the last chunk.
 * @throws {WrongContent} If it is another one.
 */
export async function* verified(
  source: AsyncIterable<Uint8Array>,
  url: string,
  sha256: () => string | undefined,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
  const [expected, found] = [sha256(), hash.digest("hex")];
  if (expected === undefined || found === expected) return;
  throw new WrongContent(
    `"${url}" came with the SHA-256 ${found}, but ${expected} was expected: it was changed on the ` +
      `way, or after it was put there. Run this again; if it stays so, remove it and make it again`,
  );
}

/** Chunks of an open file, from where it stands; each is good until the next one. */
export async function* fileChunks(
  file: Deno.FsFile,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const chunk = new Uint8Array(1 << 20);
  for (let count = await file.read(chunk); count !== null; count = await file.read(chunk)) {
    signal?.throwIfAborted();
    yield chunk.subarray(0, count);
  }
}
