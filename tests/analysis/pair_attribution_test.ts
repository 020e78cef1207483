import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import {
  attributePairs,
  contributions,
  effectOnLogits,
  interactionShare,
  mixedDifference,
  rankByContribution,
  type TokenCodes,
} from "../../lib/analysis/mod.ts";
import {
  fitPlanted,
  Nfm,
  type NfmShape,
  pairTensor,
  plantedPairs,
} from "../../lib/interaction/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const [dSae, dOut, K, n, tokens] = [10, 4, 3, 4, 60];

const draw = (seed: string, rows: number, columns: number) =>
  tf.tensor2d(new Rng(2, seed).normals(rows * columns, 1), [rows, columns]);

function model(head: "linear" | "relu", V = draw("V", dSae, K)): Nfm {
  const shape: NfmShape = { parts: "both", dSae, dOut, K, head, topN: n };
  const parts = head === "linear"
    ? { C: draw("C", K, dOut) }
    : { W1: draw("W1", K, K), b1: tf.ones<tf.Rank.R1>([K]), W2: draw("W2", K, dOut) };
  return new Nfm(shape, { b: tf.ones([dOut]), W: draw("W", dSae, dOut), V, ...parts }, {
    scales: { code: 0.7, target: 1.3 },
  });
}

/** Four different features a token, the last of them not active on a third of the tokens. */
function someCodes(seed = 0): TokenCodes {
  const rng = new Rng(seed, "tokens");
  const indices = new Int32Array(tokens * n);
  for (let token = 0; token < tokens; token++) {
    indices.set(rng.permutation(dSae).subarray(0, n), token * n);
  }
  const values = Float32Array.from(
    indices,
    (_, at) => at % n === n - 1 && at % 3 === 0 ? 0 : 0.5 + rng.uniform(),
  );
  return { indices, values, n, tokens, document: new Int32Array(tokens) };
}

/** Dense codes of one token, without some features. */
function denseRow({ indices, values }: TokenCodes, token: number, without: number[] = []) {
  const row = new Float32Array(dSae);
  for (let e = token * n; e < (token + 1) * n; e++) {
    if (!without.includes(indices[e])) row[indices[e]] = values[e];
  }
  return row;
}

async function predictions(nfm: Nfm, rows: Float32Array[]): Promise<Float32Array[]> {
  const flat = Float32Array.from(rows.flatMap((row) => [...row]));
  const codes = tf.tensor2d(flat, [rows.length, dSae]);
  const out = nfm.predict(codes);
  const values = await out.data<"float32">();
  tf.dispose([codes, out]);
  return rows.map((_, i) => values.slice(i * dOut, (i + 1) * dOut));
}

