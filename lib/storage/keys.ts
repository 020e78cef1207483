/**
 * Names of files in a storage.
 *
 * @module
 */

/** How a file is called until it is whole; `lib/files` names its temporary files so. */
const TEMPORARY = /^\..+\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;

/** True for the name of a file that was not whole when its writer was killed, if one was. */
export function isTemporary(name: string): boolean {
  return TEMPORARY.test(name);
}

/** True for what may be the name of a file in a storage, on every system and in every bucket. */
export function isKey(key: string): boolean {
  return key.isWellFormed() && bytes(key) <= 900 && key.split("/").every((part) =>
    // deno-lint-ignore no-control-regex
    part !== "" && !/^\.{1,2}$|^[a-z]:|[\\\x00-\x1f\x7f]/i.test(part) && !isTemporary(part) &&
    // Temporary names are longer by 42, and 255 are allowed.
    bytes(part) <= 210
  );
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/**
 * Refuses a key that could leave its storage, or that not every storage could hold.
 *
 * @throws {RangeError} Naming the key.
 */
export function checkKey(key: string, what = "key of a file in a storage"): void {
  if (isKey(key)) return;
  throw new RangeError(
    `"${key}" is no ${what}: expected names of at most 210 bytes separated by "/", 900 in all, ` +
      `without "..", a drive, a backslash or control characters`,
  );
}

/**
 * Refuses a beginning that no key has.
 *
 * @throws {RangeError} Naming it.
 */
export function checkPrefix(prefix: string): void {
  const [, folder, rest] = /^(?:(.*)\/)?([^/]*)$/s.exec(prefix)!;
  if (folder !== undefined) checkKey(folder, "beginning of a key");
  if (rest !== "" && rest !== "." && rest !== "..") checkKey(rest, "beginning of a key");
}

/** Orders texts by their UTF-8 bytes, as object stores do. */
export function byBytes(a: string, b: string): number {
  const [x, y] = [a, b].map((text) => new TextEncoder().encode(text));
  const length = Math.min(x.length, y.length);
  for (let i = 0; i < length; i++) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
}

/** @throws {RangeError} If a range of bytes is none. */
export function checkRange({ start, end }: { start: number; end: number }): void {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end) {
    return;
  }
  throw new RangeError(
    `Cannot read bytes ${start} to ${end}: expected whole numbers, 0 <= start <= end`,
  );
}
