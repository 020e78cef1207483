/**
 * What a program prints, line by line as it comes.
 *
 * @module
 */

/**
 * Lines of a byte stream, without their ends; a last line without an end counts too.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { lines } from "./lines.ts";
 *
 * const stream = new Blob(["one\ntw", "o\nthree"]).stream();
 * assertEquals(await Array.fromAsync(lines(stream)), ["one", "two", "three"]);
 * ```
 */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    for (const line of parts) yield line;
  }
  if (rest) yield rest;
}
