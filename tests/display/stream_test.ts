import { assertEquals, assertRejects } from "@std/assert";
import { collect, streamBundle } from "../../lib/display/stream.ts";

function recorder() {
  const shown: { text: string; again: boolean }[] = [];
  const show = (text: string, again: boolean) => Promise.resolve(void shown.push({ text, again }));
  return { shown, show };
}

async function* pieces(...texts: string[]): AsyncGenerator<string> {
  for (const text of texts) yield await Promise.resolve(text);
}

Deno.test("a stream is one display that ends with the whole text", async () => {
  const { shown, show } = recorder();
  assertEquals(await collect(pieces("One", " lamp", " flickered"), show), "One lamp flickered");
  assertEquals(shown[0], { text: "One", again: false });
  assertEquals(shown.at(-1), { text: "One lamp flickered", again: true });
});

Deno.test("what was written before an error stays to be seen", async () => {
  async function* broken() {
    yield await Promise.resolve("One");
    throw new Error("the lamp broke");
  }
  const { shown, show } = recorder();
  await assertRejects(() => collect(broken(), show), Error, "the lamp broke");
  assertEquals(shown.at(-1)!.text, "One");
});

Deno.test("a stream of nothing is shown once, empty", async () => {
  const { shown, show } = recorder();
  assertEquals(await collect(pieces(), show), "");
  assertEquals(shown, [{ text: "", again: false }]);
});

Deno.test("markup in a stream is shown and not obeyed", () => {
  const { "text/html": html } = streamBundle("<script>alert(1)</script>", "<img src=x>");
  assertEquals(/<script|<img/.test(`${html}`), false);
});
