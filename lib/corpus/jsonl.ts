/**
 * Documents from a file with one JSON object a line.
 *
 * @module
 */
import { basename } from "node:path";
import { chunksOf, decode, joined } from "./bytes.ts";
import { type DocumentSource, sourceOf } from "./source.ts";

const NEWLINE = 10;

/**
 * One field of a JSON Lines file: every line is a document, and one is parsed at a time. Its id
 * ends in the number of its line, from 1 on. Empty lines, and lines whose field is null or has no
 * text, are left out.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromJsonl } from "interlens";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, '{"text": "One."}\n\n{"text": "Two.", "year": 1999}\n');
 * const documents = await Array.fromAsync(fromJsonl(path, { field: "text", name: "mine" }));
 * assertEquals(documents.map(({ id, text }) => [id, text]), [["mine/1", "One."], ["mine/3", "Two."]]);
 * await Deno.remove(path);
 * ```
 *
 * @param path The file.
 * @param options.field Field that holds the text.
 * @param options.name Start of every id, and the group; default the name of the file.
 * @throws {Error} While reading, naming the line: if it is no JSON object, has not the field, or the
 * field is no string; if there is no such file, or it is not UTF-8.
 */
export function fromJsonl(
  path: string,
  { field, name = basename(path) }: { field: string; name?: string },
): DocumentSource {
  return sourceOf(async function* () {
    let number = 0;
    for await (const line of linesOf(path)) {
      number++;
      if (line.trim() === "") continue;
      const text = textOf(line, field, `Line ${number} of "${path}"`);
      if (text.trim() !== "") yield { id: `${name}/${number}`, text, group: name };
    }
  });
}

function textOf(line: string, field: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`${where} is no JSON: expected an object a line`, { cause: error });
  }
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, field)) {
    const fields = Object.keys(value ?? {}).map((known) => `"${known}"`).join(", ");
    throw new Error(`${where} has no field "${field}": it has ${fields || "none"}`);
  }
  const text = (value as Record<string, unknown>)[field] ?? "";
  if (typeof text === "string") return text;
  throw new Error(`${where} has a ${typeof text} in the field "${field}": expected a string`);
}

/** Lines of a text file, without what ends them. */
async function* linesOf(path: string): AsyncGenerator<string> {
  let open: Uint8Array[] = [];
  for await (const chunk of chunksOf(path)) {
    let start = 0;
    for (let end; (end = chunk.indexOf(NEWLINE, start)) >= 0; start = end + 1) {
      yield decode(joined([...open, chunk.subarray(start, end)]), path);
      open = [];
    }
    open.push(chunk.subarray(start));
  }
  yield decode(joined(open), path);
}
