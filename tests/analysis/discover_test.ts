import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { discover, type DiscoveryCodes, selectionAlone } from "../../lib/analysis/mod.ts";
import { tTest } from "../../lib/metrics/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";
import { tinyDesign } from "./tiny_design.ts";

/** Noise, frames with a level of their own, and what a test adds. */
function codesOf(
  add: (stimulus: { a: 0 | 1; b: 0 | 1; frame: string }, row: Float32Array, text: number) => void,
  { frames = 40, dSae = 60, seed = 0, tokens = (_: number): number => 10 } = {},
): DiscoveryCodes {
  const design = tinyDesign(frames, () => "");
  const rng = new Rng(seed, "codes");
  const features = rng.normals(design.stimuli.length * dSae, 1);
  design.stimuli.forEach((stimulus, text) =>
    add(stimulus, features.subarray(text * dSae, (text + 1) * dSae), text)
  );
  return { design, dSae, features, tokens: design.stimuli.map((_, text) => tokens(text)) };
}

Deno.test("Features of each factor are found on some frames and confirmed on others", () => {
  const codes = codesOf(({ a, b }, row) => {
    row[7] += 2 * a;
    row[11] -= 2 * b;
  });
  const { a, b, selection, confirmation } = discover(codes, { top: 2, draws: 99 });
  assertEquals(selection.filter((frame) => confirmation.includes(frame)), []);
  assertEquals(selection.length + confirmation.length, 40);
  assertEquals([a.features[0].feature, b.features[0].feature], [7, 11]);
  for (const [factor, sign] of [[a, 1], [b, -1]] as const) {
    const [first, second] = factor.features;
    assertEquals([first.discovered, second.discovered], [true, false]);
    assertEquals([factor.largest.p, Math.sign(first.effect.estimate)], [0.01, sign]);
    assert(first.pMaxT < 0.01 && second.pMaxT > 0.05);
    assert(first.effect.low < 2 * sign && 2 * sign < first.effect.high);
  }
});

Deno.test("Where no feature knows a factor, selection alone makes it look so on the same texts", () => {
  const runs = 8;
  let [confirmed, asStudied, tests] = [0, 0, 0];
  const maxima: number[] = [];
  for (let seed = 0; seed < runs; seed++) {
    const codes = codesOf(() => {}, { seed, dSae: 200 });
    const corrected = discover(codes, { top: 3, draws: 39, seed });
    const studied = discover(codes, { top: 3, draws: 39, seed, faithful: ["B22"] });
    for (const factor of ["a", "b"] as const) {
      tests += 3;
      confirmed += corrected[factor].features.filter(({ effect }) => effect.p < 0.05).length;
      asStudied += studied[factor].features.filter(({ selection }) => selection.p < 0.05).length;
      maxima.push(corrected[factor].largest.p, studied[factor].largest.p);
    }
  }
  assert(asStudied > 0.95 * tests, `${asStudied} of ${tests}`);
  assert(confirmed < 0.12 * tests, `${confirmed} of ${tests}`); // 2 or 3 expected
  // The p of the largest |t| is uniform.
  const small = maxima.filter((p) => p <= 0.1).length;
  assert(small <= 9, `${small} of 32`); // 3 expected, 10 or more in 2 of 1000
});

Deno.test("Choosing alone has a p below 0.05 on its own texts, and seldom on other frames", () => {
  // A level of its own for each frame is no effect: within frames it cancels.
  const codes = codesOf(({ frame }, row) =>
    row.forEach((_, f) => row[f] += Number(frame) * (f + 1) % 7)
  );
  for (const factor of ["a", "b"] as const) {
    const { sameTexts, otherFrames } = selectionAlone(codes, { factor, draws: 99 });
    const small = (p: Float64Array) => p.filter((value) => value < 0.05).length;
    assert(small(sameTexts) >= 80, `${small(sameTexts)} of 99`); // 94 expected
    assert(small(otherFrames) <= 12, `${small(otherFrames)} of 99`); // 13 or more in 2 of 1000
  }
  const same = { ...codes, features: new Float32Array(codes.features.length).fill(2) };
  assertThrows(() => selectionAlone(same), RangeError, "none varies");
});

