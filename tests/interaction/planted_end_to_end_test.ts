import { assert, assertEquals } from "@std/assert";
import { plantedEndToEnd } from "../../lib/interaction/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";

const TINY = {
  ...{ n: 8, d: 4, pairs: 3, firing: 0.2, beta: 1, train: 2000, test: 1000 },
  ...{ k: 3, saeSteps: 60 },
};

Deno.test("True codes name every pair, and the surrogate is a row of its own where it is asked for", async () => {
  await openDevice();
  const before = tf.memory().numTensors;
  const rows = await plantedEndToEnd({ ...TINY, surrogate: true });
  assertEquals(tf.memory().numTensors, before);
  assertEquals(rows.map(({ codes }) => codes), ["sae", "surrogate", "fista", "oracle"]);
  const [sae, surrogate, , oracle] = rows;
  assertEquals([oracle.averagePrecision, oracle.precisionAtM, oracle.mmcs > 0.999], [1, 1, true]);
  assert(oracle.gainPercent > 20, `true codes gain ${oracle.gainPercent} %`);
  assertEquals(surrogate.mmcs, sae.mmcs);
  for (const { R0, R1, R2, R3 } of rows) assert([R0, R1, R2, R3].every((fvu) => fvu > 0));
});

Deno.test("The surrogate changes no other row", async () => {
  await openDevice();
  const [plain, withSurrogate] = [
    await plantedEndToEnd(TINY),
    await plantedEndToEnd({ ...TINY, surrogate: true }),
  ];
  assertEquals(withSurrogate.filter(({ codes }) => codes !== "surrogate"), plain);
});
