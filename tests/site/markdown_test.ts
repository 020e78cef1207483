import { assert, assertEquals } from "@std/assert";
import { MarkdownPage } from "../../lib/site/mod.ts";

const html = (source: string) => new MarkdownPage().render(source);

Deno.test("Formulas become MathML, within a line and by themselves", () => {
  assert(html("with $x_1$ in it").includes("<math "));
  for (const source of ["$$\nx\n- y\n= z\n$$", "$$x - y$$", "text $$x$$ text"]) {
    assert(html(source).includes(`display="block"`), source);
    assert(!html(source).includes("<ul>"), source);
  }
});

Deno.test("Money, escaped signs and code are not formulas", () => {
  for (const source of ["$5 and $6", "\\$a\\$", "`$a$`", "```\n$a$\n```", "a $ b $ c", "$$ open"]) {
    assert(!html(source).includes("<math"), source);
  }
});

Deno.test("A formula that TeX does not know is shown and does not stop the page", () => {
  assert(html("a $\\nosuchthing{$ b").includes("nosuchthing"));
});

Deno.test("Formulas cannot smuggle links or markup", () => {
  const shown = html("$\\href{javascript:alert(1)}{x} <img src=x onerror=y>$");
  assert(!shown.includes("href="), shown);
  assert(!shown.includes("<img"), shown);
});

Deno.test("Headings get addresses that are unique in the page", () => {
  const page = new MarkdownPage();
  page.render("# Data\n\n## Data\n\n## Größe & *Maß*\n\n## 🙂");
  page.render("## Data\n\n## With $x$");
  assertEquals(page.headings.map(({ id }) => id), [
    "data",
    "data-2",
    "größe-maß",
    "section",
    "data-3",
    "with-x",
  ]);
});

Deno.test("Links between notebooks become links between pages, others stay", () => {
  const page = new MarkdownPage(new Map([["02_b.ipynb", "02_b.html"]]));
  const shown = page.render("[a](02_b.ipynb#c) [b](./02_b.ipynb) [c](03.ipynb) [d](https://a.org)");
  assertEquals([...shown.matchAll(/href="([^"]*)"/g)].map((match) => match[1]), [
    "02_b.html#c",
    "02_b.html",
    "03.ipynb",
    "https://a.org",
  ]);
});

Deno.test("Code is coloured, and code of an unknown language is left alone", () => {
  assert(html("```ts\nconst a = 1;\n```").includes(`class="hljs-keyword"`));
  assert(html("```nosuch\na < b\n```").includes("a &lt; b"));
});
