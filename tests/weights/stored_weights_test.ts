import { assert, assertEquals, assertRejects } from "@std/assert";
import { bytesSource } from "../../lib/weights/byte_source.ts";
import { BF16, type NumberFormat } from "../../lib/weights/floats.ts";
import { QUANTIZATIONS } from "../../lib/weights/quants.ts";
import { StoredWeights, type TensorPlace } from "../../lib/weights/stored_weights.ts";

/** Upper halves of float32 numbers that differ from their neighbours. */
function bf16(count: number): Uint16Array<ArrayBuffer> {
  return Uint16Array.from({ length: count }, (_, i) => i % 30_000);
}

/** The tensor `x` in `bytes`, and the longest part that was read at a time. */
function open(
  bytes: Uint8Array,
  place: Omit<TensorPlace, "source" | "dtype"> & { format: NumberFormat },
): { weights: StoredWeights; longest: () => number } {
  let longest = 0;
  const inner = bytesSource("file", bytes);
  const source = {
    ...inner,
    read(position: number, into: Uint8Array<ArrayBuffer>) {
      longest = Math.max(longest, into.length);
      assert(position >= 0 && position + into.length <= bytes.length);
      return inner.read(position, into);
    },
  };
  const tensors = new Map([["x", { ...place, source, dtype: place.format.name }]]);
  return { weights: new StoredWeights("file", tensors, [source]), longest: () => longest };
}

Deno.test("a long tensor is read whole, a small part at a time", async () => {
  const stored = bf16(3_300_001);
  const shape = [stored.length];
  const { weights, longest } = open(new Uint8Array(stored.buffer), {
    format: BF16,
    shape,
    begin: 0,
  });
  const bits = new Uint32Array((await weights.read("x", shape)).buffer);
  assertEquals(bits.findIndex((value, i) => value !== stored[i] << 16), -1);
  assertEquals(longest(), 1 << 20);
});

Deno.test("a quantised tensor is read in whole blocks", async () => {
  const Q4_0 = [...QUANTIZATIONS.values()].find(({ name }) => name === "Q4_0")!;
  const [rows, blocks] = [3, 40_000];
  const bytes = new Uint8Array(5 + rows * blocks * 18);
  // Block i of a row: scale 1, and 8 + i modulo 8 in the first value.
  for (let block = 0; block < rows * blocks; block++) {
    bytes.set([0, 0x3c, 8 + block % 8, ...Array(15).fill(0x88)], 5 + block * 18);
  }
  const shape = [rows, blocks * 32];
  const { weights, longest } = open(bytes, { format: Q4_0, shape, begin: 5 });
  const whole = await weights.read("x", shape);
  const expected = (i: number) => i % 32 === 0 ? (i / 32) % 8 : 0;
  assertEquals(whole.findIndex((value, i) => i % 32 < 16 && value !== expected(i)), -1);
  const row = await weights.readRows("x", 2, 1);
  assertEquals(row.length, blocks * 32);
  assertEquals(row.findIndex((value, i) => value !== whole[2 * blocks * 32 + i]), -1);
  assert(longest() <= 1 << 20 && longest() % 18 === 0);
});

Deno.test("a long transposed tensor is read whole, a small part at a time", async () => {
  const [rows, columns] = [1100, 1300];
  const stored = bf16(7 + rows * columns);
  const { weights, longest } = open(new Uint8Array(stored.buffer), {
    format: BF16,
    shape: [rows, columns],
    strides: [1, rows],
    begin: 14,
  });
  const expected = (row: number, column: number) => stored[7 + row + column * rows] << 16;
  const bits = new Uint32Array((await weights.read("x", [rows, columns])).buffer);
  assertEquals(
    bits.findIndex((value, i) => value !== expected(Math.floor(i / columns), i % columns)),
    -1,
  );
  assertEquals(longest(), 1 << 20);
  const part = new Uint32Array((await weights.readRows("x", 1000, 100)).buffer);
  assertEquals(
    part.findIndex((value, i) => value !== expected(1000 + Math.floor(i / columns), i % columns)),
    -1,
  );
});

Deno.test("a read that fails does not stop later ones", async () => {
  const { weights } = open(new Uint8Array(8), { format: BF16, shape: [4], begin: 0 });
  await assertRejects(() => weights.read("x", [5]), Error, "expected [5]");
  assertEquals(await weights.read("x", [4]), new Float32Array(4));
});
