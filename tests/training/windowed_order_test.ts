import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { Rng } from "../../lib/tensor/mod.ts";
import { WindowedOrder } from "../../lib/training/mod.ts";

/** First tokens of files of 1 to 9 tokens. */
function startsOf(files: number, rng = new Rng(0, "files")): number[] {
  const starts = [0];
  for (let i = 0; i < files; i++) starts.push(starts[i] + 1 + rng.integer(9));
  return starts;
}

function drawn(order: WindowedOrder, batchSize: number, seed: number, tokens: number): number[] {
  const numbers: number[] = [];
  for (let step = 0; numbers.length < tokens; step++) {
    numbers.push(...order.indices({ step, batchSize, seed }));
  }
  return numbers.slice(0, tokens);
}

Deno.test("every token comes once an epoch, whatever the window and the batch", () => {
  for (const files of [1, 2, 7, 30]) {
    const starts = startsOf(files);
    const tokens = starts.at(-1)!;
    const all = Array.from({ length: tokens }, (_, i) => i);
    for (const window of [1, 2, 5, 30, 100]) {
      const order = new WindowedOrder(starts, window);
      for (const batchSize of [1, Math.ceil(tokens / 3), tokens]) {
        const numbers = drawn(order, batchSize, 3, 3 * tokens);
        for (const epoch of [0, 1, 2]) {
          const some = numbers.slice(epoch * tokens, (epoch + 1) * tokens);
          assertEquals(some.toSorted((a, b) => a - b), all);
        }
        assertEquals(
          numbers,
          drawn(order, 1, 3, 3 * tokens),
          "the size of batches cuts the stream",
        );
      }
    }
  }
});

Deno.test("a step is a function of seed, step and batch size alone", () => {
  const starts = startsOf(40);
  const order = new WindowedOrder(starts, 4);
  const at = (step: number, seed: number) => [...order.indices({ step, batchSize: 7, seed })];
  const direct = [...new WindowedOrder(starts, 4).indices({ step: 90, batchSize: 7, seed: 1 })];
  for (const [step, seed] of [[0, 1], [89, 1], [12, 2], [91, 1]]) at(step, seed);
  assertEquals(at(90, 1), direct);
  assertNotEquals(at(90, 2), direct);
  const wider = new WindowedOrder(starts, 5);
  assertNotEquals([...wider.indices({ step: 90, batchSize: 7, seed: 1 })], direct);
});

Deno.test("a step reads the files that it names, at most two windows, and the next ones are named before", () => {
  const starts = startsOf(23);
  const order = new WindowedOrder(starts, 4);
  const fileOf = (token: number) => starts.findLastIndex((start) => start <= token);
  let known = new Set<number>();
  let changes = 0;
  for (let step = 0; step < 200; step++) {
    const batch = { step, batchSize: 3, seed: 0 };
    const { now, next } = order.files(batch);
    assert(now.length <= 8 && next.length <= 4);
    for (const token of order.indices(batch)) assert(now.includes(fileOf(token)));
    for (const file of now) assert(step === 0 || known.has(file), `file ${file} comes unannounced`);
    const names = new Set([...now, ...next]);
    if (step > 0 && names.symmetricDifference(known).size > 0) changes++;
    known = names;
  }
  assert(changes < 100, "most steps stay in their window");
});

Deno.test("tokens are mixed over all files of a window, and windows are of other files in every epoch", () => {
  // 64 files of 100 tokens in windows of 16: a batch of 160 takes 10 of each on average.
  const starts = Array.from({ length: 65 }, (_, i) => 100 * i);
  const order = new WindowedOrder(starts, 16);
  const windows: string[] = [];
  for (let step = 0; step < 80; step++) {
    const indices = order.indices({ step, batchSize: 160, seed: 0 });
    const counts = new Map<number, number>();
    for (const token of indices) {
      const file = Math.floor(token / 100);
      counts.set(file, (counts.get(file) ?? 0) + 1);
    }
    assertEquals(counts.size, 16);
    // Hypergeometric with mean 10 and standard deviation 2.9: seven of them are never reached.
    assert(Math.max(...counts.values()) < 30, `${[...counts.values()]}`);
    let neighbours = 0;
    indices.forEach((token, i) => neighbours += i > 0 && token === indices[i - 1] + 1 ? 1 : 0);
    assert(neighbours < 10, `${neighbours} tokens follow their neighbour`);
    if (step % 10 === 0) windows.push([...counts.keys()].toSorted((a, b) => a - b).join());
  }
  assertEquals(new Set(windows).size, 8);
});

Deno.test("impossible windows and batches are refused", () => {
  for (const window of [0, -1, 1.5, NaN]) {
    assertThrows(() => new WindowedOrder([0, 5], window), RangeError, `windows of ${window} files`);
  }
  assertThrows(() => new WindowedOrder([0, 2 ** 31], 1), RangeError, "at most 2^31 - 1");
  const order = new WindowedOrder([0, 5], 1);
  const at = (step: number, batchSize: number) => () => order.indices({ step, batchSize, seed: 0 });
  assertThrows(at(0, 6), RangeError, "batches of 6 tokens");
  assertThrows(at(-1, 5), RangeError, "batch -1");
});
