import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { brown } from "../../lib/corpus/mod.ts";
import { brownFrom } from "../../lib/corpus/brown.ts";
import { inScratch } from "../files/scratch.ts";

Deno.test("the Brown Corpus has 500 documents of 15 genres, in the published numbers", async () => {
  const documents = await brown();
  const counts = Map.groupBy(documents, ({ group }) => group);
  // The corpus' manual, table of contents: A 44, B 27, C 17, D 17, E 36, F 48, G 75, H 30, J 80,
  // K 29, L 24, M 6, N 29, P 29, R 9.
  assertEquals(
    [...counts.values()].map((members) => members.length),
    [44, 27, 17, 17, 36, 48, 75, 30, 80, 29, 24, 6, 29, 29, 9],
  );
  assertEquals(new Set(documents.map(({ id }) => id)).size, 500);
});

Deno.test("no document keeps a sign of the notation, and each has about 2,000 words", async () => {
  for (const { id, text } of await brown()) {
    assert(!/``|''|\/(nns?|np|vb[dgn]?|jj|rb|pps)\b/.test(text), `${id} keeps tags or quotes`);
    // A split time (":35.3") is a word.
    assert(!/ [,;:?!)](?!\d)|[(] /.test(text), `${id} has a space before a mark`);
    const words = text.split(/\s+/).length;
    assert(words > 1500 && words < 2700, `${id} has ${words} words`);
  }
});

Deno.test("a document reads as it was printed", async () => {
  const [first] = await brown();
  assertMatch(
    first.text,
    /^The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary election produced "no evidence" that any irregularities took place\.\n\nThe jury further said/,
  );
});

Deno.test("a corpus that is missing or changed is refused", () =>
  inScratch(async (folder) => {
    await assertRejects(() => brownFrom(`${folder}/none`), Error, "0 documents, expected 500");
    for (let i = 0; i < 500; i++) {
      const name = `c${"abcdefghij"[Math.floor(i / 100)]}${`${i % 100}`.padStart(2, "0")}`;
      await Deno.writeTextFile(`${folder}/${name}`, "The/at jury/nn ./.");
    }
    await assertRejects(() => brownFrom(folder), Error, "were changed or cut short");
    await Deno.remove(`${folder}/ca07`);
    await assertRejects(() => brownFrom(folder), Error, "499 documents, expected 500");
  }));
