import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import pl from "nodejs-polars";
import { takeDocuments, wikitext } from "../../lib/corpus/mod.ts";
import { parquetColumn, SLICE_ROWS } from "../../lib/corpus/polars.ts";
import { inScratch } from "../files/scratch.ts";
import { type RepoFiles, withHub } from "../hub/server.ts";

const NAME = "wikitext-103-raw-v1";

/** A parquet file with the one column that the data set has, of several row groups. */
async function parquet(
  rows: (string | null)[],
  { column = "text", rowGroupSize = 7 } = {},
): Promise<Uint8Array> {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "rows.parquet");
  const frame = pl.DataFrame({ [column]: pl.Series(column, rows, pl.Utf8) });
  await frame.lazy().sinkParquet(path, { compression: "snappy", rowGroupSize }).collect();
  const bytes = await Deno.readFile(path);
  await Deno.remove(folder, { recursive: true });
  return bytes;
}

/** Rows of an article as WikiText has them: empty ones around headings. */
function article(title: string, paragraphs: number): string[] {
  return [
    ...["", ` = ${title} = \n`, ""],
    ...Array.from(
      { length: paragraphs },
      (_, i) => ` Paragraph ${i} of ${title} , by @-@ hand . \n`,
    ),
    ...["", " = = Details = = \n", "", ` More of ${title} . \n`],
  ];
}

/** What the library should make of it. */
function textOf(rows: string[]): string {
  return rows.join("");
}

function withWikitext(files: RepoFiles, use: Parameters<typeof withHub>[1]): Promise<void> {
  return withHub({ repos: [{ id: "Salesforce/wikitext", kind: "dataset", files }] }, use);
}

const articles = ["Kettles", "A = B", "The Ferry", "Weir"].map((title, i) => article(title, i + 1));
const rows = articles.flat();
const CUT = articles[0].length + articles[1].length + 4;
const parts = {
  [`${NAME}/train-00000-of-00002.parquet`]: await parquet(rows.slice(0, CUT)),
  [`${NAME}/train-00001-of-00002.parquet`]: await parquet(rows.slice(CUT)),
};

Deno.test("articles start at headings of level one, and one may go on in the next file", async () =>
  await withWikitext(parts, async () => {
    const documents = await Array.fromAsync(wikitext());
    assertEquals(documents.map(({ text }) => text), articles.map(textOf));
    assertEquals(documents.map(({ id }) => id), articles.map((_, i) => `${NAME}/train/${i}`));
    assertEquals(new Set(documents.map(({ group }) => group)), new Set([NAME]));
  }));

Deno.test("what looks like a heading within an article starts none", async () => {
  const formula = [
    "",
    " = Sums = \n",
    "",
    " The sum is \n",
    " = 3 + 4 = \n",
    " and so on . \n",
    " = = = Deep = = = \n",
  ];
  const files = {
    [`${NAME}/test-00000-of-00001.parquet`]: await parquet([...formula, null, ...articles[0]]),
  };
  await withWikitext(files, async () => {
    const texts = (await Array.fromAsync(wikitext({ split: "test" }))).map(({ text }) => text);
    assertEquals(texts, [textOf(formula), textOf(articles[0])]);
  });
});

Deno.test("only the files of the split are fetched, and a second reading fetches none", async () =>
  await withWikitext({
    ...parts,
    [`${NAME}/validation-00000-of-00001.parquet`]: await parquet(articles[2]),
    "wikitext-2-v1/validation-00000-of-00001.parquet": await parquet(articles[3]),
  }, async (hub) => {
    const source = wikitext({ split: "validation" });
    assertEquals(hub.requests, [], "nothing happens before it is read");
    assertEquals((await Array.fromAsync(source)).map(({ text }) => text), [textOf(articles[2])]);
    const stored = () => hub.requests.filter(({ server }) => server === "storage").length;
    assertEquals(stored(), 1);
    await Array.fromAsync(source);
    assertEquals(stored(), 1);
    Deno.env.set("HF_HUB_OFFLINE", "1");
    assertEquals((await Array.fromAsync(source)).length, 1);
  }));

