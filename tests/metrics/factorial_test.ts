import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type CrossedCells, factorialTest, minMaxDisplay } from "../../lib/metrics/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";

const FRAMES = 40;

/** Cells of a rule: what a frame's level, both factors and noise make. */
function cells(
  rule: (a: number, b: number, level: number, noise: number) => number,
  { frames = FRAMES, noise = 0.1, seed = 0 } = {},
): CrossedCells {
  const rng = new Rng(seed, "cells");
  const levels = Array.from({ length: frames }, () => rng.uniform());
  const cell = (a: number, b: number) =>
    Float64Array.from(levels, (level) => rule(a, b, level, noise * rng.normal()));
  return { a1b1: cell(1, 1), a1b0: cell(1, 0), a0b1: cell(0, 1), a0b0: cell(0, 0) };
}

const mapped = (c: CrossedCells, f: (y: number) => number): CrossedCells => ({
  a1b1: Array.from(c.a1b1, f),
  a1b0: Array.from(c.a1b0, f),
  a0b1: Array.from(c.a0b1, f),
  a0b0: Array.from(c.a0b0, f),
});

Deno.test("A product that needs both factors is a robust interaction", () => {
  const conjunction = cells((a, b, _, noise) => a * b + noise, { noise: 0.3 });
  const { kind, interaction, manipulated, scales } = factorialTest(conjunction);
  assertEquals(kind, "robust");
  assertEquals(manipulated, { a: true, b: true });
  assertAlmostEquals(interaction.estimate, 1, 0.3);
  assert(interaction.low < interaction.estimate && interaction.estimate < interaction.high);
  // Some cells are below 0, where there is no log.
  assertEquals(scales.log, undefined);
});

Deno.test("Factors that multiply a level are removable: they add on the log scale", () => {
  const product = cells((a, b, level, noise) => Math.exp(level + a + b + noise));
  const { kind, interaction, scales, means } = factorialTest(product);
  assertEquals(kind, "removable");
  assert(interaction.p < 0.001 && scales.log!.p > 0.05);
  const { a1b1, a1b0, a0b1, a0b0 } = means;
  assertAlmostEquals(a1b1 - a1b0 - a0b1 + a0b0, interaction.estimate, 1e-9);
});

Deno.test("An interaction that turns around on the log scale is removable, too", () => {
  const square = cells((a, b, level, noise) => (1 + level / 10 + a + 3 * b + noise) ** 2);
  const { kind, interaction, scales } = factorialTest(square);
  assert(interaction.estimate > 0 && interaction.p < 0.001);
  assert(scales.log!.estimate < 0 && scales.log!.p < 0.001);
  assertEquals(kind, "removable");
});

Deno.test("A crossover without main effects passes the gate by its simple effects, on every scale", () => {
  const xor = cells((a, b, level, noise) => 2 + level + (a === b ? 1 : 0) + noise);
  for (const measure of [xor, mapped(xor, Math.exp), mapped(xor, Math.log)]) {
    const { kind, factorA, factorB } = factorialTest(measure);
    assertEquals(kind, "crossover");
    assert(factorA.p > 0.05 && factorB.p > 0.05);
  }
});

Deno.test("Factors that add are additive only where there are frames enough to say so", () => {
  const rule = (a: number, b: number, level: number, noise: number) => level + a + b + noise;
  // The contrast of many frames lies within half a standard deviation, that of eight need not.
  const many = factorialTest(cells(rule, { frames: 200 }));
  assertEquals([many.kind, many.equivalence.additive], ["none", true]);
  const few = factorialTest(cells(rule, { frames: 8 }));
  assertEquals([few.kind, few.equivalence.additive], ["none", false]);
  // A bound of our own, in units of the measure, decides instead.
  const bounded = (equivalenceBound: number) =>
    factorialTest(cells(rule, { frames: 8 }), { equivalenceBound }).equivalence.additive;
  assertEquals([bounded(1), bounded(0.01)], [true, false]);
});

Deno.test("Nothing follows where a factor does not move anything", () => {
  const onlyA = cells((a, _, level, noise) => level + a + noise);
  const { kind, manipulated, equivalence } = factorialTest(onlyA);
  assertEquals(manipulated, { a: true, b: false });
  assertEquals(kind, "not manipulated");
  assert(!equivalence.additive);
});

