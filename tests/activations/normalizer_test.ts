import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { fitNormalizer, Normalizer } from "../../lib/activations/mod.ts";
import { inScratch, namesBelow } from "../files/scratch.ts";

await openDevice();

/** Vectors with a few elements far out. */
function outliers(tokens: number, d: number): Float32Array {
  const values = new Rng(0, "outliers").normals(tokens * d, 1);
  for (let i = 0; i < values.length; i += 997) values[i] = i % 2 === 0 ? 80 : -60;
  return values.map((value) => value + 0.5);
}

Deno.test("normalised training vectors have a mean norm of √d", () => {
  const [tokens, d] = [500, 16];
  for (const clipSigma of [null, 6, 2]) {
    const x = outliers(tokens, d);
    fitNormalizer(() => [x], d, { clipSigma, scale: true }).applyTo(x);
    let norms = 0;
    for (let t = 0; t < tokens; t++) norms += Math.hypot(...x.subarray(t * d, (t + 1) * d));
    assertAlmostEquals(norms / tokens, Math.sqrt(d), 1e-5);
  }
});

Deno.test("bounds are the mean of all elements and clipSigma standard deviations to both sides", () => {
  const x = outliers(300, 8);
  const mean = x.reduce((a, b) => a + b) / x.length;
  const std = Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length);
  const { clip, fit } = fitNormalizer(() => [x], 8, { clipSigma: 3, scale: true });
  assertAlmostEquals(clip!.low, mean - 3 * std, 1e-4);
  assertAlmostEquals(clip!.high, mean + 3 * std, 1e-4);
  const outside = x.filter((value) => Math.abs(value - mean) > 3 * std).length;
  assertEquals(fit!.clippedFraction, outside / x.length);
});

Deno.test("the scale is that of the clamped vectors, as the study has it", () => {
  // Elements -1, 1, 1, 7: mean 2, standard deviation 3, so one of them leaves 2 ± 3.
  const x = new Float32Array([-1, 1, 1, 7]);
  const { scale, clip } = fitNormalizer(() => [x], 2, { clipSigma: 1, scale: true });
  assertEquals(clip, { low: -1, high: 5 });
  const meanNorm = (Math.hypot(-1, 1) + Math.hypot(1, 5)) / 2;
  assertAlmostEquals(scale, Math.SQRT2 / meanNorm, 1e-7);
});

Deno.test("a fit does not depend on how tokens are chunked", () => {
  const x = outliers(100, 4);
  const options = { clipSigma: 2, scale: true };
  const whole = fitNormalizer(() => [x], 4, options);
  const parts = fitNormalizer(() => [x.subarray(0, 44), x.subarray(44)], 4, options);
  assertEquals(parts, whole);
});

Deno.test("without clamping and scaling nothing changes", () => {
  const x = outliers(10, 4);
  const same = x.slice();
  fitNormalizer(() => [x], 4, { clipSigma: null, scale: false }).applyTo(same);
  assertEquals(same, x);
});

Deno.test("tensors and arrays are normalised alike, and restored where nothing was clamped", async () => {
  const normalizer = new Normalizer(0.25, { low: -4, high: 4 });
  const x = new Float32Array([-9, -1, 0, 3.5, 4.5, 2]);
  const before = tf.memory().numTensors;
  const tensor = tf.tensor2d(x, [2, 3]);
  const normalised = normalizer.apply(tensor);
  const restored = normalizer.restore(normalised);
  const inPlace = x.slice();
  normalizer.applyTo(inPlace);
  assertEquals(await normalised.data<"float32">(), inPlace);
  assertEquals([...await restored.data()], [-4, -1, 0, 3.5, 4, 2]);
  tf.dispose([tensor, normalised, restored]);
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("a saved normaliser is the same when loaded", () =>
  inScratch(async (folder) => {
    const x = outliers(100, 4);
    for (const clipSigma of [null, 3]) {
      const normalizer = fitNormalizer(() => [x], 4, { clipSigma, scale: true });
      await normalizer.save(folder);
      assertEquals(Normalizer.load(folder), normalizer);
    }
    assertEquals(namesBelow(folder), ["normalizer.json", "normalizer.safetensors"]);
    await new Normalizer(2).save(`${folder}/other`);
    await Deno.copyFile(`${folder}/other/normalizer.json`, `${folder}/normalizer.json`);
    assertThrows(() => Normalizer.load(folder), Error, "disagree");
    await Deno.writeTextFile(`${folder}/normalizer.json`, "{");
    assertThrows(() => Normalizer.load(folder), Error, "Cannot read the normaliser");
    await assertRejects(() => Promise.resolve().then(() => Normalizer.load(`${folder}/none`)));
  }));

Deno.test("what cannot be fitted is refused", () => {
  const fit = (x: number[], clipSigma: number | null) => () =>
    fitNormalizer(() => [new Float32Array(x)], 2, { clipSigma, scale: true });
  assertThrows(fit([], 6), RangeError, "0 tokens");
  assertThrows(fit([0, 0], 6), RangeError, "not all 0");
  for (const clipSigma of [0, -1, NaN, Infinity]) {
    assertThrows(fit([1, 2], clipSigma), RangeError, `clamp to ${clipSigma} standard`);
  }
  assertThrows(() => new Normalizer(0), RangeError, "scale 0");
  assertThrows(() => new Normalizer(1, { low: 1, high: 1 }), RangeError, "1…1");
});
