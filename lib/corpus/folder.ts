/**
 * Documents from a folder of text files.
 *
 * @module
 */
import { basename, dirname, extname, join, resolve } from "node:path";
import { decode } from "./bytes.ts";
import { type DocumentSource, sourceOf } from "./source.ts";

/**
 * The text files of a folder and of those in it, in the order of their names; each is a document,
 * and one is in memory at a time. A document's id is the name of the folder and the path in it; its
 * group is the folder that the file lies in. Files without text and names that start with "." are
 * left out.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fromFolder } from "interlens";
 *
 * const folder = await Deno.makeTempDir();
 * await Deno.mkdir(`${folder}/news`);
 * await Deno.writeTextFile(`${folder}/news/first.txt`, "The ferry was late.");
 * const documents = await Array.fromAsync(fromFolder(folder, { name: "mine" }));
 * assertEquals(documents, [
 *   { id: "mine/news/first.txt", text: "The ferry was late.", group: "mine/news" },
 * ]);
 * await Deno.remove(folder, { recursive: true });
 * ```
 *
 * @param path The folder.
 * @param options.extensions Endings of the files to read; default `[".txt"]`.
 * @param options.name Start of every id; default the name of the folder.
 * @throws {Error} While reading: if there is no such folder, none of its files has such an ending, or
 * one is not UTF-8.
 */
export function fromFolder(
  path: string,
  { extensions = [".txt"], name = basename(resolve(path)) }: {
    extensions?: readonly string[];
    name?: string;
  } = {},
): DocumentSource {
  return sourceOf(async function* () {
    let files = 0;
    for await (const file of filesBelow(path, "")) {
      if (!extensions.includes(extname(file))) continue;
      files++;
      const text = decode(await Deno.readFile(join(path, file)), join(path, file));
      if (text.trim() === "") continue;
      const id = `${name}/${file}`;
      yield { id, text, group: dirname(id) };
    }
    if (files === 0) {
      const endings = extensions.map((ending) => `"${ending}"`).join(" or ");
      throw new Error(`The folder "${path}" has no file that ends in ${endings}`);
    }
  });
}

/** Paths of files below a folder, parts separated by "/"; links to folders are not followed. */
async function* filesBelow(root: string, below: string): AsyncGenerator<string> {
  const entries: Deno.DirEntry[] = [];
  try {
    for await (const entry of Deno.readDir(join(root, below))) entries.push(entry);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot read "${root}": there is no such folder`, { cause: error });
  }
  entries.sort((a, b) => a.name < b.name ? -1 : 1);
  for (const { name, isDirectory, isFile } of entries) {
    if (name.startsWith(".")) continue;
    const path = below === "" ? name : `${below}/${name}`;
    if (isDirectory) yield* filesBelow(root, path);
    // A link counts if it leads to a file, as those of the hub's cache do.
    else if (isFile || (await Deno.stat(join(root, path)).catch(() => undefined))?.isFile) {
      yield path;
    }
  }
}
