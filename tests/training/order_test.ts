import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { Permutation, shuffledIndices } from "../../lib/training/mod.ts";

const permuted = (n: number, seed: number, epoch = 0) => {
  const order = new Permutation(n, seed, "epoch", epoch);
  return Int32Array.from({ length: n }, (_, i) => order.at(i));
};

Deno.test("A permutation gives every number once, whatever their number", () => {
  for (const n of [1, 2, 3, 100, 4095, 4096, 4097, 8191, 8192, 8193, 100_003]) {
    const sorted = permuted(n, 7).toSorted();
    assert(sorted.every((value, i) => value === i), `${n} numbers`);
  }
});

Deno.test("A permutation of two thousand million numbers takes no more memory than one of few", () => {
  const n = 2 ** 31;
  const order = new Permutation(n, 0);
  const found = new Set(Array.from({ length: 10_000 }, (_, i) => order.at(n - 1 - i)));
  assertEquals(found.size, 10_000);
  // Uniform: each of 16 equal parts gets 625 of them, give or take five standard deviations of 24.
  const parts = new Int32Array(16);
  for (const value of found) parts[Math.floor(value / (n / 16))]++;
  assert(parts.every((count) => Math.abs(count - 625) < 5 * 24.2), `${parts}`);
});

Deno.test("Seeds and epochs give unrelated orders in which neighbours are not neighbours", () => {
  const n = 20_000;
  const orders = [permuted(n, 0), permuted(n, 1), permuted(n, 0, 1)];
  for (const [a, order] of orders.entries()) {
    // Fixed points, and equal places in two orders, are Poisson with mean 1; neighbours that stay
    // neighbours with mean 2.
    const fixed = order.filter((value, i) => value === i).length;
    const adjacent = order.filter((value, i) => i > 0 && Math.abs(value - order[i - 1]) === 1);
    const shared = orders[(a + 1) % 3].filter((value, i) => value === order[i]).length;
    assert(fixed <= 8 && shared <= 8 && adjacent.length <= 12, `${[fixed, shared, adjacent]}`);
    // Correlation of place and value: its standard deviation is 1 / √n.
    const mean = (n - 1) / 2;
    const sum = order.reduce((total, value, i) => total + (value - mean) * (i - mean), 0);
    assert(Math.abs(sum / (n * (n * n - 1) / 12)) < 5 / Math.sqrt(n));
  }
});

Deno.test("Steps are an endless stream in which an epoch has every token once", () => {
  for (const [tokens, batchSize] of [[50, 7], [50, 50], [5000, 512], [6, 4]]) {
    const steps = Math.ceil(3 * tokens / batchSize);
    const drawn = Array.from(
      { length: steps },
      (_, step) => [...shuffledIndices(tokens, { step, batchSize, seed: 3 })],
    ).flat();
    const epochs = [0, 1, 2].map((epoch) => drawn.slice(epoch * tokens, (epoch + 1) * tokens));
    const all = Array.from({ length: tokens }, (_, i) => i);
    for (const epoch of epochs) assertEquals(epoch.toSorted((a, b) => a - b), all);
    assertNotEquals(epochs[0], epochs[1]);
    assertNotEquals(epochs[1], epochs[2]);
  }
});

Deno.test("What is out of range is refused by name", () => {
  const draw = (step: number, batchSize: number) => () =>
    shuffledIndices(10, { step, batchSize, seed: 0 });
  assertThrows(draw(0, 11), RangeError, "batches of 11 tokens: expected an integer of 1 to 10");
  assertThrows(draw(0, 0), RangeError, "batches of 0 tokens");
  assertThrows(draw(-1, 5), RangeError, "batch -1");
  assertThrows(() => new Permutation(0, 0), RangeError, "permute 0 numbers");
  for (const i of [-1, 5, NaN]) {
    assertThrows(() => new Permutation(5, 0).at(i), RangeError, `Cannot place ${i}`);
  }
});
