import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fillPngs, notebookProblems, publish, readNotebook } from "../../lib/site/mod.ts";
import { plotlyPath } from "../../lib/site/png.ts";
import { VERSION } from "../../lib/files/mod.ts";
import {
  aFigure,
  code,
  hostile,
  markdown,
  notebook,
  ordinary,
  shown,
  written,
} from "./fixtures.ts";
import { table } from "../../lib/display/mod.ts";

// These tests need no browser; those in browser_test.ts do.
const chromium = Deno.env.get("INTERLENS_CHROMIUM");
Deno.test.beforeAll(() => Deno.env.set("INTERLENS_CHROMIUM", ""));
Deno.test.afterAll(() => {
  if (chromium === undefined) Deno.env.delete("INTERLENS_CHROMIUM");
  else Deno.env.set("INTERLENS_CHROMIUM", chromium);
});

async function published(notebooks: Parameters<typeof written>[0]) {
  const { folder, paths } = await written(notebooks);
  const report = await publish({ notebooks: paths, out: `${folder}/site` });
  const page = (name: string) => Deno.readTextFile(`${folder}/site/${name}`);
  return { folder, paths, report, page, clean: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("A site has an index, a page a notebook, its notebook, one plotly.js", async () => {
  const site = await published({ "01_a": ordinary(), "02_hostile": hostile() });
  const names = async (path: string) =>
    (await Array.fromAsync(Deno.readDir(`${site.folder}/site/${path}`), (entry) => entry.name))
      .sort();
  assertEquals(await names(""), [
    ".interlens-site",
    "01_a.html",
    "02_hostile.html",
    "assets",
    "index.html",
    "notebooks",
  ]);
  assertEquals(await names("assets"), ["plotly.min.js", "site.css", "site.js"]);
  assertEquals(await names("notebooks"), ["01_a.ipynb", "02_hostile.ipynb"]);
  assertEquals(site.report.pages.map((page) => page.figures), [1, 2]);
  assert(site.report.bytes < 15e6);
  assert(site.report.pages.every((page) => page.bytes < 200_000));
  await site.clean();
});

Deno.test("A page shows text, code, outputs, contents, neighbours and the notebook", async () => {
  const site = await published({ "01_a": ordinary(), "02_hostile": hostile() });
  const html = await site.page("01_a.html");
  for (
    const part of [
      "<title>01 · A finding · Interlens</title>",
      `<a href="#method-of-this">Method of this</a>`,
      `<span class="hljs-keyword">const</span>`,
      ">red\n100 %</pre>",
      `<b>Figure 1.</b> What is seen.</figcaption>`,
      `aria-label="Twice as much. What is seen."`,
      `href="02_hostile.html#more"`,
      `<a rel="prev" href="index.html">`,
      `<a rel="next" href="02_hostile.html">`,
      `href="notebooks/01_a.ipynb" download`,
    ]
  ) assertStringIncludes(html, part);
  await site.clean();
});

Deno.test("The index shows what each notebook says, its figure, its verdict and limitations", async () => {
  const site = await published({ "01_a": ordinary() });
  const html = await site.page("index.html");
  for (
    const part of [
      `<a href="01_a.html">01 · A finding</a>`,
      "Pairs win by",
      `<figure class="figure">`,
      `<a href="01_a.html#limitations">`,
      ">holds</td>",
      `id="method"`,
      `id="limitations"`,
      `id="run-it-again"`,
    ]
  ) assertStringIncludes(html, part);
  await site.clean();
});

Deno.test("One table of all verdicts takes the place of those of each notebook, its links lead to pages", async () => {
  const verdicts = table([{ notebook: "01_a", verdict: "holds here" }], {
    notebooks: ["notebook"],
  });
  const site = await published({
    "01_a": ordinary(),
    "02_verdicts": notebook(markdown("# 02 · All"), code("table()", shown(verdicts))),
  });
  const html = await site.page("index.html");
  assertStringIncludes(html, `<a href="01_a.html">01_a</a>`);
  assertEquals(html.match(/holds here/g)?.length, 1);
  assertEquals(html.match(/<th [^>]*>verdict<\/th>/g)?.length, 1);
  await site.clean();
});

Deno.test("No page can load from or send to another host, or run what it was given", async () => {
  const site = await published({ "01_a": ordinary(), "02_hostile": hostile() });
  for (const name of ["index.html", "01_a.html", "02_hostile.html"]) {
    const html = await site.page(name);
    assertStringIncludes(html, `content="default-src 'none'; script-src 'self'; `);
    // Scripts: those of the site, and JSON that is never run.
    for (const [script] of html.matchAll(/<script[^>]*>/g)) {
      assert(
        script.startsWith(`<script src="assets/site.js" `) ||
          script === `<script type="application/json">`,
        script,
      );
    }
    const tags = html.replace(/<script type="application\/json">.*?<\/script>/gs, "")
      .match(/<[a-z][^>]*>/gi)!;
    for (const tag of tags) {
      const bare = tag.replace(/(?:alt|aria-label|content|data-dark)="[^"]*"/g, "");
      assert(!/\son\w+=/i.test(bare), tag);
      assert(!/(?:src|srcset|data|action|poster)="(?:https?:)?\/\//i.test(bare), tag);
      assert(!/^<(?:iframe|object|embed|form|base|style|svg)\b/i.test(tag), tag);
      assert(!/href="(?:javascript|data):(?!,")/i.test(bare), tag);
    }
  }
  await site.clean();
});

Deno.test("What cannot be published is listed whole, and the site before it stays", async () => {
  const unfit = notebook(markdown("# A"), { ...code("1"), execution_count: null }, code("2"));
  const failed = notebook(
    code("throw 1", { output_type: "error", ename: "TypeError", evalue: "no" }),
  );
  const { folder, paths } = await written({
    a: ordinary(),
    b: unfit,
    c: failed,
    "d e": ordinary(),
  });
  await publish({ notebooks: [paths[0]], out: `${folder}/site` });
  const before = await Deno.readTextFile(`${folder}/site/index.html`);

  const error = await assertRejects(
    () => publish({ notebooks: [...paths, `${folder}/none.ipynb`], out: `${folder}/site` }),
    Error,
  );
  for (
    const part of [
      "4 problems",
      "b.ipynb: 1 of 2 code cells was not executed (cell 1)",
      "c.ipynb: cell 1 ended with TypeError: no",
      "d e.ipynb: expected a name of letters",
      `none.ipynb": it cannot be read`,
    ]
  ) assertStringIncludes(error.message, part);
  assertEquals(await Deno.readTextFile(`${folder}/site/index.html`), before);
  assertEquals((await Array.fromAsync(Deno.readDir(folder))).length, 5);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("A site replaces an earlier one and nothing else", async () => {
  const { folder, paths } = await written({ a: ordinary(), b: ordinary() });
  await publish({ notebooks: paths, out: `${folder}/site` });
  await publish({ notebooks: [paths[0]], out: `${folder}/site` });
  await assertRejects(() => Deno.stat(`${folder}/site/b.html`), Deno.errors.NotFound);
  await assertRejects(() => publish({ notebooks: paths, out: folder }), Error, "not a site of");
  assert((await Deno.stat(paths[0])).isFile);
  await assertRejects(() => publish({ notebooks: [], out: folder }), RangeError, "at least one");
  await assertRejects(
    () => publish({ notebooks: [paths[0], paths[0]], out: `${folder}/site` }),
    Error,
    "there is a page of this name",
  );
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Without Chromium figures have no PNG, and the report says what to do", async () => {
  const { folder, paths } = await written({ a: ordinary() });
  const before = await Deno.readTextFile(paths[0]);
  const { filled, figures, message } = await fillPngs(paths[0]);
  assertEquals([figures, filled], [1, 0]);
  assertStringIncludes(message!, `install "chromium"`);
  assertEquals(await Deno.readTextFile(paths[0]), before);
  const { messages } = await publish({ notebooks: paths, out: `${folder}/site` });
  assertStringIncludes(messages[0], "a.ipynb: 1 figures are left without a PNG");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("A Chromium that does not start costs the pictures and not the site", async () => {
  const { folder, paths } = await written({ a: ordinary() });
  Deno.env.set("INTERLENS_CHROMIUM", `${folder}/nosuch`);
  const { messages } = await publish({ notebooks: paths, out: `${folder}/site` });
  assertStringIncludes(messages[0], `Cannot start "${folder}/nosuch"`);
  Deno.env.set("INTERLENS_CHROMIUM", "");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("What is not a notebook is refused with its name", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/a.ipynb`, "{");
  await Deno.writeTextFile(`${folder}/b.ipynb`, `{"nbformat": 3, "cells": []}`);
  await assertRejects(() => readNotebook(`${folder}/a.ipynb`), Error, "it is not JSON");
  await assertRejects(() => readNotebook(`${folder}/b.ipynb`), Error, "got format 3");
  await Deno.remove(folder, { recursive: true });
});

/** The first output of a notebook that calls `openStudy`. */
const opening = (version: string, rest = "") =>
  code("openStudy()", {
    output_type: "stream",
    text:
      `Interlens ${version} · Deno 2.9.6 · TensorFlow on <CPU> (no GPU) · profile full${rest}\n`,
  });

Deno.test("A page says what made it, and the index which profile", async () => {
  const artefact = code("train", {
    output_type: "stream",
    text: "sae: loaded, made 2026-01-01 (data/cache/sae/0123456789abcdef)\n",
  });
  const first = opening(VERSION, " · model SmolLM2-135M (embedded)");
  const made = notebook(markdown("# A\n\n## Configuration"), first, artefact, artefact);
  const site = await published({ a: made, b: ordinary() });
  const html = await site.page("a.html");
  for (
    const part of [
      `<a href="#made">What made this page</a>`,
      `<th scope="row">Interlens</th><td>${VERSION}</td>`,
      `<th scope="row">Deno</th><td>2.9.6</td>`,
      `<td>TensorFlow on &lt;CPU&gt; (no GPU)</td>`,
      `<td>full</td>`,
      `<th scope="row">Model</th><td>SmolLM2-135M (embedded)</td>`,
      `<a href="#configuration">`,
      `<td>sae <code>0123456789abcdef</code></td>`,
    ]
  ) assertStringIncludes(html, part);
  assert(!(await site.page("b.html")).includes("What made this page"));
  const index = await site.page("index.html");
  for (const part of ["Executed in profile full", `id="how-to-cite"`, `{${VERSION}}`]) {
    assertStringIncludes(index, part);
  }
  await site.clean();
});

Deno.test("A notebook of another version and a rehearsal are refused, different profiles are said", async () => {
  assertEquals(notebookProblems(notebook(opening("0.0.1")), "a.ipynb"), [
    `a.ipynb: it was executed with Interlens 0.0.1, and this is ${VERSION}; execute it again`,
  ]);
  const rehearsal = notebook(opening(VERSION, ", a rehearsal: its numbers mean nothing"));
  assertEquals(notebookProblems(rehearsal, "a.ipynb"), [
    "a.ipynb: it was executed as a rehearsal, whose numbers mean nothing",
  ]);
  const quick = JSON.parse(
    JSON.stringify(opening(VERSION)).replace("profile full", "profile quick"),
  );
  const site = await published({ a: notebook(opening(VERSION)), b: notebook(quick) });
  assertEquals(site.report.messages.slice(-1), [
    "The notebooks were executed in different profiles: a full, b quick",
  ]);
  await site.clean();
});

Deno.test("The copy to download has no picture beside a figure, and is else the notebook", async () => {
  const drawn = aFigure();
  const picture = { "image/png": { width: 900 } };
  const shownTwice = { ...drawn, data: { ...drawn.data, "image/png": "AAAA" }, metadata: picture };
  const image = { output_type: "display_data", data: { "image/png": "AAAA" }, metadata: {} };
  const site = await published({ a: notebook(code("f", shownTwice), code("i", image)) });
  const copy = JSON.parse(await site.page("notebooks/a.ipynb"));
  assertEquals(copy, notebook(code("f", drawn), code("i", image)));
  await site.clean();
});

Deno.test("The small plotly.js is taken where it draws every figure", () => {
  const small = plotlyPath([{ data: [{ type: "bar" }, { x: [1] }] }]);
  assertEquals(plotlyPath([]), small);
  assertStringIncludes(small, "cartesian");
  assertEquals(
    plotlyPath([{ data: [{ type: "bar" }] }, { data: [{ type: "surface" }] }]),
    plotlyPath(),
  );
});

Deno.test("A notebook without code and an executed one are told apart", () => {
  assertEquals(notebookProblems(notebook(markdown("a")), "x/a.ipynb"), [
    "a.ipynb: there is no code cell",
  ]);
  assertEquals(notebookProblems(ordinary(), "a.ipynb"), []);
  const blank = { ...code(" "), execution_count: null };
  assertEquals(notebookProblems(notebook(code("1"), blank), "a.ipynb"), []);
});