Deno.test("a set of other rows, and a split without all its parts, are refused", async () =>
  await withWikitext({
    [`${NAME}/train-00001-of-00002.parquet`]: await parquet(rows),
    [`${NAME}/test-00000-of-00001.parquet`]: await parquet(["x"], { column: "body" }),
    [`${NAME}/validation-00000-of-00001.parquet`]: "this is no parquet file",
  }, async () => {
    await assertRejects(() => Array.fromAsync(wikitext()), Error, "has 2 parts, but 1 are here");
    await assertRejects(
      () => Array.fromAsync(wikitext({ split: "test" })),
      Error,
      'Cannot read column "text" of',
    );
    await assertRejects(
      () => Array.fromAsync(wikitext({ split: "validation" })),
      Error,
      "Cannot read",
    );
    await assertRejects(
      () => Array.fromAsync(wikitext({ name: "other" })),
      Error,
      "None of the files",
    );
  }));

/** Shows `use` the frames that polars hands out while it runs. */
async function watchingFrames(
  seen: (frame: { height: number }) => void,
  use: () => Promise<void>,
): Promise<void> {
  const { scanParquet } = pl;
  const spy = <T extends object>(lazy: T): T =>
    new Proxy(lazy, {
      get(target, name) {
        const value = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...given: unknown[]) => {
          const result = value.apply(target, given);
          if (name !== "collect" && name !== "collectSync") return spy(result);
          return Promise.resolve(result).then((frame) => {
            seen(frame);
            return frame;
          });
        };
      },
    });
  pl.scanParquet = (...given) => spy(scanParquet(...given));
  try {
    await use();
  } finally {
    pl.scanParquet = scanParquet;
  }
}

Deno.test("a long set is never in memory as a whole, and a sample reads only its part", async () => {
  const long = Array.from({ length: 3000 }, (_, i) => article(`Number ${i}`, 3));
  const all = long.flat();
  const files = {
    [`${NAME}/train-00000-of-00001.parquet`]: await parquet(all, { rowGroupSize: 1000 }),
  };
  const heights: number[] = [];
  await withWikitext(files, () =>
    watchingFrames(({ height }) => heights.push(height), async () => {
      let found = 0;
      for await (const { text } of wikitext()) assertEquals(text, textOf(long[found++]));
      assertEquals(found, long.length);
      assertEquals(heights.reduce((sum, height) => sum + height, 0), all.length);
      assert(heights.every((height) => height <= SLICE_ROWS), `${heights}`);

      heights.length = 0;
      const tokenizer = { encode: (text: string) => text.split(" ").map(Number) };
      const taken = await takeDocuments(wikitext(), { tokens: 2000, tokenizer });
      assertEquals(taken.map(({ text }) => text), long.slice(0, taken.length).map(textOf));
      const counts = taken.map(({ text }) => tokenizer.encode(text).length);
      const total = counts.reduce((sum, count) => sum + count, 0);
      assert(total >= 2000 && total - counts.at(-1)! < 2000);
      assertEquals(heights, [SLICE_ROWS]);
    }));
});

Deno.test("reading takes less memory than the text that was read", () =>
  inScratch(async (folder) => {
    const path = join(folder, "long.parquet");
    const row = "A row of some length, as those of a corpus are. ".repeat(10);
    const rows = Array.from({ length: 20 * SLICE_ROWS }, (_, i) => `${i} ${row}`);
    await Deno.writeFile(path, await parquet(rows, { rowGroupSize: SLICE_ROWS }));
    const before = Deno.memoryUsage().rss;
    let most = 0;
    let bytes = 0;
    for (let pass = 0; pass < 10; pass++) {
      for await (const text of parquetColumn(path, "text")) bytes += text!.length;
      most = Math.max(most, Deno.memoryUsage().rss - before);
    }
    assertEquals(bytes, 10 * rows.join("").length);
    assert(most < bytes / 2, `${most} bytes more for ${bytes} bytes of text`);
  }));
