import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { Adam, Rng, roundToFloat16, tf } from "../../lib/tensor/mod.ts";
import fixture from "../fixtures/float16_adam.json" with { type: "json" };
import { eachBackend } from "../backends.ts";

eachBackend(
  "Every rounding is that of the language, subnormal numbers and ties included",
  async () => {
    const rng = new Rng(0, "float16");
    const values = Float32Array.from({ length: 4000 }, (_, i) => {
      const size = 2 ** (-26 + 40 * rng.uniform());
      // Every fourth is a tie between two neighbours.
      if (i % 4 === 0) {
        return Math.f16round(size) * (1 + 2 ** -12) + (size < 2 ** -14 ? 2 ** -25 : 0);
      }
      return (i % 2 ? -1 : 1) * size;
    });
    values.set([0, 2 ** -24, 2 ** -25, 1.5 * 2 ** -24, 2 ** -14, 1 + 2 ** -11, 65504]);
    const rounded = await roundToFloat16(tf.tensor1d(values)).data();
    assertEquals([...rounded].map((x) => x + 0), [...values].map((x) => Math.f16round(x) + 0));
  },
);

eachBackend("Adam in float16 follows PyTorch's on float16 parameters", async () => {
  const { start, gradients, learningRate, epsilon } = fixture;
  const adam = new Adam({ w: tf.tensor1d(start) }, { epsilon, precision: "float16" });
  const plain = new Adam({ w: tf.tensor1d(start) }, { epsilon });
  for (const g of gradients) {
    adam.apply({ w: tf.tensor1d(g) }, learningRate);
    plain.apply({ w: tf.tensor1d(g) }, learningRate);
  }
  const [ours, wide] = [await adam.values.w.data(), await plain.values.w.data()];
  let apart = 0;
  fixture.values.at(-1)!.forEach((theirs, i) => {
    const moved = Math.abs(theirs - start[i]);
    assertAlmostEquals(ours[i], theirs, 0.01 * moved + 2 ** -10 * Math.abs(theirs), `${i}`);
    if (Math.abs(wide[i] - theirs) > 0.2 * moved) apart++;
  });
  assert(apart >= 3, `float32 differs in ${apart} of ${start.length} parameters`);
  adam.dispose();
  plain.dispose();
});

eachBackend("Adam in float16 loses updates under half a unit in the last place", async () => {
  const adam = new Adam({ w: tf.tensor1d([0.5, 1e-3]) }, { precision: "float16" });
  const before = tf.memory().numTensors;
  for (let step = 0; step < 5; step++) adam.apply({ w: tf.tensor1d([1, 1]) }, 1e-5);
  const [large, small] = await adam.values.w.data();
  assertEquals(large, 0.5);
  assert(small < 1e-3 - 3e-5, `${small}`);
  assert(tf.memory().numTensors <= before + 1, "one reading of the value may be held");
  assertThrows(
    () => {
      const matrix = new Adam({ V: tf.ones([2, 2]) }, { precision: "float16" });
      matrix.apply({ V: { rows: tf.tensor1d([0], "int32"), values: tf.ones([1, 2]) } }, 1);
    },
    RangeError,
    "rows of",
  );
  const tiny = { precision: "float16", epsilon: 1e-8 } as const;
  assertThrows(() => new Adam({ w: tf.tensor1d([1]) }, tiny), RangeError, "ε = 1e-8");
  adam.dispose();
});
