import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  boxPoints,
  conditionPanels,
  type Figure,
  interactionPlot,
  nullDistribution,
  powerCurve,
} from "../../lib/display/mod.ts";
import { summary, tQuantile } from "../../lib/display/charts/box_points.ts";
import { wilson } from "../../lib/display/charts/power_curve.ts";

const words = { title: "A finding", caption: "What is seen." };
const levels = { a: ["high a", "low a"] as const, b: ["high b", "low b"] as const };
const constant = (value: number, noise: number) => ({
  a1b1: [value + noise, value],
  a1b0: [value, value],
  a0b1: [value, value],
  a0b0: [value, value - noise],
});
const texts = ({ json }: Figure) =>
  (json.layout.annotations as { text: string }[]).map(({ text }) => text);
const axis = ({ json }: Figure, name: string) => json.layout[name] as { range: [number, number] };

Deno.test("A mean has the interval of Student's t, with the quantiles of printed tables", () => {
  const table = { 1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 9: 2.262, 49: 2.0096 };
  for (const [freedom, quantile] of Object.entries(table)) {
    assertAlmostEquals(tQuantile(Number(freedom)), quantile, 6e-3);
  }
  const { mean, half } = summary("", [1, 2, 3]);
  assertEquals(mean, 2);
  assertAlmostEquals(half, 4.303 / Math.sqrt(3), 1e-3);
});

Deno.test("Boxes end at quartiles and whiskers at values", () => {
  const { quartiles, fences } = summary("", [1, 2, 3, 4, 100]);
  assertEquals([quartiles, fences], [[2, 3, 4], [1, 4]]);
});

Deno.test("A rate has the interval of Wilson, which never leaves 0 and 1", () => {
  const { low, high } = wilson(9, 10);
  assertAlmostEquals(low, 0.5958, 1e-3);
  assertAlmostEquals(high, 0.9821, 1e-3);
  assertAlmostEquals(wilson(0, 10).low, 0, 1e-12);
  assertAlmostEquals(wilson(10, 10).high, 1, 1e-12);
});

Deno.test("Float noise is marked and drawn from zero, never enlarged", () => {
  for (const chart of [conditionPanels, interactionPlot]) {
    const cells = constant(0.61948, 2e-7);
    const shown = chart([{ name: "constant", cells }], { ...words, levels });
    assert(texts(shown).some((text) => text.includes("does not vary: not manipulated")));
    const { range } = axis(shown, "yaxis");
    assertEquals(range[0], 0);
    assertAlmostEquals(range[1], 1.3 * 0.61948, 1e-5);
  }
});

Deno.test("A measure that varies is drawn with its sign, on an axis about its values", () => {
  const cells = { a1b1: [-3, -2], a1b0: [0, 0], a0b1: [0, 0], a0b0: [1, 1] };
  const shown = conditionPanels([{ name: "signed", cells }], { ...words, levels });
  const { range } = axis(shown, "yaxis");
  assert(range[0] < -3 && range[0] > -4 && range[1] > 1 && range[1] < 2);
  assert(!texts(shown).some((text) => text.includes("not manipulated")));
});

Deno.test("The title of a panel states contrast, interval, p and kind, unless a factor did nothing", () => {
  const cells = { a1b1: [2, 3], a1b0: [1, 1], a0b1: [1, 1], a0b0: [0, 0] };
  const title = (kind: string, p = 0.0004, estimate = -0.5) =>
    texts(conditionPanels([{
      name: "m",
      cells,
      test: { interaction: { estimate, low: -1, high: 0.25, p }, kind },
    }], {
      ...words,
      levels,
    }))[0].replaceAll("\u00a0", " ");
  assertEquals(title("none"), "m: contrast −0.5 [−1, +0.25], p &lt; 0.001");
  assertEquals(title("crossover"), "m: contrast −0.5 [−1, +0.25], p &lt; 0.001, crossover");
  assertEquals(title("none", 0.00412, 0.00217), "m: contrast +0.00217 [−1, +0.25], p = 0.0041");
  assertEquals(title("not manipulated"), "m: not manipulated (contrast −0.5)");
});

Deno.test("Main effects are means over the other factor, frame by frame", () => {
  const cells = { a1b1: [4, 8], a1b0: [2, 2], a0b1: [1, 3], a0b0: [-1, -1] };
  const { json } = conditionPanels([{ name: "m", cells }], { ...words, levels });
  const points = json.data.filter(({ mode, text, yaxis }) =>
    mode === "markers" && yaxis === "y2" && /^frame/.test((text as string[])[0])
  );
  assertEquals(points.map(({ y }) => y), [[3, 5], [0, 1], [2.5, 5.5], [0.5, 0.5]]);
});

