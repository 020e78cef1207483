import { assert, assertEquals, assertThrows } from "@std/assert";
import { Sae, type SaeConfig } from "../../lib/dictionary/mod.ts";
import {
  attachNfm,
  codesAndResidual,
  Nfm,
  type NfmShape,
  type NfmWeights,
} from "../../lib/interaction/mod.ts";
import { weightShapes } from "../../lib/interaction/nfm.ts";
import { type Attachment, type HookFn, type Model, randomModel } from "../../lib/model/mod.ts";
import { type Backend, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "../model/close.ts";
import { assertGradients } from "../model/differences.ts";

const TOKENS = [[1, 7, 9, 4], [1, 3, 2, 5]];
const HOOK = "blocks.0.hook_resid_post";
const [dIn, dSae, K] = [8, 12, 5];
const normalizer = { scale: 0.5, mean: Array(dIn).fill(0.3) };
const both: NfmShape = { parts: "both", dSae, dOut: dIn, K, head: "linear", topN: 3 };
const shapes: NfmShape[] = [
  both,
  { ...both, head: "relu" },
  { ...both, topN: 2 },
  { ...both, parts: "linear", K: 0 },
  { ...both, parts: "interaction" },
];

/** Features stay active or not, and among the largest or not, whatever a step changes. */
const bias = (i: number) => i < 3 ? 5 - i : -3;

function makeSae(): Sae {
  const rng = new Rng(0, "sae");
  const config: SaeConfig = { architecture: "topk", dIn, dSae, k: 3 };
  return new Sae(config, {
    W_enc: tf.tensor2d(rng.normals(dIn * dSae, 0.1), [dIn, dSae]),
    b_enc: tf.tensor1d(Float32Array.from({ length: dSae }, (_, i) => bias(i))),
    W_dec: tf.tensor2d(rng.normals(dSae * dIn, 0.3), [dSae, dIn]),
    b_dec: tf.tensor1d(rng.normals(dIn, 0.3)),
  }, { normalizer });
}

function makeNfm(shape: NfmShape): Nfm {
  const weights = Object.entries(weightShapes(shape)).map(([name, size]) => {
    const values = new Rng(1, name).normals(size.reduce((a, b) => a * b), 0.3);
    return [name, tf.tensor(values, size as [number, number])];
  });
  const scales = { code: 0.4, target: 0.7 };
  return new Nfm(shape, Object.fromEntries(weights) as unknown as NfmWeights, { scales });
}

function attachTest(
  name: string,
  shape: NfmShape,
  fn: (model: Model, sae: Sae, nfm: Nfm, backend: Backend) => Promise<void>,
): void {
  eachBackend(name, async ({ backend }) => {
    const before = tf.memory().numTensors;
    const model = randomModel({ vocabSize: 11, dModel: dIn, dMlp: 12 }, 0);
    const [sae, nfm] = [makeSae(), makeNfm(shape)];
    const ready = tf.memory().numTensors;
    await fn(model, sae, nfm, backend);
    assertEquals(tf.memory().numTensors, ready, "a tensor was left behind");
    sae.dispose();
    nfm.dispose();
    model.dispose();
    assertEquals(tf.memory().numTensors, before);
  });
}

/** Values at every point of the residual stream, those of the attachment by their own names. */
async function valuesOf(model: Model, attach: Attachment[], hooks: Record<string, HookFn> = {}) {
  const renamed = Object.entries(hooks).map(([name, fn]) => [`${HOOK}.${name}`, fn] as const);
  const { cache, logits } = await model.runWithCache(TOKENS, {
    attach,
    hooks: renamed,
    names: /resid/,
  });
  const found: Record<string, Float32Array> = {};
  for (const name of cache.names()) {
    found[name.replace(`${HOOK}.`, "")] = await cache.get(name).data<"float32">();
  }
  cache.dispose();
  logits!.dispose();
  return found;
}

const sum = (...parts: Float32Array[]) =>
  parts[0].map((_, i) => parts.reduce((all, part) => all + part[i], 0));

for (const shape of shapes) {
  const what = `${shape.parts}, ${shape.head} head, topN ${shape.topN}`;
  attachTest(
    `the points hold the pieces of the model (${what})`,
    shape,
    async (model, sae, nfm) => {
      const found = await valuesOf(model, [attachNfm(sae, nfm, { hook: HOOK })]);
      const pieces = tf.tidy(() => {
        const raw = tf.tensor2d(found[HOOK], [8, dIn]);
        const x = tf.mul(tf.sub(raw, 0.3), 0.5) as tf.Tensor2D;
        const { codes } = codesAndResidual(sae, x, shape.topN);
        const { linear, bilinear, interaction } = nfm.pieces(codes);
        // What is added to the residual stream is in its units.
        return [tf.div(linear, 0.5), bilinear, tf.div(interaction, 0.5)];
      });
      const [linear, bilinear, interaction] = await Promise.all(pieces.map((t) => t.data()));
      tf.dispose(pieces);
      assertClose(found["hook_nfm_linear"], linear, "linear");
      const parts = [found["hook_sae_recons"], found["hook_nfm_linear"]];
      if (shape.parts === "linear") assert(!found["hook_nfm_bi"] && !found["hook_nfm_interaction"]);
      else {
        assertClose(found["hook_nfm_bi"], bilinear, "bi");
        assertClose(found["hook_nfm_interaction"], interaction, "interaction");
        parts.push(found["hook_nfm_interaction"]);
      }
      assertClose(found["hook_sae_output"], sum(...parts), "output");
      assertEquals(found["blocks.1.hook_resid_pre"], found["hook_sae_output"]);
    },
  );
}

attachTest("with an error term nothing changes, bit by bit", both, async (model, sae, nfm) => {
  const attach = [attachNfm(sae, nfm, { hook: HOOK, useErrorTerm: true })];
  const found = await valuesOf(model, attach);
  assertEquals(found["blocks.1.hook_resid_pre"], found[HOOK]);
  const explained = ["hook_sae_recons", "hook_nfm_linear", "hook_nfm_interaction"];
  const error = found[HOOK].map((x, i) => explained.reduce((left, p) => left - found[p][i], x));
  assertClose(found["hook_sae_error"], error);
});

attachTest("removing interactions takes them away and nothing else", both, async (
  model,
  sae,
  nfm,
) => {
  const attach = [attachNfm(sae, nfm, { hook: HOOK, useErrorTerm: true })];
  const clean = await valuesOf(model, attach);
  for (const point of ["hook_nfm_bi", "hook_nfm_interaction"]) {
    const ablated = await valuesOf(model, attach, { [point]: (t) => tf.zerosLike(t) });
    const expected = clean[HOOK].map((x, i) => x - clean["hook_nfm_interaction"][i]);
    assertClose(ablated["blocks.1.hook_resid_pre"], expected, point);
  }
});

attachTest("an edited code reaches its pairs", both, async (model, sae, nfm) => {
  const attach = [attachNfm(sae, nfm, { hook: HOOK })];
  const one = tf.tensor1d(Array.from({ length: dSae }, (_, i) => i === 7 ? 1 : 0));
  // One active feature has no pairs; it keeps its linear term.
  const found = await valuesOf(model, attach, {
    hook_sae_acts_post: (f) => tf.add(tf.zerosLike(f), one),
  });
  one.dispose();
  assertClose(found["hook_nfm_bi"], new Float32Array(8 * K));
  const row = tf.tidy(() => {
    const { W, b } = nfm.weights;
    const linear = tf.add(tf.mul(tf.slice(W!, [7, 0], [1, dIn]), 0.4), b);
    return tf.mul(linear, 0.7 / 0.5);
  });
  assertClose(found["hook_nfm_linear"].subarray(0, dIn), await row.data());
  row.dispose();
});

for (const shape of shapes.slice(0, 3)) {
  const what = `${shape.head} head, topN ${shape.topN}`;
  attachTest(
    `gradients are slopes at every point (${what})`,
    shape,
    async (model, sae, nfm, backend) => {
      const weights = new Rng(1).normals(8 * 11, 1);
      const attach = [attachNfm(sae, nfm, { hook: HOOK, maskedTokens: [1] })];
      const checked = await assertGradients(model, TOKENS, {
        attach,
        // A software driver takes seconds a point on WebGPU.
        names: backend === "webgpu" ? /hook_(sae_acts_post|nfm_bi)$/ : /resid_post\.hook_(sae|nfm)/,
        terms: ({ logits }) => tf.mul(logits!, tf.tensor(weights, logits!.shape)),
      });
      const all = attach[0].points.map((name) => `${HOOK}.${name}`);
      if (backend === "webgpu") assertEquals(checked.length, 2);
      else assertEquals(checked, all);
    },
  );
}

attachTest("a model of another dictionary is refused", both, (model, _, nfm) => {
  const other = new Sae({ architecture: "standard", dIn: 2, dSae: 3 }, {
    W_enc: tf.zeros([2, 3]),
    b_enc: tf.zeros([3]),
    W_dec: tf.zeros([3, 2]),
    b_dec: tf.zeros([2]),
  });
  assert(model);
  assertThrows(() => attachNfm(other, nfm, { hook: HOOK }), RangeError, "12 features into 8");
  other.dispose();
  return Promise.resolve();
});
