import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  openSafetensors,
  readSafetensors,
  type StoredTensor,
  writeSafetensors,
} from "../../lib/files/mod.ts";
import { inScratch, namesBelow, withFullDisk } from "./scratch.ts";

function floats(shape: number[]): StoredTensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return { dtype: "F32", shape, data: Float32Array.from({ length: size }, (_, i) => i / 4) };
}

/** A file of the format, put together by hand. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setUint32(0, json.length, true);
  file.set(json, 8);
  return file;
}

Deno.test("tensors and metadata come back as they were written", () =>
  inScratch(async (folder) => {
    const tensors: Record<string, StoredTensor> = {
      "W_enc": floats([3, 5]),
      "ids": { dtype: "I32", shape: [4], data: new Int32Array([-1, 0, 2 ** 31 - 1, 7]) },
      "scalar": floats([]),
      "empty": floats([0, 5]),
      "blocks.0/é": floats([2, 1, 2]),
    };
    await writeSafetensors(`${folder}/a`, tensors, { unit: "none", "ü": "ß" });
    const read = readSafetensors(`${folder}/a`);
    assertEquals(read.tensors, tensors);
    assertEquals(read.metadata, { unit: "none", "ü": "ß" });
  }));

Deno.test("a written view stores the view, not the buffer behind it", () =>
  inScratch(async (folder) => {
    const data = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    await writeSafetensors(`${folder}/a`, { x: { dtype: "F32", shape: [2], data } });
    assertEquals(readSafetensors(`${folder}/a`).tensors.x.data, new Float32Array([1, 2]));
  }));

Deno.test("the bytes are those of the format: length, JSON, elements from a multiple of 8", () =>
  inScratch(async (folder) => {
    const data = new Float32Array([1, -2]);
    await writeSafetensors(`${folder}/a`, { x: { dtype: "F32", shape: [2], data } });
    const bytes = await Deno.readFile(`${folder}/a`);
    const length = new DataView(bytes.buffer).getUint32(0, true);
    assertEquals(length % 8, 0);
    assertEquals(JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))), {
      x: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
    });
    // IEEE 754: 1 is 0x3f800000, -2 is 0xc0000000.
    assertEquals([...bytes.subarray(8 + length)], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
  }));

Deno.test("gathered rows are the rows asked for, in that order, whatever the gaps", () =>
  inScratch(async (folder) => {
    const x = floats([5000, 3]);
    await writeSafetensors(`${folder}/a`, { before: floats([7]), x });
    using file = openSafetensors(`${folder}/a`);
    const cases = [
      [],
      [0],
      [4999, 0],
      [3, 3, 3],
      [10, 11, 12, 4000, 4001, 5, 4999, 4998],
      Array.from({ length: 1000 }, (_, i) => i * 5),
      Array.from({ length: 500 }, (_, i) => (i * 1237) % 5000),
    ];
    for (const rows of cases) {
      const out = new Float32Array(rows.length * 3);
      file.gatherRows("x", rows, out);
      assertEquals([...out], rows.flatMap((row) => [...x.data.subarray(row * 3, row * 3 + 3)]));
    }
    assertEquals(file.readRows("x", 4998, 2), x.data.subarray(4998 * 3));
  }));

Deno.test("rows longer than the longest single read are gathered whole", () =>
  inScratch(async (folder) => {
    const x = floats([3, 300_000]);
    await writeSafetensors(`${folder}/a`, { x });
    using file = openSafetensors(`${folder}/a`);
    const out = new Float32Array(600_000);
    file.gatherRows("x", [1, 2], out);
    assertEquals(out[0], 75_000);
    assertEquals(out[599_999], 899_999 / 4);
  }));

Deno.test("many short rows are gathered whole, however far they reach", () =>
  inScratch(async (folder) => {
    const x = floats([400_000, 1]);
    await writeSafetensors(`${folder}/a`, { x });
    using file = openSafetensors(`${folder}/a`);
    const rows = Int32Array.from({ length: 200_000 }, (_, i) => 2 * i + 1);
    const out = new Float32Array(rows.length);
    file.gatherRows("x", rows, out);
    assertEquals(out, Float32Array.from(rows, (row) => row / 4));
  }));

Deno.test("rows outside a tensor, a wrong target and a wrong name are refused", () =>
  inScratch(async (folder) => {
    await writeSafetensors(`${folder}/a`, { x: floats([4, 2]) });
    using file = openSafetensors(`${folder}/a`);
    assertThrows(() => file.readRows("x", 3, 2), RangeError, "it has 4 rows");
    assertThrows(() => file.readRows("x", -1, 1), RangeError, "it has 4 rows");
    assertThrows(() => file.gatherRows("x", [4], new Float32Array(2)), RangeError, "row 4");
    assertThrows(() => file.gatherRows("x", [1.5], new Float32Array(2)), RangeError, "row 1.5");
    assertThrows(() => file.gatherRows("x", [1], new Float32Array(3)), RangeError, "expected 2");
    assertThrows(() => file.gatherRows("x", [1], new Int32Array(2)), TypeError, "dtype is F32");
    assertThrows(() => file.read("y"), Error, 'it has "x"');
    assertThrows(() => file.read("toString"), Error, 'no tensor "toString"');
  }));

Deno.test("a shape that the elements do not fill is refused before anything is written", () =>
  inScratch(async (folder) => {
    const x: StoredTensor = { dtype: "F32", shape: [3], data: new Float32Array(2) };
    await assertRejects(() => writeSafetensors(`${folder}/a`, { x }), RangeError, "expected 3");
    assertEquals(namesBelow(folder), []);
  }));

Deno.test("a full disk leaves the earlier safetensors file whole", () =>
  inScratch(async (folder) => {
    await writeSafetensors(`${folder}/a`, { x: floats([2]) });
    await withFullDisk(4000, async () => {
      await assertRejects(
        () => writeSafetensors(`${folder}/a`, { x: floats([5000]) }),
        Error,
        "the disk is full",
      );
    });
    assertEquals(readSafetensors(`${folder}/a`).tensors, { x: floats([2]) });
    assertEquals(namesBelow(folder), ["a"]);
  }));

Deno.test("a file cut anywhere, or with a byte too many, is refused when it is opened", () =>
  inScratch(async (folder) => {
    await writeSafetensors(`${folder}/a`, { x: floats([3]) });
    const whole = await Deno.readFile(`${folder}/a`);
    const broken = `${folder}/broken`;
    for (let length = 0; length < whole.length; length++) {
      await Deno.writeFile(broken, whole.subarray(0, length));
      assertThrows(() => openSafetensors(broken), Error, `"${broken}" is not a whole`);
    }
    await Deno.writeFile(broken, new Uint8Array([...whole, 0]));
    assertThrows(() => openSafetensors(broken), Error, "it should have");
    assertThrows(() => openSafetensors(`${folder}/none`), Error, "there is no such file");
  }));

Deno.test("a header that lies is refused, naming the field", () =>
  inScratch(async (folder) => {
    const x = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
    const cases: [unknown, number, string][] = [
      ["{", 0, "not JSON"],
      ["[]", 0, "not a JSON object"],
      [{ __metadata__: { a: 1 } }, 0, '"__metadata__"'],
      [{ x: 1 }, 0, 'tensor "x"'],
      [{ x: { ...x, dtype: "F33" } }, 8, '"dtype" "F33"'],
      [{ x: { ...x, dtype: "toString" } }, 8, '"dtype" "toString"'],
      [{ x: { ...x, shape: [-2] } }, 8, '"shape" [-2]'],
      [{ x: { ...x, shape: [1.5] } }, 8, '"shape" [1.5]'],
      [{ x: { ...x, shape: Array(65).fill(1) } }, 8, '"shape" of many numbers'],
      [{ x: { ...x, shape: "[".repeat(100_000) } }, 8, '"shape" "[[['],
      [`{"x": {"dtype": ${"[".repeat(100_000)}${"]".repeat(100_000)}}}`, 0, '"dtype" [{…}]'],
      [{ x: { ...x, shape: [3] } }, 8, "needs 12 bytes"],
      [{ x: { ...x, shape: [2 ** 52, 2 ** 52, 0] } }, 8, "needs 0 bytes"],
      [{ x: { ...x, data_offsets: [0] } }, 8, '"data_offsets" [0]'],
      [{ x: { ...x, data_offsets: [8, 0] } }, 8, "hold -8"],
      [{ x: { ...x, data_offsets: [-8, 0] } }, 8, '"data_offsets" [-8,0]'],
      [{ x: { ...x, data_offsets: [1e300, 1e300] } }, 8, '"data_offsets" [1e+300,1e+300]'],
      [`{"x": ${JSON.stringify(x)}, "\u0078": ${JSON.stringify(x)}}`, 8, 'the field "x" twice'],
      ['{"x": {"dtype": "F32", "dtype": "F16"}}', 8, 'the field "dtype" twice'],
      [{ x, y: { ...x, data_offsets: [4, 12] } }, 12, 'tensor "y" overlaps'],
      [{ x, y: { ...x, data_offsets: [12, 20] } }, 20, '4 bytes before tensor "y"'],
    ];
    for (const [header, dataBytes, message] of cases) {
      await Deno.writeFile(`${folder}/a`, fileOf(header, dataBytes));
      assertThrows(() => openSafetensors(`${folder}/a`), Error, message);
    }
    const huge = new Uint8Array(16).fill(255);
    await Deno.writeFile(`${folder}/a`, huge);
    assertThrows(() => openSafetensors(`${folder}/a`), Error, "its header should take");
  }));

Deno.test("a type that is not computed with is refused by its name, the others are still read", () =>
  inScratch(async (folder) => {
    const header = {
      half: { dtype: "BF16", shape: [2], data_offsets: [0, 4] },
      x: { dtype: "I32", shape: [1], data_offsets: [4, 8] },
    };
    await Deno.writeFile(`${folder}/a`, fileOf(header, 8));
    using file = openSafetensors(`${folder}/a`);
    assertThrows(() => file.read("half"), Error, "its dtype is BF16");
    assertEquals(file.read("x").data, new Int32Array(1));
  }));

Deno.test("float16 is written as it is and read as the float32 of the same value", () =>
  inScratch(async (folder) => {
    // The largest, the smallest normal and subnormal number, a tie that goes to even, infinity.
    const numbers = [65504, 2 ** -14, 2 ** -24, 2049, -0, Infinity, 1 / 3, -1.5];
    const halves = Float16Array.from(numbers);
    await writeSafetensors(`${folder}/a`, {
      x: { dtype: "F16", shape: [4, 2], data: halves },
      i: { dtype: "I32", shape: [1], data: Int32Array.of(7) },
    });
    const expected = Float32Array.from(halves);
    assertEquals([...expected.subarray(0, 4)], [65504, 2 ** -14, 2 ** -24, 2048]);
    assert(Math.abs(expected[6] - 1 / 3) <= 2 ** -11 / 3);
    using file = openSafetensors(`${folder}/a`);
    assertEquals(file.read("x"), { dtype: "F32", shape: [4, 2], data: expected });
    assertEquals(file.readRows("x", 1, 2), expected.slice(2, 6));
    const out = new Float32Array(6);
    file.gatherRows("x", [3, 0, 3], out);
    const rows = [3, 0, 3].flatMap((row) => [...expected.subarray(2 * row, 2 * row + 2)]);
    assertEquals([...out], rows);
    assertThrows(() => file.gatherRows("x", [0], new Float32Array(1)), RangeError, "expected 2");
    assertThrows(() => file.gatherRows("x", [0], new Int32Array(2)), TypeError, "dtype is F16");
    assertEquals(file.read("i").data, Int32Array.of(7));
  }));