for (const head of ["linear", "relu"] as const) {
  eachBackend(
    `The effect of a pair is the second difference of predictions, ${head} head`,
    async () => {
      const nfm = model(head);
      const codes = someCodes();
      const [i, j] = [2, 5];
      const found = await mixedDifference(nfm, codes, [i, j]);
      assert(found.tokens.length > 2);
      for (const [at, token] of found.tokens.entries()) {
        const rows = [[], [i], [j], [i, j]].map((without) => denseRow(codes, token, without));
        const [both, noI, noJ, neither] = await predictions(nfm, rows);
        for (let k = 0; k < dOut; k++) {
          const expected = both[k] - noI[k] - noJ[k] + neither[k];
          assertAlmostEquals(found.effect[at * dOut + k], expected, 1e-4);
        }
      }
      nfm.dispose();
    },
  );

  eachBackend(`What is said of a pair is the sum over its tokens, ${head} head`, async () => {
    const nfm = model(head);
    const codes = someCodes();
    const before = tf.memory().numTensors;
    const options = { top: 5, minCount: 2, draws: 19 };
    const { pairs, interactionEnergy, candidates, coactive } = await attributePairs(
      nfm,
      codes,
      options,
    );
    assertEquals(tf.memory().numTensors, before);
    assertEquals([pairs.length, candidates], [5, coactive]);
    for (const { pair, count, energy, mean, share, consistency } of pairs) {
      const { tokens: those, effect } = await mixedDifference(nfm, codes, pair);
      assertEquals(count, those.length);
      const total = effect.reduce((all, value) => all + value * value, 0);
      assertAlmostEquals(energy / total, 1, 1e-4);
      assertAlmostEquals(share, energy / interactionEnergy, 1e-12);
      for (let k = 0; k < dOut; k++) {
        let sum = 0;
        for (let at = k; at < effect.length; at += dOut) sum += effect[at];
        assertAlmostEquals(mean[k], sum / count, 1e-4);
      }
      assert(consistency > 0 && consistency <= 1 + 1e-6);
    }
    nfm.dispose();
  });

  eachBackend(`A feature's contribution is what leaving it out changes, ${head} head`, async () => {
    // Feature 1 has a weight in dimension 2 only: leaving it out there is leaving it out.
    const weights = await draw("V", dSae, K).data<"float32">();
    weights.set([0, 0, 1.5], K);
    const nfm = model(head, tf.tensor2d(weights, [dSae, K]));
    const codes = someCodes();
    const { energy, active } = await contributions(nfm, codes, { features: [1, 3] });
    let expected = 0;
    let count = 0;
    for (let token = 0; token < tokens; token++) {
      if (denseRow(codes, token)[1] === 0) continue;
      count++;
      const rows = [[], [1]].map((without) => denseRow(codes, token, without));
      const flat = Float32Array.from(rows.flatMap((row) => [...row]));
      const { interaction } = nfm.pieces(tf.tensor2d(flat, [2, dSae]));
      const values = await interaction.data();
      for (let k = 0; k < dOut; k++) expected += (values[k] - values[dOut + k]) ** 2;
    }
    assertEquals([energy[0], energy[1], active[0]], [0, 0, count]);
    assertAlmostEquals(energy[2] / expected, 1, 1e-4);
    assertEquals(rankByContribution({ features: [1, 3], K, energy, active }, [1])[0].k, 2);
    nfm.dispose();
  });
}

eachBackend("With the linear head the effect is the product and the pair tensor", async () => {
  const nfm = model("linear");
  const codes = someCodes(1);
  const { tokens: those, effect } = await mixedDifference(nfm, codes, [0, 7]);
  const T = await pairTensor(nfm, [[0, 7]]).data();
  for (const [at, token] of those.entries()) {
    const row = denseRow(codes, token);
    for (let k = 0; k < dOut; k++) {
      assertAlmostEquals(effect[at * dOut + k], row[0] * row[7] * T[k], 1e-4);
    }
  }
  nfm.dispose();
});

Deno.test("The strongest pairs of a model of planted pairs are the planted ones, against their null", async () => {
  await openDevice();
  const M = 5;
  const world = plantedPairs({ n: 16, d: 12, pairs: M, firing: 0.25, train: 5000, test: 1500 });
  const nfm = await fitPlanted(world, { steps: 900 });
  const { codes: rows, tokens } = world.test;
  const dense: TokenCodes = {
    indices: Int32Array.from(rows, (_, at) => at % 16),
    values: rows,
    n: 16,
    tokens,
    document: new Int32Array(tokens),
  };
  const { pairs, highest } = await attributePairs(nfm, dense, { top: M, band: 16 });
  const names = (all: readonly (readonly number[])[]) => all.map((pair) => `${pair}`).sort();
  assertEquals(names(pairs.map(({ pair }) => pair)), names(world.pairs));
  // A draw joins a feature with one of 16, its own partner and those of its other pairs among them.
  for (const { pair, p, consistency, mean } of pairs) {
    assert(p <= 0.35, `${pair}: ${p}`);
    assert(consistency > 0.8); // u times a product that is never negative
    const m = world.pairs.findIndex(([i, j]) => i === pair[0] && j === pair[1]);
    const u = world.directions.subarray(m * 12, (m + 1) * 12);
    const cosine = mean.reduce((all, value, k) => all + value * u[k], 0) / Math.hypot(...mean);
    assert(cosine > 0.98, `${cosine}`);
  }
  assertEquals(highest.draws.length, 99);
  nfm.dispose();
});

