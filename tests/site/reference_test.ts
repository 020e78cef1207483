import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readDocumentation } from "../../lib/site/reference/doc_json.ts";
import { referencePages } from "../../lib/site/reference/pages.ts";
import { declarationAt, headAt } from "../../lib/site/reference/signature.ts";

Deno.test("the head of a declaration ends where its body begins", () => {
  for (
    const [head, body] of [
      ["function f(): { a: number }", " { return 1; }"],
      ["function f(a: string = '{'): asserts a is string", " {}"],
      ["function f<T extends { a: 1 }>({ a, b }: T = { a: 1 }): Map<T, (x: T) => { b: 2 }>", " {}"],
      ["function* f(/* { */ a: number): Iterable<number>", " {\n}"],
      ["class A<T> extends B<T> implements C", " {\n  b = 1;\n}"],
      ["get a(): number", " { return 1; }"],
      ["a: number", ";\n  b = 2;"],
    ]
  ) assertEquals(headAt(head + body, 0), head);
});

Deno.test("a type ends at its semicolon and an interface at its brace", () => {
  for (
    const type of ["type A =\n  | { a: 1; b: 2 }\n  | 3;", "interface A {\n  a: () => { b: 1 };\n}"]
  ) {
    assertEquals(declarationAt(`export ${type}\n\nconst next = 1;`, 0), type);
  }
});

Deno.test("a member stands without the indentation of its class", () => {
  const source = "class A {\n  a(\n    b: number,\n  ): void {\n  }\n}";
  assertEquals(headAt(source, source.indexOf("a(")), "a(\n  b: number,\n): void");
});

Deno.test("the reference holds every exported name, links them and loads nothing from elsewhere", async () => {
  const modules = await readDocumentation();
  const pages = await referencePages(modules, { reference: "docs/index.html" });
  const index = pages.get("docs/index.html")!;
  const library = await import("../../lib/mod.ts");
  const found = modules.flatMap(({ symbols }) => symbols.map(({ name }) => name));
  assertEquals(Object.keys(library).filter((name) => name !== "tf" && !found.includes(name)), []);
  for (const { name: folder, symbols } of modules) {
    const html = pages.get(`docs/${folder}.html`)!;
    for (const { name } of symbols) {
      assertStringIncludes(index, `<a href="${folder}.html#${name}">`);
      assertStringIncludes(html, `<h2 id="${name}">`);
    }
    assertStringIncludes(html, `<script src="../assets/site.js"`);
    assertStringIncludes(html, `content="default-src 'none'`);
    assert(!/<[^>]*\s(?:src|data)="(?:https?:)?\/\//.test(html), folder);
    // A link leads to a page and a name that there are.
    for (const [, page, name] of html.matchAll(/href="([\w]+\.html)#([^"]+)"/g)) {
      assertStringIncludes(pages.get(`docs/${page}`)!, `id="${name}"`);
    }
  }
  assertStringIncludes(pages.get("docs/display.html")!, `href="files.html"`);
});

Deno.test("every exported function, class and constant has an example that asserts", async () => {
  const library = Object.keys(await import("../../lib/mod.ts"));
  const without: string[] = [];
  for (const { symbols } of await readDocumentation()) {
    for (const { name, declarations } of symbols) {
      if (!library.includes(name)) continue;
      const docs = declarations.flatMap(({ jsDoc, def }) => [
        jsDoc,
        ...[def.constructors, def.properties, def.methods].flatMap((members = []) =>
          members.map((member) => member.jsDoc)
        ),
      ]);
      // An example below a tag belongs to the text of the tag.
      const texts = docs.flatMap((doc) => [doc?.doc, ...(doc?.tags ?? []).map((tag) => tag.doc)]);
      const examples = texts.flatMap((text) => [...(text ?? "").matchAll(/```ts\n(.*?)```/gs)]);
      if (!examples.some(([, code]) => code.includes("assert"))) without.push(name);
    }
  }
  assertEquals(without, []);
});
