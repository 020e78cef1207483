import { assert, assertEquals } from "@std/assert";
import { join, relative } from "node:path";
import { run } from "../../lib/cli/command.ts";
import { ROOT } from "../../lib/files/mod.ts";

/** A folder of `lib` imports from folders before it in this list, and from nothing after it. */
const ORDER = [
  ...["display", "files", "storage", "hub", "weights", "tokenizer", "tensor", "metrics"],
  ...["training", "model", "corpus", "activations", "dictionary", "interaction", "evaluation"],
  ...["analysis", "study", "cluster", "site", "cli"],
];

const TOP_LEVEL = [
  ...["README.md", "LICENSE", "deno.json", "deno.lock"],
  ...["lib", "notebooks", "data", "tests"],
];

const MAXIMUM_NOTEBOOK_BYTES = 1_000_000;

async function* files(folder: string, ending: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) {
      if (!entry.name.startsWith(".")) yield* files(path, ending);
    } else if (entry.name.endsWith(ending)) yield path;
  }
}

interface Cell {
  cell_type: string;
  source: string | string[];
  outputs?: { output_type: string }[];
}

async function notebooks(): Promise<{ name: string; text: string; code: Cell[] }[]> {
  const folder = join(ROOT, "notebooks");
  if (!await Deno.stat(folder).catch(() => undefined)) return [];
  const found = [];
  for await (const path of files(folder, ".ipynb")) {
    const text = await Deno.readTextFile(path);
    const code = (JSON.parse(text).cells as Cell[]).filter((cell) => cell.cell_type === "code");
    found.push({ name: relative(ROOT, path), text, code });
  }
  return found;
}

/** Code without its comments and the examples in them. */
function withoutComments(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

Deno.test("a folder of lib imports only from folders above it", async () => {
  const wrong: string[] = [];
  for await (const path of files(join(ROOT, "lib"), ".ts")) {
    const place = relative(join(ROOT, "lib"), path);
    const folder = place.includes("/") ? place.split("/")[0] : undefined;
    const code = withoutComments(await Deno.readTextFile(path));
    for (const [, specifier] of code.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      if (specifier.endsWith("/deno.json")) continue;
      const target = relative(join(ROOT, "lib"), join(path, "..", specifier)).split("/")[0];
      const allowed = folder === undefined
        ? target !== "cli" && ORDER.includes(target)
        : target === folder || ORDER.indexOf(target) < ORDER.indexOf(folder);
      if (!allowed || !ORDER.includes(target)) wrong.push(`${place} imports ${specifier}`);
    }
    if (folder !== undefined && !ORDER.includes(folder)) {
      wrong.push(`${place} is in no known folder`);
    }
  }
  assertEquals(wrong, []);
});

Deno.test("tensors are read asynchronously in lib and in notebooks", async () => {
  const synchronous = /\.(dataSync|arraySync|print)\(/;
  const wrong: string[] = [];
  for await (const path of files(join(ROOT, "lib"), ".ts")) {
    const code = withoutComments(await Deno.readTextFile(path));
    if (synchronous.test(code)) wrong.push(relative(ROOT, path));
  }
  for (const { name, code } of await notebooks()) {
    const source = code.map((cell) => [cell.source].flat().join("")).join("\n");
    if (synchronous.test(withoutComments(source))) wrong.push(name);
  }
  assertEquals(wrong, []);
});

Deno.test("notebooks are small, executed without an error, and name no place of a machine", async () => {
  for (const { name, text, code } of await notebooks()) {
    const bytes = new TextEncoder().encode(text).length;
    assert(bytes <= MAXIMUM_NOTEBOOK_BYTES, `${name} has ${bytes} bytes`);
    const outputs = code.flatMap((cell) => cell.outputs ?? []);
    assert(outputs.length > 0, `${name} was not executed`);
    assert(outputs.every((output) => output.output_type !== "error"), `${name} holds an error`);
    assert(!text.includes(ROOT), `${name} names "${ROOT}"`);
  }
});

Deno.test("the top level holds what the layout names and nothing else", async () => {
  const tracked = await run("git", ["ls-files"]).catch(() => "");
  const top = new Set(tracked.split("\n").filter(Boolean).map((path) => path.split("/")[0]));
  const strange = [...top].filter((name) => !name.startsWith(".") && !TOP_LEVEL.includes(name));
  assertEquals(strange, []);
});
