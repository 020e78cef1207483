import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { dequantize, QUANTIZATIONS } from "../../lib/weights/quants.ts";
import fixture from "../fixtures/quants.json" with { type: "json" };

function read(name: string, bytes: number[]): number[] {
  const format = [...QUANTIZATIONS.values()].find((format) => format.name === name)!;
  return [...dequantize(format, Uint8Array.from(bytes))];
}

/** Half-precision numbers by hand: sign, exponent + 15, fraction. */
const HALF = [0x00, 0x38]; // 0.5
const TWO = [0x00, 0x40]; // 2
const MINUS_ONE = [0x00, 0xbc]; // -1

/** 16 bytes whose low halves count 0…15 and whose high halves count 15…0. */
const NIBBLES = Array.from({ length: 16 }, (_, j) => j | (15 - j) << 4);
const UP = Array.from({ length: 16 }, (_, j) => j);
const DOWN = UP.toReversed();

Deno.test("F32, F16 and BF16 are numbers one after the other", () => {
  assertEquals(read("F32", [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1]), [1, -10]);
  assertEquals(read("F16", [...HALF, ...TWO, ...MINUS_ONE, 0x01, 0x00]), [0.5, 2, -1, 2 ** -24]);
  assertEquals(read("BF16", [0x80, 0x3f, 0x20, 0xc1]), [1, -10]);
});

Deno.test("Q4_0 is a scale times 4 bits less 8, low halves first", () => {
  assertEquals(read("Q4_0", [...HALF, ...NIBBLES]), [...UP, ...DOWN].map((q) => 0.5 * (q - 8)));
});

Deno.test("Q4_1 is a scale times 4 bits, and a minimum", () => {
  const expected = [...UP, ...DOWN].map((q) => 0.5 * q - 1);
  assertEquals(read("Q4_1", [...HALF, ...MINUS_ONE, ...NIBBLES]), expected);
});

Deno.test("Q5_0 takes the fifth bit of value i from bit i of the plane", () => {
  const plane = [0b0000_0001, 0, 0, 0b1000_0000]; // values 0 and 31
  const q = [...UP, ...DOWN];
  q[0] += 16;
  q[31] += 16;
  assertEquals(read("Q5_0", [...TWO, ...plane, ...NIBBLES]), q.map((q) => 2 * (q - 16)));
});

Deno.test("Q5_1 is a scale times 5 bits, and a minimum", () => {
  const plane = [0, 0b0000_0010, 0b0000_0100, 0]; // values 9 and 18
  const q = [...UP, ...DOWN];
  q[9] += 16;
  q[18] += 16;
  const bytes = [...HALF, ...MINUS_ONE, ...plane, ...NIBBLES];
  assertEquals(read("Q5_1", bytes), q.map((q) => 0.5 * q - 1));
});

Deno.test("Q8_0 is a scale times a signed byte", () => {
  const q = Array.from({ length: 32 }, (_, j) => 8 * j - 128);
  assertEquals(read("Q8_0", [...HALF, ...q.map((q) => q & 255)]), q.map((q) => 0.5 * q));
});

Deno.test("Q6_K is a scale times a signed byte a group of 16 times 6 bits less 32", () => {
  // Value 0 of the second half: low bits 5 in byte 64, high bits 2 in byte 128 + 32.
  const block = Array.from({ length: 210 }, () => 0);
  block[64] = 5;
  block[160] = 2;
  block[192 + 8] = 0xfd; // the group's scale, -3
  block.splice(208, 2, ...HALF);
  const values = read("Q6_K", block);
  assertEquals(values[128], 0.5 * -3 * (5 + 2 * 16 - 32));
  assertEquals(values[129], 0.5 * -3 * -32);
  assertEquals(values.filter((value) => value !== 0).length, 16, "the other scales are 0");
});

for (const [name, { bytes, values }] of Object.entries(fixture)) {
  Deno.test(`${name} blocks of random bytes are read as gguf-py reads them`, () => {
    const ours = read(name, [...Uint8Array.fromHex(bytes)]);
    assertEquals(ours.length, values.length);
    // The fixture has 7 digits.
    ours.forEach((value, i) => assertAlmostEquals(value, values[i], 1e-6 * Math.abs(values[i])));
  });
}

Deno.test("dequantize refuses a part of a block", () => {
  assertThrows(() => read("Q4_0", [1, 2, 3]), RangeError, "3 bytes as Q4_0");
});
