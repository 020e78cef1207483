import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { errorPercent, FvuMeter } from "../../lib/metrics/mod.ts";
import { tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const rows = [[1, 0], [3, 0], [5, 6]];
const meanRows = [[3, 2], [3, 2], [3, 2]];

async function fvuOf(...batches: [number[][], number[][]][]): Promise<number> {
  const meter = new FvuMeter(2);
  for (const [x, reconstruction] of batches) {
    const tensors = [tf.tensor2d(x), tf.tensor2d(reconstruction)];
    await meter.update(tensors[0], tensors[1]);
    tf.dispose(tensors);
  }
  return meter.fvu();
}

const plus = (offset: number) => rows.map((row) => row.map((value) => value + offset));

eachBackend("FVU is 0 for the identity and 1 for the predictor of the mean", async () => {
  assertEquals(await fvuOf([rows, rows]), 0);
  assertAlmostEquals(await fvuOf([rows, meanRows]), 1, 1e-6);
});

eachBackend("FVU counts a constant offset as error", async () => {
  // Error 3 · (0.5² + 0.5²) = 1.5; variation 8 + 24 = 32.
  assertAlmostEquals(await fvuOf([rows, plus(0.5)]), 1.5 / 32, 1e-6);
});

eachBackend("FVU does not depend on how tokens are batched", async () => {
  const split = await fvuOf(
    [rows.slice(0, 1), meanRows.slice(0, 1)],
    [rows.slice(1), meanRows.slice(1)],
  );
  assertAlmostEquals(split, await fvuOf([rows, meanRows]), 1e-6);
});

eachBackend("FVU keeps its digits when the mean is a thousand times the spread", async () => {
  // Variation about the mean is 32 whatever is added; E‖x‖² − ‖E x‖² in float32 would lose it.
  const far = plus(5000);
  const mean = meanRows.map((row) => row.map((value) => value + 5000));
  assertAlmostEquals(await fvuOf([far, mean]), 1, 1e-3);
  assertAlmostEquals(
    await fvuOf([far.slice(0, 2), mean.slice(0, 2)], [far.slice(2), mean.slice(2)]),
    1,
    1e-3,
  );
});

eachBackend("FVU leaves no tensor behind", async () => {
  const before = tf.memory().numTensors;
  await fvuOf([rows, meanRows]);
  assertEquals(tf.memory().numTensors, before);
});

eachBackend("FVU refuses what it cannot compare", async () => {
  await assertRejects(
    () => fvuOf([rows, [[0, 0, 0, 0]]]),
    RangeError,
    "must be [tokens, 2]",
  );
  await assertRejects(() => fvuOf([[[1, 1], [1, 1]], [[0, 0], [0, 0]]]), RangeError, "must vary");
  assertThrows(() => new FvuMeter(2).fvu(), RangeError, "0 tokens");
});

eachBackend("Error % is 0 for the identity, 100 for zero, and below 100 for the mean", async () => {
  const x = tf.tensor2d(rows);
  assertEquals(await errorPercent(x, x), 0);
  assertAlmostEquals(await errorPercent(x, tf.zeros([3, 2])), 100, 1e-4);
  // Uncentred: 32 / 71, where the FVU of the same prediction is 1.
  assertAlmostEquals(await errorPercent(x, tf.tensor2d(meanRows)), 100 * 32 / 71, 1e-4);
  await assertRejects(() => errorPercent(tf.zeros([1, 2]), tf.ones([1, 2])), RangeError, "all 0");
});
