/**
 * SHA-256 of bytes and files, and a short hash that names a configuration.
 *
 * @module
 */
import { createHash } from "node:crypto";

/**
 * SHA-256 of bytes, or of a text as UTF-8, in hexadecimal.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { sha256 } from "interlens";
 *
 * // FIPS 180-4, the message "abc".
 * assertEquals((await sha256("abc")).slice(0, 16), "ba7816bf8f01cfea");
 * ```
 */
export async function sha256(content: Uint8Array | string): Promise<string> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return new Uint8Array(digest).toHex();
}

/**
 * SHA-256 of a file of any size, in hexadecimal; the file is never held in memory.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { sha256, sha256File } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "abc");
 * assertEquals(await sha256File(path), await sha256("abc"));
 * await Deno.remove(path);
 * ```
 *
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const chunk = new Uint8Array(1 << 20);
  for (let count = await file.read(chunk); count !== null; count = await file.read(chunk)) {
    hash.update(chunk.subarray(0, count));
  }
  return hash.digest("hex");
}

/**
 * Sixteen hexadecimal digits that name a configuration: the start of the SHA-256 of its canonical
 * JSON. The order of keys does not matter, and a key whose value is `undefined` counts as absent.
 *
 * ```ts
 * import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
 * import { configHash } from "interlens";
 *
 * assertEquals(configHash({ k: 32, seed: 0 }), configHash({ seed: 0, k: 32, note: undefined }));
 * assertNotEquals(configHash({ k: 32 }), configHash({ k: 33 }));
 * assertThrows(() => configHash({ learningRate: NaN }), TypeError, '"learningRate"');
 * ```
 *
 * @param value Plain data: objects, arrays, strings, finite numbers, booleans and null.
 * @throws {TypeError} If a value has no place in JSON (NaN, a function, `undefined` in an array, a
 * typed array, a cycle): two different configurations would share a name.
 */
export function configHash(value: unknown): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex").slice(0, 16);
}

/**
 * JSON with sorted keys and without white space: equal data give equal text.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { canonicalJson } from "interlens";
 *
 * assertEquals(canonicalJson({ b: [1, "x"], a: null }), '{"a":null,"b":[1,"x"]}');
 * ```
 *
 * @throws {TypeError} If a value has no place in JSON.
 */
export function canonicalJson(value: unknown): string {
  return write(value, [], []);
}

function write(value: unknown, path: string[], above: unknown[]): string {
  if (value === null || typeof value === "string" || typeof value === "boolean") {
    return JSON.stringify(value);
  }
  if (typeof value === "number" && Number.isFinite(value)) return JSON.stringify(value);
  if (typeof value === "object") {
    if (above.includes(value)) throw refusal(path, "refers to an object that contains it");
    const inside = [...above, value];
    if (Array.isArray(value)) {
      // Array.from visits holes too, which `map` would skip.
      const items = Array.from(value, (item, i) => write(item, [...path, `${i}`], inside));
      return `[${items.join(",")}]`;
    }
    const prototype = Object.getPrototypeOf(value);
    if (prototype === null || prototype === Object.prototype) {
      const entries = Object.entries(value as Record<string, unknown>)
        .filter(([, item]) => item !== undefined)
        .sort(([a], [b]) => a < b ? -1 : 1)
        .map(([key, item]) => `${JSON.stringify(key)}:${write(item, [...path, key], inside)}`);
      return `{${entries.join(",")}}`;
    }
    throw refusal(path, `is a ${value.constructor?.name ?? "class instance"}`);
  }
  throw refusal(path, `is ${typeof value === "function" ? "a function" : String(value)}`);
}

function refusal(path: string[], found: string): TypeError {
  const field = path.length === 0 ? "The configuration" : `The field "${path.join(".")}"`;
  return new TypeError(
    `${field} ${found}: a configuration holds only plain objects, arrays, strings, finite ` +
      `numbers, booleans and null`,
  );
}
