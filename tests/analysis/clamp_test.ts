import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { clampFeature, type ClampOptions, measureClamp } from "../../lib/analysis/mod.ts";
import { attachSae, Sae } from "../../lib/dictionary/mod.ts";
import { type Attachment, type HookFn, type Model, randomModel } from "../../lib/model/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "../model/close.ts";

const HOOK = "blocks.0.hook_resid_post";
const NEXT = "blocks.1.hook_resid_pre";
const TOKENS = [[0, 7, 9, 4], [0, 3, 2]];
const [dIn, dSae] = [8, 12];
const normalizer = { scale: 0.5, mean: Array(dIn).fill(0.3), clip: { low: -3, high: 3 } };
const options: ClampOptions = { feature: 5, value: 4, hook: HOOK, maskedTokens: [0] };

function clampTest(name: string, fn: (model: Model, sae: Sae) => Promise<void>): void {
  eachBackend(name, async () => {
    const rng = new Rng(0, "sae");
    const model = randomModel({ dModel: dIn, dMlp: 12 }, 0);
    const sae = new Sae({ architecture: "topk", dIn, dSae, k: 3 }, {
      W_enc: tf.tensor2d(rng.normals(dIn * dSae, 0.5), [dIn, dSae]),
      b_enc: tf.zeros([dSae]),
      W_dec: tf.tensor2d(rng.normals(dSae * dIn, 0.3), [dSae, dIn]),
      b_dec: tf.tensor1d(rng.normals(dIn, 0.3)),
    }, { normalizer });
    const ready = tf.memory().numTensors;
    await fn(model, sae);
    assertEquals(tf.memory().numTensors, ready, "a tensor was left behind");
    sae.dispose();
    model.dispose();
  });
}

/** The residual stream behind the hook, `[2, 4, dIn]`. */
async function behind(
  model: Model,
  run: { attach?: Attachment[]; hooks?: [string, HookFn][] } = {},
): Promise<Float32Array> {
  const { cache } = await model.runWithCache(TOKENS, { ...run, names: NEXT, stopAtLayer: 2 });
  const values = await cache.get(NEXT).data<"float32">();
  cache.dispose();
  return values;
}

const isMasked = (row: number) => row === 0 || row === 4 || row === 7; // BOS, BOS, padding
const rowsOf = (values: Float32Array) =>
  Array.from({ length: 8 }, (_, i) => [...values.subarray(i * dIn, (i + 1) * dIn)]);
const norm = (v: number[]) => Math.hypot(...v);
const minus = (a: number[], b: number[]) => a.map((x, i) => x - b[i]);

clampTest("a clamp is what a hook on the codes does, behind the error term", async (model, sae) => {
  const clamped = await behind(model, { attach: [clampFeature(sae, options)] });
  const set: HookFn = (codes) => {
    const column = tf.oneHot(tf.tensor1d([5], "int32"), dSae);
    return tf.add(tf.mul(codes, tf.sub(1, column)), tf.mul(column, 4));
  };
  const hooked = await behind(model, {
    attach: [attachSae(sae, { hook: HOOK, useErrorTerm: true, maskedTokens: [0] })],
    hooks: [[`${HOOK}.hook_sae_acts_post`, set]],
  });
  assertClose(clamped, hooked, "clamped");
  const clean = await behind(model);
  for (const [i, row] of rowsOf(clamped).entries()) {
    const moved = norm(minus(row, rowsOf(clean)[i]));
    if (isMasked(i)) assertEquals(moved, 0);
    else assert(moved > 0.1);
  }
});

clampTest("the control moves every position as far, in one other direction", async (model, sae) => {
  const clean = rowsOf(await behind(model));
  const steps = async (attach: Attachment) =>
    rowsOf(await behind(model, { attach: [attach] })).map((row, i) => minus(row, clean[i]));
  const feature = await steps(clampFeature(sae, options));
  const random = await steps(clampFeature(sae, { ...options, direction: "random", seed: 3 }));
  const other = await steps(clampFeature(sae, { ...options, direction: "random", seed: 4 }));
  const cosine = (a: number[], b: number[]) =>
    a.reduce((sum, x, i) => sum + x * b[i], 0) / norm(a) / norm(b);
  for (let i = 0; i < 8; i++) {
    if (isMasked(i)) continue;
    assertAlmostEquals(norm(random[i]) / norm(feature[i]), 1, 1e-4);
    assertAlmostEquals(Math.abs(cosine(random[i], random[1])), 1, 1e-4);
    assert(Math.abs(cosine(random[i], feature[i])) < 0.99);
    assert(Math.abs(cosine(random[i], other[i])) < 0.99);
  }
});