Deno.test("Pairs of an untrained model are as strong as chance makes them", async () => {
  await openDevice();
  let [small, tests] = [0, 0];
  for (let seed = 0; seed < 12; seed++) {
    const V = tf.tensor2d(new Rng(seed, "V").normals(dSae * K, 0.05), [dSae, K]);
    const nfm = model("linear", V);
    const { pairs } = await attributePairs(nfm, someCodes(seed), { minCount: 2, draws: 39, seed });
    small += pairs[0].pHighest <= 0.05 ? 1 : 0;
    tests++;
    nfm.dispose();
  }
  assert(small <= 3, `${small} of ${tests}`); // 4 or more of 12 in 2 of 1000
});

eachBackend(
  "Shares of energy are those of the output, and norms those of the weights (B2)",
  async () => {
    const nfm = model("linear");
    const codes = someCodes();
    const { linear, interaction, covariance } = await interactionShare(nfm, { codes });
    const rows = Array.from({ length: tokens }, (_, token) => denseRow(codes, token));
    const energy = (await predictions(nfm, rows))
      .reduce((all, row) => all + row.reduce((sum, value) => sum + value * value, 0), 0) / tokens;
    assertAlmostEquals((linear + interaction + covariance) / energy, 1, 1e-5);
    const norms = await interactionShare(nfm, { faithful: ["B2"] });
    const V = await nfm.weights.V!.data();
    let mean = 0;
    for (let i = 0; i < dSae; i++) mean += Math.hypot(...V.subarray(i * K, (i + 1) * K)) / dSae;
    assertAlmostEquals(norms.interaction, mean, 1e-5);
    await assertRejects(() => interactionShare(nfm), RangeError, "give codes");
    nfm.dispose();
  },
);

Deno.test("The effect on logits is what the end of the model makes of a vector", async () => {
  await openDevice();
  using model = randomModel({ dModel: 8, nHeads: 2, nLayers: 1 }, 0);
  const { cache, logits } = await model.runWithCache([[1, 5, 9]], {
    names: "ln_final.hook_normalized",
  });
  const vector = (await cache.get("ln_final.hook_normalized").data()).slice(16, 24);
  const all = await logits!.data<"float32">();
  const { vocabSize } = model.cfg;
  const last = all.slice(2 * vocabSize, 3 * vocabSize);
  const mean = last.reduce((sum, value) => sum + value, 0) / vocabSize;
  const [{ promoted, suppressed }] = await effectOnLogits(model, [vector], { top: 3 });
  assertEquals(promoted[0].id, last.indexOf(Math.max(...last)));
  assertEquals(suppressed[0].id, last.indexOf(Math.min(...last)));
  assertAlmostEquals(promoted[0].effect, last[promoted[0].id] - mean, 1e-5);
  const [half] = await effectOnLogits(model, [vector], { top: 3, scale: 2 });
  assertAlmostEquals(half.promoted[0].effect, promoted[0].effect / 2, 1e-5);
  await assertRejects(() => effectOnLogits(model, [[1]]), RangeError, "of 1 elements");
  cache.dispose();
  logits!.dispose();
});

Deno.test("What has no pairs, or none that meet, is refused", async () => {
  await openDevice();
  const nfm = model("linear");
  const codes = someCodes();
  await assertRejects(() => attributePairs(nfm, codes, { minCount: 61 }), RangeError, "61 of 60");
  await assertRejects(() => mixedDifference(nfm, codes, [3, 3]), RangeError, "3 and 3");
  await assertRejects(() => contributions(nfm, codes, { features: [10] }), RangeError, "0…9");
  const relu = model("relu");
  await assertRejects(() => contributions(relu, codes), RangeError, "name the features");
  tf.dispose([nfm, relu].flatMap(({ weights }) => Object.values(weights)));
});
