import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { learningRateAt, requireSchedule, warmupFactor } from "../../lib/training/mod.ts";

Deno.test("The learning rate rises, stays, falls, and is never 0", () => {
  const schedule = { learningRate: 2, steps: 20, warmupSteps: 4, decaySteps: 5 };
  const rates = Array.from({ length: 20 }, (_, step) => learningRateAt(schedule, step));
  assertEquals(rates.slice(0, 4), [0.5, 1, 1.5, 2]);
  assertEquals(new Set(rates.slice(3, 16)), new Set([2]));
  assertEquals(rates.slice(16), [1.6, 1.2, 0.8, 0.4]);
  assert(rates.every((rate) => rate > 0));
});

Deno.test("A schedule without lengths is constant", () => {
  const schedule = { learningRate: 1, steps: 3 };
  assertEquals([0, 1, 2].map((step) => learningRateAt(schedule, step)), [1, 1, 1]);
});

Deno.test("A cosine falls slowly, fast, slowly, by half a period, and joins the plateau", () => {
  const schedule = { learningRate: 2, steps: 16, warmupSteps: 4, decaySteps: 12 };
  const rate = (step: number) => learningRateAt({ ...schedule, decay: "cosine" }, step);
  for (let step = 4; step < 16; step++) {
    assertAlmostEquals(rate(step), 1 + Math.cos(Math.PI * (step - 4) / 12), 1e-12);
  }
  assertEquals([rate(0), rate(3), rate(4)], [0.5, 2, 2]);
  assert(rate(15) > 0);
  // As much is left at the middle as in a linear fall, more before it, less after it.
  assertAlmostEquals(rate(10), learningRateAt(schedule, 10), 1e-12);
  assert(rate(7) > learningRateAt(schedule, 7) && rate(13) < learningRateAt(schedule, 13));
});

Deno.test("A penalty rises to its full strength in equal parts and stays there", () => {
  const factors = [0, 1, 2, 3, 4, 5, 100].map((step) => warmupFactor(step, 4));
  assertEquals(factors, [0.2, 0.4, 0.6, 0.8, 1, 1, 1]);
  assertEquals(warmupFactor(0, 0), 1);
});

Deno.test("An impossible schedule is one error that names the value", () => {
  const good = { learningRate: 1, steps: 10 };
  const bad: [Partial<typeof good> & Record<string, number>, string][] = [
    [{ steps: -1 }, "-1 steps"],
    [{ steps: 1.5 }, "1.5 steps"],
    [{ learningRate: 0 }, "learningRate of 0"],
    [{ learningRate: NaN }, "learningRate of NaN"],
    [{ warmupSteps: -2 }, "warmupSteps = -2"],
    [{ warmupSteps: 6, decaySteps: 5 }, "6 warmupSteps and 5 decaySteps into 10 steps"],
  ];
  assertThrows(
    () => requireSchedule({ ...good, decay: "step" as "linear" }),
    RangeError,
    'decay of "step": expected "linear" or "cosine"',
  );
  for (const [change, message] of bad) {
    assertThrows(() => requireSchedule({ ...good, ...change }), RangeError, message);
  }
});
