import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  cellsOf,
  columnOf,
  type MeasuredAt,
  measureStimuli,
  type Model,
  type Sae,
  tf,
  vectorCellsOf,
} from "interlens";
import { eachBackend } from "../backends.ts";
import { HOOK, only, tinyDesign, tinySubject } from "./tiny_design.ts";

/** Rows of activations and codes of one text, run alone and read one by one. */
async function byHand(model: Model, sae: Sae, text: string) {
  const { cache } = await model.runWithCache(model.toTokens(text), { names: HOOK });
  const raw = tf.squeeze(cache.get(HOOK), [0]) as tf.Tensor2D;
  const { low, high } = sae.normalizer!.clip!;
  const scaled = tf.mul(tf.clipByValue(raw, low, high), sae.normalizer!.scale) as tf.Tensor2D;
  const rows = {
    raw: await raw.array(),
    codes: await sae.encode(scaled).array(),
    rawCodes: await sae.encode(raw).array(),
  };
  cache.dispose();
  return rows;
}

const max = (rows: number[][], feature: number) =>
  rows.reduce((most, row) => Math.max(most, row[feature]), 0);
const mean = (rows: number[][], feature: number) =>
  rows.reduce((sum, row) => sum + row[feature], 0) / rows.length;

function assertClose(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-5) {
  assertEquals(got.length, expected.length);
  for (let i = 0; i < got.length; i++) assertAlmostEquals(got[i], expected[i], tolerance);
}

eachBackend("a text has the same numbers alone and in a padded batch", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign();
  for (const at of ["target", "mean", "max"] as MeasuredAt[]) {
    const together = await measureStimuli(model, sae, design, { at });
    for (const i of [0, 7, 15]) {
      const alone = await measureStimuli(model, sae, only(design, i), { at });
      assertClose(alone.features, together.features.slice(12 * i, 12 * (i + 1)));
      assertClose(alone.activations, together.activations.slice(8 * i, 8 * (i + 1)));
      assertEquals(alone.tokens[0], together.tokens[i]);
    }
    const small = await measureStimuli(model, sae, design, { at, batchSize: 3 });
    assertClose(small.features, together.features);
  }
  sae.dispose();
  model.dispose();
});

eachBackend("the target, the mean and the max are those of the text without BOS", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign(2);
  const { text } = design.stimuli[5];
  const { raw, codes } = await byHand(model, sae, text);
  const target = 1 + text.indexOf("went") + 3; // bytes, BOS in front
  const measure = async (at: MeasuredAt) => {
    const { features, activations } = await measureStimuli(model, sae, design, { at });
    return {
      features: features.slice(12 * 5, 12 * 6),
      activations: activations.slice(8 * 5, 8 * 6),
    };
  };
  const atTarget = await measure("target");
  assertClose(atTarget.features, codes[target]);
  assertClose(atTarget.activations, raw[target]);
  const features = Array.from({ length: 12 }, (_, j) => j);
  assertClose((await measure("mean")).features, features.map((j) => mean(codes.slice(1), j)));
  assertClose((await measure("max")).features, features.map((j) => max(codes.slice(1), j)));
  assertClose(
    (await measure("mean")).activations,
    raw[0].map((_, j) => mean(raw.slice(1), j)),
  );
  sae.dispose();
  model.dispose();
});

eachBackend("B5 reads BOS too, and nothing else changes", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign(2);
  const { codes } = await byHand(model, sae, design.stimuli[0].text);
  const read = async (at: MeasuredAt, faithful: "B5"[] = []) =>
    (await measureStimuli(model, sae, design, { at, faithful })).features.slice(0, 12);
  const features = Array.from({ length: 12 }, (_, j) => j);
  assertClose(await read("max", ["B5"]), features.map((j) => max(codes, j)));
  assertClose(await read("mean", ["B5"]), features.map((j) => mean(codes, j)));
  // BOS is the same in all texts, so it is a floor under all of them.
  const floor = features.filter((j) => codes[0][j] > max(codes.slice(1), j) + 0.01);
  assert(floor.length > 0);
  const { features: all } = await measureStimuli(model, sae, design, {
    at: "max",
    faithful: ["B5"],
  });
  for (const j of features) {
    assert(columnOf(all, 12, j).every((value) => value >= codes[0][j] - 1e-5));
  }
  const corrected = await read("max");
  assert(floor.every((j) => corrected[j] < codes[0][j]));
  sae.dispose();
  model.dispose();
});

