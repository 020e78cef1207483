import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import pl from "nodejs-polars";
import {
  type Document,
  fromCsv,
  fromFolder,
  fromJsonl,
  fromTexts,
  splitDocuments,
  takeDocuments,
} from "../../lib/corpus/mod.ts";
import { inScratch } from "../files/scratch.ts";

/** Words are the tokens, so that no test can take characters or lines for them. */
const words = { encode: (text: string) => text.split(/\s+/).filter(Boolean).map(() => 1) };

/** Runs with a file of some content. */
function withFile(content: string | Uint8Array, use: (path: string) => Promise<void>) {
  return inScratch(async (folder) => {
    const path = join(folder, "corpus.txt");
    await Deno.writeFile(
      path,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
    await use(path);
  });
}

/** Id and text of all documents. */
async function all(source: AsyncIterable<Document>): Promise<[string, string][]> {
  return (await Array.fromAsync(source)).map(({ id, text }) => [id, text]);
}

Deno.test("a sample ends with the document in which the tokens asked for are reached", async () => {
  const documents = fromTexts(["one two three", "four\nfive", "six", "seven"]);
  for (const [tokens, count] of [[1, 1], [3, 1], [4, 2], [5, 2], [6, 3], [7, 4]]) {
    const taken = await takeDocuments(documents, { tokens, tokenizer: words });
    assertEquals(taken, documents.slice(0, count));
  }
  assertEquals(await takeDocuments(documents, { documents: 2 }), documents.slice(0, 2));
});

Deno.test("a sample reads no further than it must", async () => {
  let given = 0;
  let closed = false;
  async function* endless(): AsyncGenerator<Document> {
    try {
      while (true) {
        yield { id: `n/${given}`, text: await Promise.resolve(`number ${given++}`), group: "n" };
      }
    } finally {
      closed = true;
    }
  }
  const taken = await takeDocuments(endless(), { tokens: 10, tokenizer: words });
  assertEquals([taken.length, given, closed], [5, 5, true]);
});

Deno.test("asking for more than there is says how much there is", async () => {
  const documents = fromTexts(["one two three", "four"]);
  await assertRejects(
    () => takeDocuments(documents, { tokens: 5, tokenizer: words }),
    RangeError,
    "Cannot take 5 tokens: the source has 2 documents with 4 tokens",
  );
  await assertRejects(
    () => takeDocuments(documents, { documents: 3 }),
    RangeError,
    "Cannot take 3 documents: the source has 2 documents",
  );
  for (const tokens of [0, -1, 1.5, NaN, Infinity]) {
    await assertRejects(
      () => takeDocuments(documents, { tokens, tokenizer: words }),
      RangeError,
      `Cannot take ${tokens} tokens`,
    );
  }
});

Deno.test("a sample has no empty documents and no two of one id", async () => {
  const [a, b] = fromTexts(["a", "b"]);
  const empty = { id: "empty", text: " \n", group: "" };
  assertEquals(await takeDocuments([a, empty, b], { documents: 2 }), [a, b]);
  await assertRejects(
    () => takeDocuments([a, b, a], { documents: 3 }),
    RangeError,
    'the id "text/0"',
  );
});

Deno.test("a sample stops when its signal says so", async () => {
  const stop = new AbortController();
  async function* source(): AsyncGenerator<Document> {
    for (let i = 0;; i++) {
      if (i === 3) stop.abort(new DOMException("The run was stopped", "AbortError"));
      yield await Promise.resolve({ id: `${i}`, text: "x", group: "" });
    }
  }
  await assertRejects(
    () => takeDocuments(source(), { documents: 10, signal: stop.signal }),
    DOMException,
    "The run was stopped",
  );
});

Deno.test("a folder gives its text files by path, whatever order the system lists them in", () =>
  inScratch(async (folder) => {
    const files = {
      "b.txt": "Second.",
      "a/deep/x.txt": "First.",
      "c.txt": " \n",
      "d.md": "Not asked for.",
      ".hidden.txt": "Hidden.",
    };
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(join(folder, path, ".."), { recursive: true });
      await Deno.writeTextFile(join(folder, path), text);
    }
    await Deno.symlink(join(folder, "b.txt"), join(folder, "link.txt"));
    await Deno.symlink(folder, join(folder, "loop.txt"));
    const source = fromFolder(folder, { name: "mine" });
    const expected = [
      { id: "mine/a/deep/x.txt", text: "First.", group: "mine/a/deep" },
      { id: "mine/b.txt", text: "Second.", group: "mine" },
      { id: "mine/link.txt", text: "Second.", group: "mine" },
    ];
    assertEquals(await Array.fromAsync(source), expected);
    assertEquals(await Array.fromAsync(source), expected, "it can be read again");
    assertEquals(
      await all(fromFolder(folder, { name: "m", extensions: [".md", ".rst"] })),
      [["m/d.md", "Not asked for."]],
    );
    await assertRejects(
      () => all(fromFolder(folder, { extensions: [".rst"] })),
      Error,
      'in ".rst"',
    );
    await assertRejects(() => all(fromFolder(join(folder, "x"))), Error, "no such folder");
    await Deno.writeFile(join(folder, "a/latin1.txt"), new Uint8Array([0x63, 0xe9]));
    await assertRejects(() => all(source), Error, 'a/latin1.txt" is not UTF-8');
  }));

