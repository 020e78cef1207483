import { assert, assertEquals, assertThrows } from "@std/assert";
import pl from "nodejs-polars";
import { formatNumber, JUPYTER_DISPLAY, table } from "../../lib/display/mod.ts";

Deno.test("A table rounds a column to one number of decimals and aligns it at the right", () => {
  const shown = table([{ name: "a", v: 123.456 }, { name: "b", v: 1.5 }, { name: "c", v: null }]);
  assertEquals(shown.cells, [["a", "123.5"], ["b", "1.5"], ["c", ""]]);
  assertEquals(shown.numeric, [false, true]);
  assertEquals(
    shown.toString(),
    ["name      v", "────  ─────", "a     123.5", "b       1.5", "c", "3 rows × 2 columns"]
      .join("\n"),
  );
});

Deno.test("A table never shows a small number as 0", () => {
  assertEquals(table([{ v: 1234.5 }, { v: 0.00012 }, { v: 0 }]).cells, [["1235"], ["1.2e-4"], [
    "0",
  ]]);
  assertEquals(table([{ v: 1e-9 }, { v: -2.5e-7 }]).cells, [["1e-9"], ["-2.5e-7"]]);
});

Deno.test("A table keeps whole numbers whole, and names what is not a number", () => {
  assertEquals(
    table([{ v: 12345 }, { v: NaN }, { v: -7 }, { v: Infinity }]).cells.flat(),
    ["12,345", "NaN", "-7", "Infinity"],
  );
  assertEquals(table([{ v: 12345678901234567890n }]).cells, [["12,345,678,901,234,567,890"]]);
});

Deno.test("A table shows at most the rows asked for and says how many there are", () => {
  const rows = Array.from({ length: 12_345 }, (_, i) => ({ i }));
  const shown = table(rows);
  assertEquals(shown.cells.length, 20);
  assertEquals(shown.shape, "First 20 of 12,345 rows × 1 column");
  assertEquals(table(rows, { maxRows: 3 }).cells, [["0"], ["1"], ["2"]]);
  assertEquals(table([]).shape, "0 rows × 0 columns");
});

Deno.test("A table unites the columns of its rows", () => {
  const shown = table([{ a: 1 }, { b: "x" }]);
  assertEquals(shown.columns, ["a", "b"]);
  assertEquals(shown.cells, [["1", ""], ["", "x"]]);
});

Deno.test("A table of a polars frame is that of its rows", () => {
  const rows = [{ genre: "news", tokens: 1200, share: 0.25 }, {
    genre: "<b>",
    tokens: 7,
    share: null,
  }];
  const frame = pl.DataFrame({
    genre: rows.map((r) => r.genre),
    tokens: rows.map((r) => r.tokens),
    share: rows.map((r) => r.share),
  });
  assertEquals(table(frame).toString(), table(rows).toString());
  assertEquals(table(frame, { maxRows: 1 }).shape, "First 1 of 2 rows × 3 columns");
});

Deno.test("A table gives Jupyter HTML and text and nothing else", () => {
  const bundle = table([{ a: 1 }], { caption: "One & only" })[JUPYTER_DISPLAY]();
  assertEquals(Object.keys(bundle), ["text/html", "text/plain"]);
  assert(String(bundle["text/html"]).includes("One &amp; only"));
  assertEquals(Deno.inspect(table([{ a: 1 }])), "a\n─\n1\n1 row × 1 column");
});

Deno.test("A terminal table cannot be broken or coloured by its cells", () => {
  const text = table([{ token: "a\nb\t\x1b[31m" }]).toString();
  assertEquals(text.split("\n")[2], "a↵b→·[31m");
});

Deno.test("A table refuses options that show nothing", () => {
  assertThrows(() => table([], { maxRows: 0 }), RangeError, "maxRows of at least 1");
  assertThrows(() => table([], { digits: 0 }), RangeError, "from 1 to 15");
});

Deno.test("formatNumber keeps the digits before the point", () => {
  assertEquals([0, 1, -2.5, 99999.7, 0.5, 1e20, -0.00012345].map((v) => formatNumber(v)), [
    "0",
    "1",
    "-2.5",
    "100,000",
    "0.5",
    "1e20",
    "-1.234e-4",
  ]);
});

Deno.test("a cell links to a notebook only if it is a plain name in a column of notebooks", () => {
  const shown = table([
    { notebook: "02_sae", note: "02_sae" },
    { notebook: "../x", note: "" },
    { notebook: 'a" onclick="b', note: "" },
  ], { notebooks: ["notebook"] });
  const html = String(shown[JUPYTER_DISPLAY]()["text/html"]);
  assertEquals(html.match(/<a [^>]*>/g), ['<a href="02_sae.ipynb">']);
});
