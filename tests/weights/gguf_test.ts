import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { bytesSource } from "../../lib/weights/byte_source.ts";
import { GgufFile } from "../../lib/weights/mod.ts";
import { f32, ggufBytes, type GgufTensor } from "./gguf_writer.ts";
import { assertRecorded, recorded, recordedPath } from "./recorded.ts";

Deno.test("tensors of every type in a file of gguf-py are what it reads in them", async () => {
  using file = await GgufFile.open(recordedPath("all.gguf"));
  assertEquals(file.names().sort(), Object.keys(recorded("all.gguf")).sort());
  assertEquals(file.files, [recordedPath("all.gguf")]);
  await assertRecorded(file, "all.gguf");
});

Deno.test("metadata of every type are what gguf-py wrote", async () => {
  using file = await GgufFile.open(recordedPath("all.gguf"));
  const expected = {
    "general.architecture": "llama",
    "general.alignment": 64,
    "u8": 255,
    "i8": -128,
    "u16": 65535,
    "i16": -32768,
    "u32": 2 ** 32 - 1,
    "i32": -(2 ** 31),
    "f32": Math.fround(0.1),
    "u64": 2 ** 53 - 1,
    "u64.large": 2n ** 64n - 1n,
    "i64": -(2 ** 53) + 1,
    "f64": 0.1,
    "bool.true": true,
    "bool.false": false,
    "string": "Łódź 😀\n",
    "strings": ["", "a", "\ufeff", "zero\0byte", "日本", "x".repeat(300)],
    "integers": [1, -2, 3],
    "floats": [0.5, -1.5],
    "bools": [true, false],
    "none": undefined,
  };
  for (const [key, value] of Object.entries(expected)) assertEquals(file.get(key), value, key);
  assertEquals(file.number("u8"), 255);
  assertEquals(file.number("none", 3), 3);
  assertEquals(file.list("integers"), [1, -2, 3]);
  assertThrows(() => file.number("u64.large"), Error, 'no "u64.large" that is a number');
  assertThrows(() => file.number("none"), Error, 'no "none" that is a number');
  assertThrows(() => file.list("u8"), Error, 'no "u8" that is a list');
});

function open(bytes: Uint8Array): GgufFile {
  return GgufFile.from(bytesSource("file.gguf", bytes));
}

const GOOD = ggufBytes({ key: 7, list: ["ab", "c"] }, {
  x: f32([2, 2], [1, 2, 3, 4]),
  y: f32([3], [5, 6, 7]),
});

/** {@linkcode GOOD} with the bytes of `from` replaced, where they first stand. */
function changed(from: number[], to: number[]): Uint8Array {
  const at = GOOD.findIndex((_, i) => from.every((byte, j) => GOOD[i + j] === byte));
  assert(at >= 0 && from.length === to.length);
  return GOOD.with(at, to[0]).map((byte, i) => to[i - at] ?? byte);
}

const ascii = (text: string) => [...new TextEncoder().encode(text)];

Deno.test("version 2 is read as version 3 is", async () => {
  using file = open(changed([...ascii("GGUF"), 3], [...ascii("GGUF"), 2]));
  assertEquals(file.get("list"), ["ab", "c"]);
  assertEquals(await file.read("x", [2, 2]), new Float32Array([1, 2, 3, 4]));
  assertEquals(await file.readRows("x", 1, 1), new Float32Array([3, 4]));
});

Deno.test("a long list of strings is read whole, a string longer than a batch among them", () => {
  const strings = Array.from(
    { length: 50_000 },
    (_, i) => i === 700 ? "é".repeat(70_000) : `Ġ${i}`,
  );
  using file = open(ggufBytes({ strings: [...strings, "a\0b"] }, {}));
  assertEquals(file.list("strings"), [...strings, "a\0b"]);
});

Deno.test("numbers and strings that lie across a window are read whole", () => {
  const metadata = Object.fromEntries(
    Array.from({ length: 70_000 }, (_, i) => [`key ${i}`, i % 2 ? i : `text ${i}`]),
  );
  using file = open(ggufBytes(metadata, {}));
  for (const [key, value] of Object.entries(metadata)) assertEquals(file.get(key), value);
});

Deno.test("a file cut anywhere is refused, naming byte, metadata or tensor", () => {
  for (let length = 0; length < GOOD.length - 20; length++) {
    const error = assertThrows(() => open(GOOD.subarray(0, length)), Error, '"file.gguf"');
    assert(/byte|tensor/.test(error.message), error.message);
  }
  open(GOOD.subarray(0, GOOD.length - 20)); // only padding is missing
});