Deno.test("JSON Lines give a document a line, with ids that empty lines do not shift", () =>
  withFile(
    '\ufeff{"t": "é — one"}\n\n{"t": ""}\r\n{"x": 1, "t": "two\\nlines"}\n{"t": null}\n{"t": "last"}',
    async (path) => {
      assertEquals(await all(fromJsonl(path, { field: "t", name: "n" })), [
        ["n/1", "é — one"],
        ["n/4", "two\nlines"],
        ["n/6", "last"],
      ]);
      const [first] = await all(fromJsonl(path, { field: "t" }));
      assertEquals(first[0], "corpus.txt/1");
    },
  ));

Deno.test("lines longer than what is read at once stay whole", () => {
  const texts = [1, 1 << 20, 3, 3 << 20].map((length, i) => `${i}é`.repeat(length));
  return withFile(texts.map((t) => JSON.stringify({ t })).join("\n"), async (path) => {
    const found = await all(fromJsonl(path, { field: "t" }));
    assertEquals(found.map(([, text]) => text.length), texts.map(({ length }) => length));
    assertEquals(found.every(([, text], i) => text === texts[i]), true);
  });
});

Deno.test("a line that is not what was promised is named", async () => {
  const cases: [string, string][] = [
    ['{"t": "a"}\n{"t": ', "Line 2 of"],
    ['{"u": "a"}', 'has no field "t": it has "u"'],
    ["[1]", 'has no field "t": it has "0"'],
    ["null", 'has no field "t": it has none'],
    ['{"t": 5}', 'has a number in the field "t"'],
  ];
  for (const [content, message] of cases) {
    await withFile(content, async (path) => {
      await assertRejects(() => all(fromJsonl(path, { field: "t" })), Error, message);
    });
  }
  const missing = fromJsonl("/nowhere/at/all.jsonl", { field: "t" });
  await assertRejects(() => all(missing), Error, "no such file");
});

Deno.test("CSV gives a document a row, quoted as RFC 4180 says", () =>
  withFile(
    'n,t\r\n1,plain\r\n2,"a ""quoted"" word, a comma"\r\n3,\r\n4,"two\r\nlines"\r\n5,007\r\n6,""\r\n7,end',
    async (path) => {
      assertEquals(await all(fromCsv(path, { column: "t", name: "n" })), [
        ["n/1", "plain"],
        ["n/2", 'a "quoted" word, a comma'],
        ["n/4", "two\r\nlines"],
        ["n/5", "007"],
        ["n/7", "end"],
      ]);
    },
  ));

Deno.test("a long CSV is cut between records and nowhere else", async () => {
  const texts = Array.from(
    { length: 4000 },
    (_, i) => `${i} "says", on\nseveral\n\n"lines"${"é".repeat((i * 7919) % 9000)}`,
  );
  const csv = "t\n" + texts.map((text) => `"${text.replaceAll('"', '""')}"\n`).join("");
  await withFile(csv, async (path) => {
    const { readCSV } = pl;
    let blocks = 0;
    let most = 0;
    pl.readCSV = (body, options) => {
      blocks++;
      most = Math.max(most, body.length);
      return readCSV(body, options);
    };
    try {
      const found = await all(fromCsv(path, { column: "t", name: "n" }));
      assertEquals(found.length, texts.length);
      assertEquals(
        found.findIndex(([id, text], i) => id !== `n/${i + 1}` || text !== texts[i]),
        -1,
      );
    } finally {
      pl.readCSV = readCSV;
    }
    assertEquals(blocks >= 3, true, "the file is read in several blocks");
    assertEquals(most < 12 << 20, true, "no block holds much more than was asked for");
  });
});

Deno.test("a CSV that cannot be read is named with the reason", async () => {
  const cases: [string, string][] = [
    ["a,b\n1,2\n", 'there is no column "t", it has "a", "b"'],
    ["t,b\n1,2,3\n", "from row 1 on"],
    ['t\n"never closed\n', "from row 1 on"],
    ["", 'there is no column "t"'],
  ];
  for (const [content, message] of cases) {
    await withFile(content, async (path) => {
      await assertRejects(() => all(fromCsv(path, { column: "t" })), Error, message);
    });
  }
  await withFile(
    "t\n",
    async (path) => assertEquals(await all(fromCsv(path, { column: "t" })), []),
  );
});

Deno.test("a sample of a source can be split by document", async () => {
  const source = fromTexts(Array.from({ length: 50 }, (_, i) => `text ${i}`));
  const documents = await takeDocuments(source, { tokens: 60, tokenizer: words });
  const { train, validation, test } = splitDocuments(documents);
  assertEquals([train.length, validation.length, test.length], [24, 3, 3]);
  assertThrows(() => splitDocuments([]), RangeError);
});
