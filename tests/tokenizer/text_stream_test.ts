import { assertEquals } from "@std/assert";
import { TextStream } from "../../lib/tokenizer/mod.ts";

const utf8 = (text: string) => [...new TextEncoder().encode(text)];

/** Every byte a token; each wrong one is a U+FFFD of its own or with its neighbours. */
const bytes = {
  decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(ids)),
};

/** Words as sentencepiece has them: each begins with a space, that of the text is dropped. */
const words = {
  pieces: ["▁", "▁the", "▁lens", "es", "<s>"],
  decode(ids: ArrayLike<number>): string {
    const text = Array.from(ids, (id) => this.pieces[id]).join("").replaceAll("▁", " ");
    return text.startsWith(" ") ? text.slice(1) : text;
  },
};

function piecesOf(stream: TextStream, ids: number[]): string[] {
  return [...ids.map((id) => stream.push(id)), stream.end()];
}

Deno.test("a piece of a stream holds whole characters only", () => {
  assertEquals(piecesOf(new TextStream(bytes), utf8("aé€😀b")), [
    ...["a", "", "é", "", "", "€", "", "", "", "😀", "b"],
    "",
  ]);
});

Deno.test("the pieces of a stream join to the text of all ids", () => {
  const text = "naïve – 👩‍👩‍👧 日本語\n\n".repeat(20);
  assertEquals(piecesOf(new TextStream(bytes), utf8(text)).join(""), text);
  const ids = Array.from({ length: 200 }, (_, i) => [1, 2, 3, 0, 0][i * 7 % 5]);
  assertEquals(piecesOf(new TextStream(words), ids).join(""), words.decode(ids));
  const blank = Array(100).fill(0);
  assertEquals(piecesOf(new TextStream(words), [...blank, 1]).join(""), " ".repeat(100) + "the");
});

Deno.test("a stream keeps the space between what came before and its first word", () => {
  assertEquals(piecesOf(new TextStream(words), [1, 2, 3]), ["the", " lens", "es", ""]);
  assertEquals(piecesOf(new TextStream(words, [1]), [2, 3]), [" lens", "es", ""]);
  assertEquals(piecesOf(new TextStream(words, Array(50).fill(2)), [1]), [" the", ""]);
});

Deno.test("a stream goes on from a character that what came before has begun", () => {
  const [first, ...rest] = utf8("€");
  assertEquals(piecesOf(new TextStream(bytes, [...utf8("a"), first]), rest), ["", "€", ""]);
});

Deno.test("bytes that never become a character are given out, the last of them at the end", () => {
  assertEquals(piecesOf(new TextStream(bytes), [0x80, 0x80, 0x80, 0x80, 0x61]).join(""), "����a");
  const [first, second] = utf8("€");
  assertEquals(piecesOf(new TextStream(bytes), [0x61, first, second]), ["a", "", "", "�"]);
  const stream = new TextStream(bytes);
  const given = Array.from({ length: 1000 }, () => stream.push(0x80)).join("");
  assertEquals(given.length, 997);
  assertEquals(stream.end().length, 3);
});

Deno.test("a stream decodes a bounded number of ids at a time", () => {
  let longest = 0;
  const counting = {
    decode(ids: ArrayLike<number>) {
      longest = Math.max(longest, ids.length);
      return words.decode(ids);
    },
  };
  piecesOf(new TextStream(counting), Array.from({ length: 1000 }, (_, i) => 1 + i % 3));
  assertEquals(longest, 33);
});