Deno.test("The gate asks the measures that the factors are meant to move, in the same frames", () => {
  const product = cells((a, b, _, noise) => a * b + noise);
  const moved = cells((a, _, level, noise) => level + a + noise);
  const constant = mapped(product, () => 0.61948);
  const gate = (b: CrossedCells) => factorialTest(product, { manipulation: { a: moved, b } });
  assertEquals(gate(constant).manipulated, { a: true, b: false });
  assertEquals(gate(constant).kind, "not manipulated");
  // The second feature of the study: the same number in all texts, but for rounding.
  const rounding = cells((_, b) => 0.61948 + 1e-7 * b);
  assertEquals(gate(rounding).kind, "not manipulated");
  const turned = { a1b1: moved.a1b1, a1b0: moved.a0b1, a0b1: moved.a1b0, a0b0: moved.a0b0 };
  assertEquals(gate(turned).kind, "robust");
  const other = cells((a) => a, { frames: 3 });
  assertThrows(() => gate(other), RangeError, "on 3 frames");
});

Deno.test("A measure without variation, or with that of rounding, has no effect and no direction", () => {
  const stretched = cells((a, b) => 0.012083578 + 1e-10 * a * b);
  for (const measure of [cells(() => 0.61948), cells(() => 0), stretched]) {
    const result = factorialTest(measure);
    assertEquals(result.kind, "not manipulated");
    for (const effect of [result.factorA, result.factorB, result.interaction, result.scales.rank]) {
      assertEquals([effect.p, effect.effectSize, effect.partialEtaSquared], [1, 0, 0]);
    }
  }
  // The same tiny measure counts where it is asked for.
  const { interaction } = factorialTest(stretched, { noiseFloor: 0 });
  assertEquals(interaction.p < 0.01, true);
  assertEquals(minMaxDisplay(stretched.a1b1).scaled, undefined);
});

Deno.test("Effect sizes are those of a paired t: dz = mean / sd, η² = t² / (t² + n − 1)", () => {
  const zero = [0, 0, 0, 0];
  const { interaction, factorA, frames } = factorialTest({
    a1b1: [1, 2, 3, 2],
    a1b0: zero,
    a0b1: zero,
    a0b0: zero,
  });
  assertEquals(frames, 4);
  const dz = 2 / Math.sqrt(2 / 3);
  assertAlmostEquals(interaction.effectSize, dz, 1e-12);
  assertAlmostEquals(interaction.partialEtaSquared, 4 * dz ** 2 / (4 * dz ** 2 + 3), 1e-12);
  assertEquals(interaction.p, 2 / 2 ** 4);
  assertEquals(factorA.estimate, 1);
  // The same difference in each frame has no spread.
  const sure = factorialTest({
    a1b1: [2, 2, 2],
    a1b0: [0, 0, 0],
    a0b1: [0, 0, 0],
    a0b0: [0, 0, 0],
  });
  assertEquals([sure.interaction.effectSize, sure.interaction.partialEtaSquared], [Infinity, 1]);
});

Deno.test("What frames have in common cancels: levels change no effect, units scale them", () => {
  const measure = cells((a, b, level, noise) => level + a + b + a * b + noise);
  const level = Float64Array.from({ length: FRAMES }, (_, i) => 100 * Math.sin(i));
  const shifted = Object.fromEntries(
    Object.entries(measure).map(([name, cell]) => [
      name,
      Array.from(cell as Float64Array, (y, i) => y + level[i]),
    ]),
  ) as unknown as CrossedCells;
  const [plain, moved, scaled] = [measure, shifted, mapped(measure, (y) => 3 * y)]
    .map((c) => factorialTest(c));
  for (const effect of ["factorA", "factorB", "interaction"] as const) {
    assertAlmostEquals(moved[effect].estimate, plain[effect].estimate, 1e-9);
    assertEquals(moved[effect].p, plain[effect].p);
    assertAlmostEquals(scaled[effect].estimate, 3 * plain[effect].estimate, 1e-9);
    assertAlmostEquals(scaled[effect].low, 3 * plain[effect].low, 1e-9);
    assertAlmostEquals(scaled[effect].effectSize, plain[effect].effectSize, 1e-9);
  }
  assertEquals(scaled.kind, plain.kind);
});

Deno.test("Five frames cannot reach 5 %, whatever the effect", () => {
  const few = cells((a, b, _, noise) => a * b + noise, { frames: 5, noise: 0.001 });
  const { interaction, kind } = factorialTest(few);
  assertEquals(interaction.p, 2 / 2 ** 5);
  assertEquals(kind, "not manipulated");
});

Deno.test("Missing frames and numbers that are none are refused by cell", () => {
  const zero = [0, 1];
  const good = { a1b1: zero, a1b0: zero, a0b1: zero, a0b0: zero };
  assertThrows(() => factorialTest({ ...good, a0b1: [1] }), RangeError, "2, 2, 1, 2 frames");
  assertThrows(
    () => factorialTest({ ...good, a1b0: [1, NaN] }),
    RangeError,
    "cell a1b0 with NaN at index 1",
  );
  assertThrows(() => factorialTest(good, { draws: 10 }), RangeError, "10 draws");
});
