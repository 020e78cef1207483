import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { effectOnLogits } from "../../lib/analysis/mod.ts";
import { memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import { Nfm, pairTensor } from "../../lib/interaction/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { exploreDictionary, readExplorer, writeExplorer } from "../../lib/site/mod.ts";
import type { ExplorerIndex, ListPart, StoredFeature } from "../../lib/site/explorer/files.ts";
import { strongestPartners } from "../../lib/site/explorer/partners.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";

const D = 4;
const HOOK = "blocks.0.hook_resid_post";

/** A dictionary that reads each dimension, and a machine on it with these embeddings. */
async function subject(V: number[][]) {
  await openDevice({ backend: "cpu" });
  const identity = tf.tidy(() => tf.keep(tf.eye(D)));
  const sae = new Sae({ architecture: "standard", dIn: D, dSae: D }, {
    W_enc: tf.clone(identity),
    b_enc: tf.zeros([D]),
    W_dec: tf.mul(identity, 0.5),
    b_dec: tf.zeros([D]),
  }, { normalizer: { scale: 2 }, metadata: { hook_name: HOOK } });
  identity.dispose();
  const shape = { parts: "both", dSae: D, dOut: D, K: 2, head: "linear", topN: D } as const;
  const nfm = new Nfm(shape, {
    b: tf.zeros([D]),
    W: tf.tensor2d(new Rng(0, "W").normals(D * D, 0.1), [D, D]),
    V: tf.tensor2d(V),
    C: tf.tensor2d(new Rng(0, "C").normals(2 * D, 1), [2, D]),
  }, { scales: { code: 0.5, target: 2 } });
  const rows = new Rng(1).normals(200 * D, 1).map((x, i) => i % D < 3 ? Math.abs(x) : x);
  const split = { rows, document: new Int32Array(200) };
  return { sae, nfm, split: memoryStore(D, { train: split, validation: split, test: split }) };
}

Deno.test("the error without a pair's term is what leaving it out gives", async () => {
  const { sae, nfm, split } = await subject([[1, 2], [0.5, -1], [0.1, 0.2], [1, 1]]);
  const { partners, tokens } = await strongestPartners(split.split("test"), { sae, nfm }, {
    draws: 2,
  });
  assertEquals(tokens, 200);
  const x = await split.split("test").rows(0, 200);
  const codes = sae.encode(x);
  const values = await codes.array();
  for (const [feature, list] of partners) {
    for (const { feature: other, together, expected, gain, effect } of list) {
      const T = await pairTensor(nfm, [[feature, other]]).array();
      const e = await tf.sub(tf.sub(x, sae.decode(codes)), nfm.predict(codes))
        .array() as number[][];
      const r = await tf.sub(x, sae.decode(codes)).array() as number[][];
      const square = (v: number[]) => v.reduce((sum, y) => sum + y * y, 0);
      let [without, error, size, count] = [0, 0, 0, 0];
      values.forEach((f, t) => {
        const z = f[feature] * f[other];
        if (z === 0) return;
        count++;
        error += square(e[t]);
        without += square(e[t].map((y, d) => y + z * T[0][d]));
        size += square(T[0].map((y) => z * y));
      });
      assertEquals(together, count);
      const active = (i: number) => values.filter((f) => f[i] > 0).length;
      assertAlmostEquals(expected, active(feature) * active(other) / 200, 1e-9);
      assertAlmostEquals(gain, without / error - 1, 1e-4);
      const residual = Math.sqrt(r.reduce((sum, v) => sum + square(v), 0) / 200);
      assertAlmostEquals(effect, Math.sqrt(size / count) / residual, 1e-4);
    }
    const strength = list.map(({ effect, together }) => effect * Math.sqrt(together));
    assertEquals(strength, strength.toSorted((a, b) => b - a));
  }
  sae.dispose();
  nfm.dispose();
});

Deno.test("where every feature has the same embedding, permuted ones are as strong in every draw", async () => {
  const { sae, nfm, split } = await subject(Array(D).fill([1, 0.5]));
  const { partners, draws } = await strongestPartners(split.split("test"), { sae, nfm }, {
    draws: 3,
  });
  assertEquals(draws, 3);
  for (const list of partners.values()) {
    for (const { asStrong } of list) assertEquals(asStrong, 3);
  }
  sae.dispose();
  nfm.dispose();
});

Deno.test("features are written with their contexts, tokens and partners, and read again", () =>
  inScratch(async (folder) => {
    const { sae, nfm, split } = await subject([[3, 0], [3, 0], [0.1, 0.1], [0.1, -0.1]]);
    using model = randomModel({ dModel: D, nHeads: 2, vocabSize: 259 }, 0);
    const sequences = model.toTokens(["the lamp flickered", "a kettle\u202e\n", "<b>"])
      .map((tokens, document) => ({ tokens, document }));
    const before = tf.memory().numTensors;
    const text = { name: "Three texts", sequences, split: split.split("test") };
    const data = await exploreDictionary({ model, sae, nfm }, text, {
      draws: 4,
      logits: 3,
      labels: new Map([[2, "a label\u202e"]]),
    });
    assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
    assertEquals(data.features.map(({ feature }) => feature), [0, 1, 2, 3]);
    assertEquals(data.features[2].label, "a label·");

    const W = await tf.div(sae.W_dec, 2).array() as number[][];
    const direct = await effectOnLogits(model, W, { top: 3 });
    for (const { feature, density, top, raised, lowered, words } of data.features) {
      const { promoted, suppressed } = direct[feature];
      assertEquals(raised.map(({ effect }) => effect.toFixed(4)), [
        ...promoted.map(({ effect }) => effect.toFixed(4)),
      ]);
      assertEquals(lowered.map(({ effect }) => effect.toFixed(4)), [
        ...suppressed.map(({ effect }) => effect.toFixed(4)),
      ]);
      assertEquals(top.length > 0, density > 0);
      if (top.length > 0) {
        assertEquals(Math.max(...top[0].levels), 1);
        assertEquals(top[0].levels[top[0].peak], 1);
        assert(words.length > 0 && words.every((word) => word.trim() === word));
      }
      for (const { pieces } of top) assert(!/[\n\u202e]/.test(pieces.join("")));
    }

    await writeExplorer(data, folder);
    const files = await readExplorer(folder);
    assertEquals([...files.keys()], ["explorer.json", "list-000.json", "features-0000.json"]);
    const { pieces, about } = files.get("explorer.json") as ExplorerIndex;
    const list = files.get("list-000.json") as ListPart;
    const stored = files.get("features-0000.json") as StoredFeature[];
    assertEquals([about.text, about.pairTokens, about.draws], ["Three texts", 200, 4]);
    assertEquals(list.feature, [0, 1, 2, 3]);
    assertEquals(list.words.map((ids) => ids.map((id) => pieces[id])), [
      ...data.features.map(({ words }) => [...words]),
    ]);
    const [document, peak, , levels, ids] = stored[0].top[0];
    const context = data.features[0].top[0];
    assertEquals([document, peak, levels[peak]], [context.document, context.peak, "_"]);
    assertEquals(ids.map((id) => pieces[id]), [...context.pieces]);
    assertEquals(stored[0].partners[0][0], data.features[0].partners[0].feature);

    await Deno.remove(`${folder}/features-0000.json`);
    await assertRejects(() => readExplorer(folder), Error, "deno task explorer");
    sae.dispose();
    nfm.dispose();
  }));

Deno.test("a machine of another dictionary is refused", async () => {
  const { sae, nfm, split } = await subject(Array(D).fill([1, 1]));
  using model = randomModel({ dModel: D, nHeads: 2 }, 0);
  const foreign = new Nfm(nfm.shape, nfm.weights, {
    metadata: { training: { sae: "0123456789abcdef" } },
  });
  const text = {
    name: "x",
    sequences: [{ tokens: [1, 5], document: 0 }],
    split: split.split("test"),
  };
  await assertRejects(
    () => exploreDictionary({ model, sae, nfm: foreign }, text),
    RangeError,
    "another dictionary",
  );
  sae.dispose();
  nfm.dispose();
});
