import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  coactivePairs,
  Nfm,
  type NfmShape,
  type Pair,
  pairTensor,
  strongestPairs,
} from "../../lib/interaction/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const [dSae, dOut, K] = [6, 3, 4];
const shape: NfmShape = { parts: "both", dSae, dOut, K, head: "linear", topN: dSae };

function model(): Nfm {
  const draw = (name: string, size: [number, number]) =>
    tf.tensor2d(new Rng(2, name).normals(size[0] * size[1], 1), size);
  return new Nfm(shape, {
    b: tf.ones([dOut]),
    W: draw("W", [dSae, dOut]),
    V: draw("V", [dSae, K]),
    C: draw("C", [K, dOut]),
  }, { scales: { code: 1.3, target: 0.4 } });
}

const all: Pair[] = [];
for (let i = 0; i < dSae; i++) for (let j = i + 1; j < dSae; j++) all.push([i, j]);

eachBackend("The pair tensor is the mixed difference of the model's prediction", async () => {
  const nfm = model();
  const T = await pairTensor(nfm, all).data();
  const predict = async (active: Record<number, number>) => {
    const f = new Float32Array(dSae).fill(0);
    f[1] = 0.7; // another feature is active all the time
    for (const [feature, value] of Object.entries(active)) f[+feature] += value;
    return await nfm.predict(tf.tensor2d(f, [1, dSae])).data();
  };
  for (const [at, [i, j]] of all.entries()) {
    const [fi, fj] = [1.5, -0.5];
    const terms = [{ [i]: fi, [j]: fj }, { [i]: fi }, { [j]: fj }, {}];
    const [both, first, second, none] = await Promise.all(terms.map(predict));
    for (let k = 0; k < dOut; k++) {
      const mixed = both[k] - first[k] - second[k] + none[k];
      assertAlmostEquals(mixed, fi * fj * T[at * dOut + k], 2e-5);
    }
  }
});

eachBackend("The strongest pairs are those of the largest weighted norm", async () => {
  const nfm = model();
  const T = await pairTensor(nfm, all).data();
  const weight = all.map((_, i) => 1 + i % 3);
  const norm = (at: number) => weight[at] * Math.hypot(...T.subarray(at * dOut, (at + 1) * dOut));
  const order = all.map((_, i) => i).sort((a, b) => norm(b) - norm(a));
  const before = tf.memory().numTensors;
  const ranked = await strongestPairs(nfm, all, { top: 5, weight });
  assertEquals(tf.memory().numTensors, before);
  assertEquals(ranked.map(({ pair }) => pair), order.slice(0, 5).map((at) => all[at]));
  ranked.forEach(({ strength }, i) => assertAlmostEquals(strength, norm(order[i]), 1e-4));
});

Deno.test("Pairs are counted on the tokens where both are active", () => {
  const indices = Int32Array.of(9, 3, 7, /**/ 3, 9, 0, /**/ 7, 7, 3);
  const values = Float32Array.of(1, 2, 3, /**/ 1, 1, 0, /**/ 1, 5, 1);
  const found = coactivePairs(indices, values, 3);
  assertEquals(found, [
    { pair: [3, 7], count: 3, energy: 36 + 1 + 25 },
    { pair: [3, 9], count: 2, energy: 4 + 1 },
    { pair: [7, 9], count: 1, energy: 9 },
  ]);
  assertEquals(coactivePairs(indices, values, 3, { minCount: 2 }).length, 2);
});

eachBackend(
  "A model without a pair tensor and a feature that is not there are refused",
  async () => {
    const nfm = model();
    assertThrows(() => pairTensor(nfm, [[0, 6]]), RangeError, "features 0 and 6: the model has 6");
    await assertRejects(() => strongestPairs(nfm, [[0, -1]]), RangeError, "the model has 6");
    const { b, W } = nfm.weights;
    const linear = new Nfm({ ...shape, parts: "linear", K: 0 }, { b, W });
    assertThrows(() => pairTensor(linear, []), RangeError, 'parts "linear"');
  },
);
