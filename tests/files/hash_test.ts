import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import { canonicalJson, configHash, sha256, sha256File } from "../../lib/files/mod.ts";
import { inScratch } from "./scratch.ts";

// FIPS 180-4, examples.
const OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

Deno.test("sha256 gives the published digest of text and of bytes", async () => {
  assertEquals(await sha256("abc"), OF_ABC);
  assertEquals(await sha256(new Uint8Array([0x61, 0x62, 0x63])), OF_ABC);
  assertEquals(await sha256(new Uint8Array([0, 0x61, 0x62, 0x63]).subarray(1)), OF_ABC);
});

Deno.test("sha256File agrees with sha256 across chunks", () =>
  inScratch(async (folder) => {
    const bytes = Uint8Array.from({ length: (1 << 20) + 17 }, (_, i) => i * 31);
    await Deno.writeFile(`${folder}/file`, bytes);
    assertEquals(await sha256File(`${folder}/file`), await sha256(bytes));
  }));

Deno.test("configHash does not depend on the order of keys, at any depth", () => {
  const a = { sae: { k: 32, dSae: 512 }, seeds: [1, 2] };
  const b = { seeds: [1, 2], sae: { dSae: 512, k: 32 } };
  assertEquals(configHash(a), configHash(b));
  assertMatch(configHash(a), /^[0-9a-f]{16}$/);
});

Deno.test("configHash tells apart what JSON tells apart", () => {
  const values = [{}, [], null, 0, "0", false, "", { a: null }, { a: 0 }, { b: 0 }, [0], [[0]]];
  assertEquals(new Set(values.map(configHash)).size, values.length);
  assertNotEquals(configHash([1, 2]), configHash([2, 1]));
});

Deno.test("configHash counts an undefined key as absent", () => {
  assertEquals(configHash({ a: 1, b: undefined }), configHash({ a: 1 }));
});

Deno.test("configHash names the field that is not plain data", () => {
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  const refused: [unknown, string][] = [
    [{ sae: { learningRate: NaN } }, '"sae.learningRate" is NaN'],
    [{ steps: Infinity }, '"steps" is Infinity'],
    [{ list: [1, undefined] }, '"list.1" is undefined'],
    // deno-lint-ignore no-sparse-arrays
    [{ list: [1, , 2] }, '"list.1" is undefined'],
    [{ loss: () => 0 }, '"loss" is a function'],
    [{ mean: new Float32Array(2) }, '"mean" is a Float32Array'],
    [{ when: new Date(0) }, '"when" is a Date'],
    [cycle, '"self" refers to an object that contains it'],
    [undefined, "The configuration is undefined"],
  ];
  for (const [value, message] of refused) {
    assertThrows(() => configHash(value), TypeError, message);
  }
});

Deno.test("canonicalJson is JSON", () => {
  const value = { b: ['"', "é", 1e-7], a: { c: null, d: true } };
  assertEquals(JSON.parse(canonicalJson(value)), value);
  assertEquals(canonicalJson({ b: 1, a: [2] }), '{"a":[2],"b":1}');
});