eachBackend("B4 reads padding in place of the last tokens of the shorter texts", async () => {
  const { model, sae } = tinySubject();
  const long = "x".repeat(5);
  const design = tinyDesign(2, (frame) => frame === 0 ? "" : long);
  const faithful = ["B4"] as const;
  const inBatch = await measureStimuli(model, sae, design, { at: "max", faithful });
  const corrected = await measureStimuli(model, sae, design, { at: "max" });
  // The longest text of a batch, and one that is alone, have no padding.
  assertClose(inBatch.features.slice(12 * 4), corrected.features.slice(12 * 4));
  const alone = await measureStimuli(model, sae, only(design, 0), { at: "max", faithful });
  assertClose(alone.features, corrected.features.slice(0, 12));
  // 5 positions of padding, then the text without its last 5 tokens.
  const { codes } = await byHand(model, sae, design.stimuli[0].text);
  const padding = model.tokenizer.eosId;
  const { cache } = await model.runWithCache([new Array(5).fill(padding)], { names: HOOK });
  const pads = tf.tidy(() => {
    const x = tf.squeeze(cache.get(HOOK), [0]) as tf.Tensor2D;
    const { clip, scale } = sae.normalizer!;
    return sae.encode(tf.mul(tf.clipByValue(x, clip!.low, clip!.high), scale) as tf.Tensor2D);
  });
  const window = [...await pads.array(), ...codes.slice(1, -5)];
  assertClose(
    inBatch.features.slice(0, 12),
    Array.from({ length: 12 }, (_, j) => max(window, j)),
  );
  tf.dispose(pads);
  cache.dispose();
  sae.dispose();
  model.dispose();
});

eachBackend("B7 gives the dictionary raw activations", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign(2);
  const { text } = design.stimuli[0];
  const { codes, rawCodes } = await byHand(model, sae, text);
  const target = 1 + text.indexOf("went") + 3;
  const raw = await measureStimuli(model, sae, design, { faithful: ["B7"] });
  assertClose(raw.features.slice(0, 12), rawCodes[target]);
  const corrected = await measureStimuli(model, sae, design);
  assertClose(corrected.features.slice(0, 12), codes[target]);
  assert(codes[target].some((value, j) => Math.abs(value - rawCodes[target][j]) > 0.01));
  sae.dispose();
  model.dispose();
});

eachBackend("sinks are in no statistic, and a target that is one is named", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign(1);
  const { raw, codes } = await byHand(model, sae, design.stimuli[0].text);
  const norms = raw.map((row) => Math.hypot(...row));
  const sorted = norms.slice(1).sort((a, b) => a - b);
  const maxNorm = (sorted.at(-1)! + sorted.at(-2)!) / 2; // leaves one out
  const kept = codes.filter((_, p) => p > 0 && norms[p] <= maxNorm);
  assertEquals(kept.length, codes.length - 2);
  const { features } = await measureStimuli(model, sae, design, { at: "mean", maxNorm });
  assertClose(features.slice(0, 12), Array.from({ length: 12 }, (_, j) => mean(kept, j)));
  assertEquals((await measureStimuli(model, sae, design, { maxNorm: 1e-3 })).sinks, [0, 1, 2, 3]);
  const nothing = await measureStimuli(model, sae, design, { maxNorm: 1e-3, at: "max" });
  assertEquals([nothing.sinks.length, Math.max(...nothing.features)], [4, 0]);
  assertEquals((await measureStimuli(model, sae, design)).sinks, []);
  sae.dispose();
  model.dispose();
});

eachBackend("measuring keeps no tensors and stops when it is told to", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign(2);
  await measureStimuli(model, sae, design);
  const before = tf.memory().numTensors;
  await measureStimuli(model, sae, design);
  await measureStimuli(model, sae, design, { at: "max", faithful: ["B4", "B5", "B7"] });
  assertEquals(tf.memory().numTensors, before);
  await assertRejects(
    () => measureStimuli(model, sae, design, { signal: AbortSignal.abort() }),
    DOMException,
  );
  assertEquals(tf.memory().numTensors, before);
  sae.dispose();
  model.dispose();
});

eachBackend("what cannot be measured is refused before any work", async () => {
  const { model, sae } = tinySubject();
  const design = tinyDesign(1, () => "x".repeat(200));
  await assertRejects(() => measureStimuli(model, sae, design), RangeError, "row 2");
  const short = tinyDesign(1);
  const refused: [Parameters<typeof measureStimuli>[3], string][] = [
    [{ hook: "blocks.9.hook_resid_post" }, "blocks.9"],
    [{ hook: "blocks.1.mlp.hook_post" }, "width 8"],
    [{ at: "middle" as MeasuredAt }, "middle"],
    [{ batchSize: 0 }, "0 texts"],
    [{ maxNorm: 0 }, "norm of 0"],
    [{ faithful: ["B5"] }, "B5"],
  ];
  for (const [options, message] of refused) {
    await assertRejects(() => measureStimuli(model, sae, short, options), RangeError, message);
  }
  sae.dispose();
  model.dispose();
});

Deno.test("cells hold the same frame at the same place", () => {
  const design = tinyDesign(3);
  const values = design.stimuli.map(({ a, b, frame }) => 100 * Number(frame) + 10 * a + b);
  const cells = cellsOf(design, values);
  assertEquals([...cells.a1b1], [111, 211, 311]);
  assertEquals([...cells.a1b0], [110, 210, 310]);
  assertEquals([...cells.a0b1], [101, 201, 301]);
  assertEquals([...cells.a0b0], [100, 200, 300]);
  const vectors = vectorCellsOf(design, values.flatMap((value) => [value, -value]), 2);
  assertEquals([...vectors.a0b1], [101, -101, 201, -201, 301, -301]);
  assertThrows(() => cellsOf(design, values.slice(1)), RangeError, "11 numbers");
  assertThrows(() => vectorCellsOf(design, values, 2), RangeError, "6 vectors");
});