clampTest("sinks keep their activation", async (model, sae) => {
  const clean = rowsOf(await behind(model));
  const lengths = clean.filter((_, i) => !isMasked(i)).map(norm).sort((a, b) => a - b);
  const maxNorm = (lengths[1] + lengths[2]) / 2;
  const clamp = clampFeature(sae, { ...options, maxNorm });
  const moved = rowsOf(await behind(model, { attach: [clamp] }))
    .filter((row, i) => norm(minus(row, clean[i])) > 0).length;
  assertEquals(moved, 2);
});

clampTest("the study's clamp changes no activation and no text (B8)", async (model, sae) => {
  const study = [clampFeature(sae, { ...options, value: 100, faithful: ["B8"] })];
  assertEquals(await behind(model, { attach: study }), await behind(model));
  const write = (attach?: Attachment[]) => model.generate("abc", { maxNewTokens: 8, attach });
  assertEquals(await write(study), await write());
  const real = [clampFeature(sae, { ...options, value: 100 })];
  assertNotEquals(await write(real), await write());
  const seeded = { maxNewTokens: 8, temperature: 1, seed: 2, attach: real };
  assertEquals(await model.generate("abc", seeded), await model.generate("abc", seeded));
});

clampTest("each step of a generation is clamped, not the prompt alone", async (model, sae) => {
  const clamp = clampFeature(sae, { ...options, value: 100 });
  const seen: number[] = [];
  const attach: Attachment[] = [{
    ...clamp,
    *run(x, run) {
      seen.push(x.shape[1]!);
      return yield* clamp.run(x, run);
    },
  }];
  await model.generate("abc", { maxNewTokens: 4, attach });
  assertEquals(seen.slice(1), Array(seen.length - 1).fill(1));
  assert(seen.length > 1);
});

clampTest("effects are those of the logits, computed by hand", async (model, sae) => {
  const prompts = ["abc", "de", "x"];
  const effect = await measureClamp(model, sae, prompts, {
    ...options,
    tokens: [5, 6],
    controls: 2,
    batchSize: 2,
  });
  const next = async (prompt: string, attach: Attachment[] = []) => {
    const logits = await model.runWithHooks(model.toTokens(prompt), { attach });
    const values = (await logits!.data<"float32">()).slice(-model.cfg.vocabSize);
    logits!.dispose();
    const highest = Math.max(...values);
    const all = values.reduce((sum, v) => sum + Math.exp(v - highest), 0);
    return Array.from(values, (v) => Math.exp(v - highest) / all);
  };
  let [kl, change, control] = [0, 0, 0];
  const divergence = (p: number[], q: number[]) =>
    p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]), 0);
  for (const prompt of prompts) {
    const clean = await next(prompt);
    const clamped = await next(prompt, [clampFeature(sae, options)]);
    kl += divergence(clean, clamped) / 3;
    change += 100 * (clamped[5] + clamped[6] - clean[5] - clean[6]) / 3;
    for (const seed of [0, 1]) {
      const random = [clampFeature(sae, { ...options, direction: "random", seed })];
      control += divergence(clean, await next(prompt, random)) / 6;
    }
  }
  assertAlmostEquals(effect.kl.clamp.estimate, kl, 1e-3 * kl);
  assertAlmostEquals(effect.kl.control.estimate, control, 1e-3 * control);
  assertAlmostEquals(effect.kl.difference.estimate, kl - control, 1e-3 * (kl + control));
  assertAlmostEquals(effect.probability.clamp.estimate, change, 1e-3);
});

clampTest("what cannot be clamped is refused by name", async (model, sae) => {
  const refuse = (change: Partial<ClampOptions>, message: string) =>
    assertThrows(() => clampFeature(sae, { ...options, ...change }), RangeError, message);
  refuse({ feature: 12 }, "feature 12: expected an integer in 0…11");
  refuse({ value: -1 }, "at -1");
  refuse({ value: NaN }, "at NaN");
  refuse({ hook: undefined }, "give hook");
  refuse({ maxNorm: 0 }, "above 0");
  await assertRejects(() => measureClamp(model, sae, ["abc"], options), RangeError, "1 prompts");
  await assertRejects(
    () =>
      behind(model, {
        attach: [clampFeature(sae, { ...options, hook: "blocks.0.attn.hook_pattern" })],
      }),
    RangeError,
    "width 8",
  );
});
