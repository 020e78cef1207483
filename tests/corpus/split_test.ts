import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { brown, type Document, fromTexts, splitDocuments } from "../../lib/corpus/mod.ts";

function corpus(sizes: Record<string, number>): Document[] {
  return Object.entries(sizes).flatMap(([group, size]) =>
    Array.from({ length: size }, (_, i) => ({ id: `${group}/${i}`, text: "x", group }))
  );
}

Deno.test("every document is in exactly one split", async () => {
  const documents = await brown();
  const { train, validation, test } = splitDocuments(documents, { seed: 3 });
  const ids = [...train, ...validation, ...test].map(({ id }) => id);
  assertEquals(ids.toSorted(), documents.map(({ id }) => id).toSorted());
});

Deno.test("splits have their shares of the corpus, and of every group to within one document", () => {
  const sizes = { a: 44, b: 27, c: 17, d: 6, e: 1, f: 9, g: 80 };
  const documents = corpus(sizes);
  const shares = { train: 0.7, validation: 0.2, test: 0.1 };
  const splits = splitDocuments(documents, { ...shares, seed: 1 });
  for (const name of ["train", "validation", "test"] as const) {
    const near = (count: number, exact: number) => Math.abs(count - exact) <= 1 + 1e-9;
    assert(near(splits[name].length, shares[name] * documents.length), name);
    for (const [group, size] of Object.entries(sizes)) {
      const count = splits[name].filter((member) => member.group === group).length;
      assert(near(count, shares[name] * size), `${name} has ${count} of ${size} in ${group}`);
    }
  }
});

Deno.test("the seed decides the split, the order of the corpus is kept", () => {
  const documents = corpus({ a: 50, b: 50 });
  const [a, again, other] = [1, 1, 2].map((seed) => splitDocuments(documents, { seed }));
  assertEquals(a, again);
  assertNotEquals(a.test, other.test);
  const places = a.train.map((document) => documents.indexOf(document));
  assertEquals(places, places.toSorted((x, y) => x - y));
});

Deno.test("a split may be left out", () => {
  const { train, validation, test } = splitDocuments(corpus({ a: 10 }), {
    train: 0.5,
    validation: 0,
    test: 0.5,
  });
  assertEquals([train.length, validation.length, test.length], [5, 0, 5]);
});

Deno.test("a corpus or shares that cannot be split are refused", () => {
  assertThrows(() => splitDocuments([]), RangeError, "The corpus is empty");
  assertThrows(() => splitDocuments(corpus({ a: 1, b: 1 })), RangeError, "no document is left");
  const ten = corpus({ a: 10 });
  assertThrows(() => splitDocuments(ten, { train: 0.9 }), RangeError, "add up to 1");
  assertThrows(() => splitDocuments(ten, { train: NaN }), RangeError, "shares of 0 to 1");
  assertThrows(
    () => splitDocuments(ten, { train: 1.2, validation: -0.2, test: 0 }),
    RangeError,
    "shares of 0 to 1",
  );
  assertThrows(() => splitDocuments([ten[0], ten[0]]), RangeError, 'have the id "a/0"');
});

Deno.test("fromTexts numbers its documents and refuses empty ones", () => {
  assertEquals(fromTexts(["a", "b"], { name: "n", group: "g" }), [
    { id: "n/0", text: "a", group: "g" },
    { id: "n/1", text: "b", group: "g" },
  ]);
  assertThrows(() => fromTexts([]), RangeError, "The corpus is empty");
  assertThrows(() => fromTexts(["a", " \n"]), RangeError, 'Document "text/1" is empty');
});
