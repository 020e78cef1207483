import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse, serialize } from "parse5";
import { cleanHtml, MarkdownPage } from "../../lib/site/mod.ts";
import { cleanMarkdown, textOf } from "../../lib/site/sanitize.ts";
import { JUPYTER_DISPLAY, table } from "../../lib/display/mod.ts";
import { HOSTILE } from "./fixtures.ts";

const FORBIDDEN =
  /<(?:script|style|iframe|svg|math|form|input|link|meta|base|object|embed)\b|\son\w+\s*=|javascript:|src="http/i;

Deno.test("Clean HTML has nothing that runs or loads, whatever it was made from", () => {
  const texts = [...HOSTILE, HOSTILE.join(""), `<div title="${HOSTILE[0]}">${HOSTILE[1]}</div>`];
  for (const text of texts) {
    for (const clean of [cleanHtml(text), cleanMarkdown(text), new MarkdownPage().render(text)]) {
      assertEquals(FORBIDDEN.exec(clean), null, clean);
    }
  }
});

Deno.test("Clean HTML stays as it is when it is cleaned again", () => {
  for (const text of HOSTILE) assertEquals(cleanHtml(cleanHtml(text)), cleanHtml(text));
});

Deno.test("Clean HTML cannot close an element of the page around it", () => {
  for (
    const text of [
      "<table><div><table></table></div></table>",
      "</div></main><p>a",
      "<b><p>a</b></p>",
      "<li></ul></ol>a",
      HOSTILE.join(""),
    ]
  ) {
    const page = serialize(parse(`<main><div>${cleanHtml(text)}</div><i></i></main>`));
    assertStringIncludes(page, "</div><i></i></main></body>");
  }
});

Deno.test("Clean HTML takes no id and no class of the page, and keeps our own", () => {
  assertEquals(
    cleanHtml(`<p id="main" class="skip il-notice">a</p>`),
    `<p class="il-notice">a</p>`,
  );
});

Deno.test("Clean HTML keeps alignment and colours and no other style", () => {
  assertEquals(
    cleanHtml(`<td style="text-align: right; position: fixed; color: #ff0000">1</td>`),
    `<td style="text-align:right;color:#ff0000">1</td>`,
  );
  assertEquals(cleanHtml(`<p style="background: url(https://a.org)">a</p>`), "<p>a</p>");
  assertEquals(cleanHtml(`<p style="color: expression(a)">a</p>`), "<p>a</p>");
});

Deno.test("Our tables survive cleaning: rows, alignment, scope, caption", () => {
  const html = cleanHtml(
    String(table([{ a: 1, b: "<x>" }], { caption: "C" })[JUPYTER_DISPLAY]()["text/html"]),
  );
  for (const part of ["<caption", `scope="col"`, "text-align:right", "&lt;x&gt;", "1 row × 2"]) {
    assert(html.includes(part), html);
  }
});

Deno.test("Embedded pictures stay, those from elsewhere go", () => {
  const png = `<img src="data:image/png;base64,AAAA" alt="a">`;
  assertEquals(cleanHtml(png), png);
  for (const src of ["https://a.org/b.png", "//a.org/b.png", "b.png", "data:text/html,x"]) {
    assertEquals(cleanHtml(`<img src="${src}">`), "");
  }
});

Deno.test("Text of HTML is what a reader sees, formulas as TeX", () => {
  const html = new MarkdownPage().render("**a** < $x^2$ & <i>b</i>");
  assertEquals(textOf(html), "a < x^2 & b");
});
