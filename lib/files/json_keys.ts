/**
 * What `JSON.parse` does not say: that an object names a key twice. It keeps the last value and
 * drops the others, so a file could describe one tensor to a checker and another to a reader.
 *
 * @module
 */

/**
 * The first key that an object of a JSON text has twice; undefined if there is none.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { repeatedKey } from "./json_keys.ts";
 *
 * assertEquals(repeatedKey('{"a": {"b": "a"}, "b": ["a", "a"]}'), undefined);
 * assertEquals(repeatedKey('{"a": 1, "\\u0061": 2}'), "a");
 * ```
 *
 * @param json A text that `JSON.parse` takes.
 */
export function repeatedKey(json: string): string | undefined {
  const objects: Set<string>[] = [];
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === "{") objects.push(new Set());
    else if (character === "}") objects.pop();
    else if (character === '"') {
      const start = at;
      while (json[++at] !== '"') if (json[at] === "\\") at++;
      let next = at + 1;
      while (" \t\n\r".includes(json[next])) next++;
      if (json[next] !== ":") continue;
      const key: string = JSON.parse(json.slice(start, at + 1));
      const keys = objects.at(-1)!;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
}