Deno.test("a file that is not what is read here is refused by name", () => {
  const cases: [Uint8Array, string][] = [
    [changed(ascii("GGUF"), ascii("GGML")), "are not the letters GGUF"],
    [changed([70, 3, 0, 0, 0], [70, 1, 0, 0, 0]), "its version at byte 4 is 1, expected 2 or 3"],
    [changed([70, 3, 0, 0, 0], [70, 0, 0, 0, 3]), "it is big-endian"],
    [ggufBytes({ "split.count": 2 }, {}), '"split.count" = 2 parts'],
    [ggufBytes({ "split.count": "two" }, {}), '"split.count" = two parts'],
    [ggufBytes({ "general.alignment": 24 }, {}), '"general.alignment" is 24'],
    [ggufBytes({ "general.alignment": 0 }, {}), '"general.alignment" is 0'],
    [ggufBytes({ "general.alignment": [32] }, {}), '"general.alignment" is a list'],
    [changed([0, ...ascii("key")], [0, 107, 255, 107]), "is not UTF-8"],
  ];
  for (const [bytes, message] of cases) assertThrows(() => open(bytes), Error, message);
});

Deno.test("a header that lies about metadata is refused, naming it", () => {
  const key = [...ascii("key"), 4, 0, 0, 0];
  const list = [...ascii("list"), 9, 0, 0, 0, 8, 0, 0, 0];
  const many = Array(7).fill(255);
  const cases: [Uint8Array, string][] = [
    [changed(key, [...ascii("key"), 99, 0, 0, 0]), '"key" is of type 99'],
    [changed(key, [...ascii("key"), 7, 0, 0, 0]), '"key" is neither true nor false'],
    [changed([...list, 2], [...list, 200]), '200 items in "list" do not fit'],
    [changed([...list, 2, ...Array(7).fill(0)], [...list, 2, ...many]), "the number of items"],
    [changed(list, [...ascii("list"), 9, 0, 0, 0, 99, 0, 0, 0]), '"list" is of type 99'],
    [
      changed([4, ...Array(7).fill(0), ...ascii("list")], [
        ...[3, ...Array(7).fill(0)],
        ...ascii("list"),
      ]),
      "of type",
    ],
    [changed([2, 0, 0, 0, 0, 0, 0, 0, 3], [255, 255, 0, 0, 0, 0, 0, 0, 3]), "metadata entries"],
  ];
  for (const [bytes, message] of cases) assertThrows(() => open(bytes), Error, message);
  const twice = ggufBytes({ "key a": 7, "key b": 7 }, {});
  twice[twice.findLastIndex((byte) => byte === "b".charCodeAt(0))] = "a".charCodeAt(0);
  assertThrows(() => open(twice), Error, 'the metadata "key a" twice');
});

Deno.test("lists inside lists are read, but not without end", () => {
  /** A file with one entry of metadata, a list inside `depth` others. */
  const nested = (depth: number) => {
    const u32 = (n: number) => [n, 0, 0, 0];
    const one = [1, 0, 0, 0, 0, 0, 0, 0];
    const value = [...u32(9)];
    for (let i = 0; i < depth; i++) value.push(...u32(9), ...one);
    value.push(...u32(0), ...one, 42);
    return Uint8Array.from(
      [...ascii("GGUF"), ...u32(3), 0, 0, 0, 0, 0, 0, 0, 0, ...one, ...one, 97, ...value],
    );
  };
  assertEquals(open(nested(0)).get("a"), [42]);
  assertEquals(open(nested(2)).get("a"), [[[42]]]);
  assertThrows(() => open(nested(3)), Error, '"a" is a list inside 3 others');
  assertThrows(() => open(nested(100_000)), Error, '"a" is a list inside 3 others');
});

Deno.test("tensors that overlap, leave the file or are no whole blocks are refused", () => {
  /** A file with tensors `x` and `y`, and how they are described changed. */
  const lying = (x: Partial<GgufTensor>, y: Partial<GgufTensor> = {}) => {
    const one = f32([4], [1, 2, 3, 4]);
    return ggufBytes({}, { x: { ...one, ...x }, y: { ...one, ...y } });
  };
  const cases: [Uint8Array, string][] = [
    [lying({ shape: [9] }), 'its tensor "y" overlaps "x"'],
    [lying({}, { shape: [9] }), 'its tensor "y" should lie at bytes'],
    [lying({ shape: [2 ** 50, 2 ** 50, 2 ** 50] }), 'its tensor "x" should lie at bytes'],
    [lying({ shape: [1, 1, 1, 1, 1] }), 'its tensor "x" has 5 axes'],
    [lying({ type: 2 }), 'its tensor "x" has rows of shape [4], not a whole number of Q4_0 blocks'],
    [lying({ type: 99 }), 'Cannot read "x" of "file.gguf": its number format is type 99'],
  ];
  for (const [bytes, message] of cases) assertThrows(() => open(bytes), Error, message);

  const y = [...ascii("y"), 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  const unaligned = changed([...y, 32], [...y, 33]);
  assertThrows(() => open(unaligned), Error, 'its tensor "y" begins at offset 33');
  assertThrows(() => open(changed([...y, 32], [...y, 0])), Error, "overlaps");
  const twice = changed(y, [...ascii("x"), ...y.slice(1)]);
  assertThrows(() => open(twice), Error, 'its tensor "x" is described twice');
});

Deno.test("a file that is missing is refused by name", async () => {
  await assertRejects(
    () => GgufFile.open("none.gguf"),
    Error,
    '"none.gguf": there is no such file',
  );
});
