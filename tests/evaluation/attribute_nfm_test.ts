import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import { attributeNfm, interactionControls } from "../../lib/evaluation/mod.ts";
import { Nfm, trainNfm } from "../../lib/interaction/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

await openDevice();

const [n, d] = [8, 10];

/** x = (codes, a sum of two pairs, a linear term); features fire now and then. */
function world() {
  const draw = (seed: number) => {
    const rng = new Rng(seed, "attribution");
    const rows = Array.from({ length: 1500 }, () => {
      const f = Array.from({ length: n }, () => rng.uniform() < 0.4 ? 1 + rng.uniform() : 0);
      return [...f, f[0] * f[1] + f[2] * f[3], 0.5 * f[4] + 0.05 * rng.normal()];
    });
    return {
      rows: Float32Array.from(rows.flat()),
      document: Int32Array.from(rows, (_, i) => Math.floor(i / 50)),
    };
  };
  const store = memoryStore(
    d,
    { train: draw(0), validation: draw(1), test: draw(2) },
    "attribution",
  );
  const W_dec = tf.tensor2d(
    Array.from({ length: n }, (_, i) => Array.from({ length: d }, (_, j) => +(i === j))),
  );
  const sae = new Sae({ architecture: "topk", dIn: d, dSae: n, k: n }, {
    W_enc: tf.transpose(W_dec) as tf.Tensor2D,
    b_enc: tf.zeros([n]),
    W_dec,
    b_dec: tf.zeros([d]),
  });
  return { store, sae };
}

/** The machine that made the residual. */
function truth(): Nfm {
  const at = (rows: number, columns: number, ones: [number, number, number][]) => {
    const values = new Float32Array(rows * columns);
    for (const [i, j, value] of ones) values[i * columns + j] = value;
    return tf.tensor2d(values, [rows, columns]);
  };
  return new Nfm({ parts: "both", dSae: n, dOut: d, K: 2, head: "linear", topN: n }, {
    b: tf.zeros([d]),
    W: at(n, d, [[4, 9, 0.5]]),
    V: at(n, 2, [[0, 0, 1], [1, 0, 1], [2, 1, 1], [3, 1, 1]]),
    C: at(2, d, [[0, 8, 1], [1, 8, 1]]),
  });
}

Deno.test("Terms that do not meet own what they explain, by every measure", async () => {
  const { store, sae } = world();
  const nfm = truth();
  const before = tf.memory().numTensors;
  const found = await attributeNfm(store, sae, nfm, { split: "test" });
  assertEquals(tf.memory().numTensors, before);
  const { energy, alone, ablation, shapley, joint, interactionShare, tokens } = found;
  assertEquals(tokens, 1500);
  assertAlmostEquals(energy.covariance.estimate, 0, 1e-6);
  assertAlmostEquals(
    energy.linear.estimate + energy.interaction.estimate + energy.covariance.estimate,
    1,
    1e-6,
  );
  for (const term of ["linear", "interaction"] as const) {
    assertAlmostEquals(alone[term].estimate, ablation[term].estimate, 1e-6);
    assertAlmostEquals(shapley[term].estimate, alone[term].estimate, 1e-6);
    assert(shapley[term].low > 0 && shapley[term].low <= shapley[term].high);
  }
  assertAlmostEquals(
    shapley.linear.estimate + shapley.interaction.estimate,
    joint.estimate,
    1e-9,
  );
  assertAlmostEquals(
    interactionShare.estimate,
    shapley.interaction.estimate / joint.estimate,
    1e-9,
  );
  assert(joint.estimate > 0.99);
  nfm.dispose();
});

Deno.test("A term that is twice too large explains nothing by itself", async () => {
  const { store, sae } = world();
  const nfm = truth();
  const { W } = nfm.weights;
  const doubled = new Nfm(nfm.shape, {
    ...Object.fromEntries(
      Object.entries(nfm.weights).map(([name, t]: [string, tf.Tensor]) => [name, tf.mul(t, 1)]),
    ) as typeof nfm.weights,
    W: tf.mul(W!, 2),
  });
  const { alone } = await attributeNfm(store, sae, doubled);
  // Twice the term leaves as much as none of it, but for the noise.
  assertAlmostEquals(alone.linear.estimate, 0, 5e-3);
  doubled.dispose();
  nfm.dispose();
});

Deno.test("Every shuffle of pairs takes their gain away, and does so again with the same seed", async () => {
  const { store, sae } = world();
  const nfm = truth();
  const before = tf.memory().numTensors;
  const { trained, ...shuffles } = await interactionControls(store, sae, nfm, { seed: 1 });
  assertEquals(tf.memory().numTensors, before);
  assert(trained.low > 0.5, JSON.stringify(trained));
  for (const [name, { high }] of Object.entries(shuffles)) {
    assert(high < 0.5 * trained.low, `${name}: ${high} against ${trained.low}`);
  }
  const again = await interactionControls(store, sae, nfm, { seed: 1 });
  assertEquals(again, { trained, ...shuffles });
  nfm.dispose();
});

Deno.test("A machine that is trained on the residuals of other tokens gains nothing", async () => {
  const { store, sae } = world();
  const config = { K: 4, steps: 150, batchSize: 200, learningRate: 1e-2, cache: false };
  const [plain, shuffled] = [
    await trainNfm(store, sae, config),
    await trainNfm(store, sae, { ...config, shuffle: "s3" }),
  ];
  assert(plain.metrics.fvu < 0.5 * shuffled.metrics.fvu, JSON.stringify(plain.metrics));
  const joint = (await attributeNfm(store, sae, shuffled.nfm)).joint;
  // Its mean is that of the true residual, and no more than that can be learnt.
  const mean = (await attributeNfm(store, sae, plain.nfm)).joint;
  assert(joint.estimate < 0.75 * mean.estimate, JSON.stringify([joint, mean]));
  await assertRejects(
    () => trainNfm(store, sae, { ...config, shuffle: "s9" as "s3" }),
    RangeError,
    "s9",
  );
});

Deno.test("Machines without the parts that are asked about are refused", async () => {
  const { store, sae } = world();
  const linear = new Nfm({ parts: "linear", dSae: n, dOut: d, K: 0, head: "linear", topN: n }, {
    b: tf.zeros([d]),
    W: tf.zeros([n, d]),
  });
  await assertRejects(() => attributeNfm(store, sae, linear), RangeError, 'expected "both"');
  await assertRejects(() => interactionControls(store, sae, linear), RangeError, "has none");
});
