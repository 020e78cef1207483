/**
 * Reading text files piece by piece.
 *
 * @module
 */

/** Bytes read at once. */
const CHUNK_BYTES = 1 << 20;

/**
 * Bytes of a file in chunks, each its own array.
 *
 * @throws {Error} If there is no such file.
 */
export async function* chunksOf(path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot read "${path}": there is no such file`, { cause: error });
  });
  while (true) {
    const chunk = new Uint8Array(CHUNK_BYTES);
    const count = await file.read(chunk);
    if (count === null) return;
    yield chunk.subarray(0, count);
  }
}

/**
 * Text of bytes, without a byte order mark.
 *
 * @throws {Error} If they are not UTF-8.
 */
export function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new Error(`"${path}" is not UTF-8 text: convert it, or leave it out`, { cause: error });
  }
}

/** Bytes of several arrays in one. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