Deno.test("The ring is at the sum of the effects", () => {
  const cells = { a1b1: [9, 9], a1b0: [3, 5], a0b1: [2, 2], a0b0: [1, 1] };
  const { json } = interactionPlot([{ name: "m", cells }], { ...words, levels });
  assertEquals(json.data[2].y, [4 + 2 - 1]);
});

Deno.test("Intervals of crossed frames leave out what frames differ in, and only that", () => {
  // Frames at very different levels, the same effect in each, and a little noise.
  const level = [0, 100, 200, 300];
  const noise = [0.1, -0.1, 0.1, -0.1];
  const cells = {
    a1b1: level.map((x, i) => x + 3 + noise[i]),
    a1b0: level.map((x, i) => x + 2 - noise[i]),
    a0b1: level.map((x, i) => x + 1 - noise[i]),
    a0b0: level.map((x, i) => x + noise[i]),
  };
  const half = (crossed: boolean) => {
    const { json } = interactionPlot([{ name: "m", cells }], { ...words, levels, crossed });
    const [high] = json.data as { y: number[]; error_y: { array: number[] } }[];
    assertEquals(high.y, [152, 153]);
    return high.error_y.array[0];
  };
  const t = 3.182;
  assertAlmostEquals(half(true), t * 0.1 * Math.sqrt(4 / 3) * Math.sqrt(4 / 3) / 2, 2e-3);
  assertAlmostEquals(half(false), t * 129.1 / 2, 0.5);
});

Deno.test("The p of a null counts the observed value among its draws", () => {
  const draws = Array.from({ length: 99 }, (_, i) => i - 49);
  const p = (observed: number, tail: "upper" | "lower" | "two-sided") =>
    /p (?:=|&lt;) [\d.]+/.exec(
      texts(nullDistribution([{ name: "n", draws }], { ...words, observed, tail }))[0],
    )?.[0];
  assertEquals(p(45, "upper"), "p = 0.06");
  assertEquals(p(45, "lower"), "p = 0.96");
  assertEquals(p(45, "two-sided"), "p = 0.11");
  assertEquals(p(100, "upper"), "p = 0.01");
});

Deno.test("Each observed value stands against each null", () => {
  const shown = nullDistribution([
    { name: "first", draws: [0, 1, 2] },
    { name: "second", draws: [10, 11, 12] },
  ], { ...words, observed: [{ name: "a", value: 5 }, { name: "b", value: 11 }] });
  assertEquals(texts(shown).slice(0, 2), [
    "a 5<br>p = 0.25, first<br>p = 1, second",
    "b 11<br>p = 0.25, first<br>p = 0.75, second",
  ]);
});

Deno.test("At most 200 points of a group are stored, the extremes among them", () => {
  const values = Float32Array.from({ length: 5000 }, (_, i) => (i * 7919) % 5000);
  const { json } = boxPoints([{ name: "many", values }], words);
  const y = json.data[0].y as number[];
  assertEquals([y.length, Math.min(...y), Math.max(...y)], [200, 0, 4999]);
});

Deno.test("Charts of conditions refuse what they cannot draw, naming it", () => {
  const uneven = { name: "m", cells: { a1b1: [1], a1b0: [1, 2], a0b1: [1], a0b0: [1] } };
  for (const chart of [conditionPanels, interactionPlot]) {
    assertThrows(() => chart([], { ...words, levels }), RangeError, "at least one row");
    assertThrows(
      () => chart([uneven], { ...words, levels }),
      RangeError,
      'Cannot draw "m" of [1,2,1,1] values',
    );
  }
  assertThrows(
    () => boxPoints([{ name: "g", values: [NaN] }], words),
    RangeError,
    'the group "g": none of its values is a number',
  );
  const draws = [1, 2];
  assertThrows(
    () => nullDistribution([{ name: "n", draws }], { ...words, observed: NaN }),
    RangeError,
    '"observed" = NaN',
  );
  assertThrows(
    () => powerCurve([{ name: "s", strength: [0], detected: [3], trials: 2 }], words),
    RangeError,
    "3 of 2 trials",
  );
});

Deno.test("A title of more lines starts lower, so that its first line stays on the page", () => {
  const pad = (title: string) =>
    (boxPoints([{ name: "g", values: [1, 2] }], { ...words, title }).json.layout.title as {
      pad: { t: number };
    }).pad.t;
  const long = "Words that make a title of more than one line. ";
  assertEquals([pad("Short"), pad(long.repeat(3)), pad(long.repeat(5))], [12, 23, 34]);
});