Deno.test("With B22 frames are not split and t is Student's of independent texts", () => {
  const codes = codesOf(({ a }, row) => row[5] += a);
  const { a, selection, confirmation } = discover(codes, {
    top: 1,
    draws: 99,
    faithful: ["B22"],
  });
  assertEquals(selection, confirmation);
  const column = codes.design.stimuli.map(({ a }, text) => ({
    a,
    value: codes.features[text * codes.dSae + 5],
  }));
  const of = (level: number) => column.filter(({ a }) => a === level).map(({ value }) => value);
  const { t, p } = tTest(of(1), of(0), { variances: "equal" });
  assertEquals(a.features[0].feature, 5);
  assertAlmostEquals(a.features[0].selection.t, t, 1e-9);
  assertAlmostEquals(a.features[0].selection.p, p, 1e-9);
});

Deno.test("A feature that is constant up to rounding is never chosen", () => {
  for (const faithful of [[], ["B22"]] as const) {
    const codes = codesOf(({ a }, row) => {
      row[0] = 0;
      row[1] = 0.35303518 + 1e-7 * a; // the study's "emotion" feature
      row[2] += a;
    }, { dSae: 5 });
    const { a, constant, candidates } = discover(codes, { top: 3, draws: 99, faithful });
    assertEquals([constant, candidates], [2, 3]);
    assertEquals(a.features.some(({ feature }) => feature < 2), false);
    assertThrows(() => discover(codes, { top: 4 }), RangeError, "3 of 5 vary");
  }
});

Deno.test("A feature that differs between frames but not within has no effect", () => {
  const codes = codesOf(({ frame }, row) => row[3] = Number(frame) + 1e-6 * row[3], {
    dSae: 8,
  });
  const { a, b } = discover(codes, { top: 7, draws: 99 });
  const chosen = [...a.features, ...b.features].filter(({ feature }) => feature === 3);
  assertEquals(chosen.every(({ selection }) => selection.t === 0), true);
});

Deno.test("A feature of both factors is marked", () => {
  const codes = codesOf(({ a, b }, row) => row[4] += 3 * (a + b));
  const { a, b } = discover(codes, { top: 2, draws: 99 });
  assertEquals(a.features.map(({ shared }) => shared), [true, false]);
  assertEquals([b.features[0].feature, b.features[0].shared], [4, true]);
});

Deno.test("An effect that is one of length is gone at equal length", () => {
  let small = 0;
  for (let seed = 0; seed < 12; seed++) {
    const extra = new Rng(seed, "lengths");
    // Texts with high A are longer, by one to six tokens; feature 6 measures the length.
    const lengths = Array.from({ length: 160 }, (_, text) => {
      const high = text % 4 < 2;
      return 10 + (high ? 1 + extra.integer(6) : 0);
    });
    const codes = codesOf((_, row, text) => row[6] = lengths[text] + 0.2 * row[6], {
      seed,
      dSae: 8,
      tokens: (text) => lengths[text],
    });
    const [first] = discover(codes, { top: 1, draws: 99 }).a.features;
    assertEquals([first.feature, first.discovered], [6, true]);
    assert(Math.abs(first.adjusted!.estimate) < 0.2 * first.effect.estimate);
    if (first.adjusted!.p < 0.05) small++;
  }
  assert(small <= 3, `${small} of 12`); // 4 or more in 2 of 1000

  const same = discover(codesOf(({ a }, row) => row[6] += a), { top: 1, draws: 99 });
  assertAlmostEquals(same.a.features[0].adjusted!.estimate, same.a.features[0].effect.estimate);
  const apart = codesOf(({ a }, row) => row[6] += a, { tokens: (text) => text % 4 < 2 ? 12 : 10 });
  assertEquals(discover(apart, { top: 1, draws: 99 }).a.features[0].adjusted, null);
});

Deno.test("Frames with a sink are in no part", () => {
  const codes = { ...codesOf(({ a }, row) => row[2] += 2 * a), sinks: [4, 9] };
  const { leftOut, selection, confirmation } = discover(codes, { top: 1, draws: 99 });
  assertEquals(leftOut, ["2", "3"]);
  assertEquals([...selection, ...confirmation].includes("2"), false);
  assertEquals(selection.length + confirmation.length, 38);
});

Deno.test("Numbers that are not those of the stimuli are refused", () => {
  const codes = codesOf(() => {});
  const short = { ...codes, features: codes.features.subarray(1) };
  assertThrows(() => discover(short), RangeError, "expected 160 texts of 60 features");
  assertThrows(() => discover(codes, { top: 0 }), RangeError, "Cannot choose 0 features");
  assertThrows(() => discover(codes, { draws: 5 }), RangeError, "5 draws");
});
