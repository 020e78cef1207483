import { assertEquals } from "@std/assert";
import { cacheDir, ROOT, VERSION } from "../../lib/files/mod.ts";

function withCache(value: string | undefined, use: () => void): void {
  const before = Deno.env.get("INTERLENS_CACHE");
  const set = (v: string | undefined) =>
    v === undefined ? Deno.env.delete("INTERLENS_CACHE") : Deno.env.set("INTERLENS_CACHE", v);
  set(value);
  try {
    use();
  } finally {
    set(before);
  }
}

Deno.test("the cache lies in data/cache of the repository unless INTERLENS_CACHE says otherwise", () => {
  withCache(undefined, () => assertEquals(cacheDir("a", "b"), `${ROOT}/data/cache/a/b`));
  withCache("/elsewhere", () => assertEquals(cacheDir("a", "b"), "/elsewhere/a/b"));
});

Deno.test("VERSION is the version in deno.json", async () => {
  assertEquals(VERSION, JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`)).version);
});
