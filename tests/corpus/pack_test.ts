import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { drawSequences, fromTexts, packSequences } from "../../lib/corpus/mod.ts";

const BOS = 0;
const letters = {
  bosId: BOS,
  encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0) - 96),
};
const texts = ["abcdefg", "h", "ijk", "lmnopqrstuvwxyz"];
const documents = fromTexts(texts);

Deno.test("BOS is the first token of every sequence and nowhere else", () => {
  for (const { tokens } of packSequences(documents, letters, { contextLength: 4 })) {
    assertEquals(tokens.indexOf(BOS), 0);
    assertEquals(tokens.lastIndexOf(BOS), 0);
  }
});

Deno.test("sequences of a document put together are the document, and none spans two", () => {
  for (const contextLength of [2, 3, 4, 5, 128]) {
    const sequences = packSequences(documents, letters, { contextLength });
    documents.forEach(({ text }, document) => {
      const own = sequences.filter((sequence) => sequence.document === document);
      assertEquals(own.flatMap(({ tokens }) => tokens.slice(1)), letters.encode(text));
      assertEquals(own.map(({ start }) => start), own.map((_, i) => i * (contextLength - 1)));
    });
  }
});

Deno.test("only the last sequence of a document is shorter than the context", () => {
  const lengths = packSequences(documents, letters, { contextLength: 4 })
    .map(({ tokens }) => tokens.length);
  assertEquals(lengths, [4, 4, 2, 2, 4, 4, 4, 4, 4, 4]);
});

Deno.test("drawing gives every sequence of packing once, in an order that the seed decides", () => {
  const plain = packSequences(documents, letters, { contextLength: 4 });
  const draw = (seed: number) => [...drawSequences(documents, letters, { contextLength: 4, seed })];
  const inOrder = draw(5).sort((a, b) => a.document - b.document || a.start - b.start);
  assertEquals(inOrder, plain);
  assertEquals(draw(5), draw(5));
  assertNotEquals(draw(5), draw(6));
  assertEquals(packSequences(documents, letters, { contextLength: 4, seed: 5 }), draw(5));
});

Deno.test("every document has its turn before any has its second", () => {
  const drawn = [...drawSequences(documents, letters, { contextLength: 4, seed: 0 })]
    .map(({ document }) => document);
  assertEquals(drawn.slice(0, 4).toSorted(), [0, 1, 2, 3]);
  assertEquals(drawn.slice(4, 6).toSorted(), [0, 3]);
  assertEquals(drawn.slice(6, 8).toSorted(), [0, 3]);
  assertEquals(drawn.slice(8), [3, 3]);
});

Deno.test("a document is encoded only when its first turn comes", () => {
  let encoded = 0;
  const counting = { bosId: BOS, encode: (text: string) => (encoded++, letters.encode(text)) };
  const drawn = drawSequences(documents, counting, { contextLength: 4, seed: 0 });
  drawn.next();
  drawn.next();
  assertEquals(encoded, 2);
});

Deno.test("what cannot be packed is refused, naming the document", () => {
  const pack = (contextLength: number) => packSequences(documents, letters, { contextLength });
  for (const contextLength of [1, 0, -3, 2.5, NaN]) {
    assertThrows(() => pack(contextLength), RangeError, `sequences of ${contextLength} tokens`);
  }
  assertThrows(() => packSequences([], letters), RangeError, "The corpus is empty");
  const silent = { bosId: BOS, encode: (text: string) => text === "h" ? [] : [1] };
  assertThrows(() => packSequences(documents, silent), RangeError, '"text/1" has no tokens');
  const withBos = { bosId: BOS, encode: () => [BOS, 1] };
  assertThrows(() => packSequences(documents, withBos), RangeError, "put BOS");
});
