import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { attachSae, Sae, type SaeConfig, type SaeOptions } from "../../lib/dictionary/mod.ts";
import { type Attachment, type HookFn, type Model, randomModel } from "../../lib/model/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "../model/close.ts";
import { assertGradients } from "../model/differences.ts";

const TOKENS = [[1, 7, 9, 4], [1, 3, 2]];
const HOOK = "blocks.0.hook_resid_post";
const [dIn, dSae] = [8, 12];
const standard: SaeConfig = { architecture: "standard", dIn, dSae };
const topk: SaeConfig = { architecture: "topk", dIn, dSae, k: 3 };
const jumprelu: SaeConfig = { architecture: "jumprelu", dIn, dSae };
const gated: SaeConfig = { architecture: "gated", dIn, dSae };
const normalizer = { scale: 0.5, mean: Array(dIn).fill(0.3), clip: { low: -3, high: 3 } };
const point = (name: string) => `${HOOK}.hook_sae_${name}`;

function makeSae(
  config: SaeConfig,
  options: SaeOptions = {},
  { std, bias } = { std: 0.5, bias: (_: number) => 0 },
): Sae {
  const rng = new Rng(0, "sae");
  return new Sae(config, {
    W_enc: tf.tensor2d(rng.normals(dIn * dSae, std), [dIn, dSae]),
    b_enc: tf.tensor1d(Float32Array.from({ length: dSae }, (_, i) => bias(i))),
    W_dec: tf.tensor2d(rng.normals(dSae * dIn, 0.3), [dSae, dIn]),
    b_dec: tf.tensor1d(rng.normals(dIn, 0.3)),
    ...config.architecture === "jumprelu" && { threshold: tf.fill([dSae], 0.1) },
    ...config.architecture === "gated" && { r_mag: tf.fill([dSae], -0.2), b_mag: tf.zeros([dSae]) },
  }, options);
}

/** Runs on each backend, and asserts that nothing is left behind. */
function attachTest(name: string, fn: (model: Model, sae: Sae) => Promise<void>): void {
  eachBackend(name, async () => {
    const before = tf.memory().numTensors;
    const model = randomModel({ vocabSize: 11, dModel: dIn, dMlp: 12 }, 0);
    const sae = makeSae(topk, { normalizer });
    const ready = tf.memory().numTensors;
    await fn(model, sae);
    assertEquals(tf.memory().numTensors, ready, "a tensor was left behind");
    sae.dispose();
    model.dispose();
    assertEquals(tf.memory().numTensors, before);
  });
}

type Run = { attach?: Attachment[]; hooks?: [string, HookFn][]; tokens?: number[][] };

/** Values at every point whose name matches, and the logits. */
async function valuesOf(model: Model, names: RegExp, { tokens = TOKENS, ...options }: Run = {}) {
  const { cache, logits } = await model.runWithCache(tokens, { ...options, names });
  const found: Record<string, Float32Array> = { logits: await logits!.data<"float32">() };
  for (const name of cache.names()) found[name] = await cache.get(name).data<"float32">();
  cache.dispose();
  logits!.dispose();
  return found;
}

attachTest("every point has its name, shape and place", async (model, sae) => {
  const seen: string[] = [];
  const read: HookFn = (t, { name }) => {
    seen.push(`${name} [${t.shape}]`);
  };
  const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true })];
  const hooks = attach[0].points.map((name): [string, HookFn] => [`${HOOK}.${name}`, read]);
  const all: [string, HookFn][] = [[HOOK, read], ...hooks, ["blocks.1.hook_resid_pre", read]];
  (await model.runWithHooks(TOKENS, { attach, hooks: all }))!.dispose();
  assertEquals(seen, [
    `${HOOK} [2,4,8]`,
    `${point("input")} [2,4,8]`,
    `${point("acts_pre")} [2,4,12]`,
    `${point("acts_post")} [2,4,12]`,
    `${point("recons")} [2,4,8]`,
    `${point("error")} [2,4,8]`,
    `${point("output")} [2,4,8]`,
    "blocks.1.hook_resid_pre [2,4,8]",
  ]);
});

for (const config of [standard, topk, jumprelu, gated]) {
  attachTest(
    `the points hold what the dictionary computes (${config.architecture})`,
    async (model) => {
      const sae = makeSae(config, { normalizer });
      const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true })];
      const found = await valuesOf(model, /resid_post|blocks.1.hook_resid_pre/, { attach });
      const expected = tf.tidy(() => {
        const raw = tf.tensor2d(found[HOOK], [8, dIn]);
        const clipped = tf.clipByValue(raw, -3, 3);
        const x = tf.mul(tf.sub(clipped, 0.3), 0.5) as tf.Tensor2D;
        const projected = tf.matMul(tf.sub(x, sae.b_dec), sae.W_enc);
        // Of a gated dictionary they are the magnitude's.
        const scaled = sae.r_mag ? tf.mul(projected, tf.exp(sae.r_mag)) : projected;
        const pre = tf.add(scaled, sae.b_mag ?? sae.b_enc);
        const recons = tf.add(tf.div(sae.reconstruct(x), 0.5), 0.3);
        return { pre, post: sae.encode(x), recons, error: tf.sub(raw, recons) } as Record<
          string,
          tf.Tensor
        >;
      });
      assertEquals(found[point("input")], found[HOOK]);
      assertClose(found[point("acts_pre")], await expected.pre.data(), "acts_pre");
      assert(found[point("acts_pre")].some((value) => value < 0), "it is before the ReLU");
      assertEquals(found[point("acts_post")], await expected.post.data());
      assertClose(found[point("recons")], await expected.recons.data(), "recons");
      assertClose(found[point("error")], await expected.error.data(), "error");
      tf.dispose(expected);
      sae.dispose();
    },
  );
}

attachTest("a transcoder is refused, since it predicts another activation", async () => {
  const transcoder = makeSae({ ...standard, dOut: dIn });
  assertThrows(
    () => attachSae(transcoder, { hook: HOOK }),
    RangeError,
    "Cannot attach a transcoder",
  );
  await Promise.resolve(transcoder.dispose());
});

attachTest("without an error term the reconstruction flows on", async (model, sae) => {
  const attached = await valuesOf(model, /resid/, { attach: [attachSae(sae, { hook: HOOK })] });
  assert(!attached[point("error")]);
  assertEquals(
    attached[point("output")].subarray(0, 56),
    attached[point("recons")].subarray(0, 56),
  );
  assertEquals(attached["blocks.1.hook_resid_pre"], attached[point("output")]);
  // The same by a hook.
  const replace: HookFn = (x) => tf.tensor(attached[point("output")], x.shape);
  const hooked = await valuesOf(model, /resid/, { hooks: [[HOOK, replace]] });
  assertEquals(hooked.logits, attached.logits);
});

attachTest("with an error term nothing changes, bit by bit", async (model, sae) => {
  const clean = await valuesOf(model, /blocks.1.hook_resid_pre/);
  const plain = makeSae(standard);
  for (const each of [sae, plain]) {
    const attach = [attachSae(each, { hook: HOOK, useErrorTerm: true })];
    assertEquals(await valuesOf(model, /blocks.1.hook_resid_pre/, { attach }), clean);
    // A hook that reads, and one that returns an equal tensor, change nothing.
    const same: HookFn = (t) => tf.add(t, 0);
    const hooks = ["recons", "error", "acts_post"].map((
      name,
    ): [string, HookFn] => [point(name), same]);
    assertEquals(await valuesOf(model, /blocks.1.hook_resid_pre/, { attach, hooks }), clean);
  }
  plain.dispose();
});

attachTest("with an error term an edited code arrives as its decoder row", async (model) => {
  const sae = makeSae(standard, { normalizer });
  const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true })];
  const add = tf.tensor1d(Array.from({ length: dSae }, (_, i) => i === 5 ? 2 : 0));
  const hooks: [string, HookFn][] = [[point("acts_post"), (f) => tf.add(f, add)]];
  const found = await valuesOf(model, /resid/, { attach, hooks });
  const row = tf.tidy(() => tf.mul(tf.slice(sae.W_dec, [5, 0], [1, dIn]), 2 / 0.5));
  const [x, y, delta] = [found[HOOK], found[point("output")], await row.data()];
  assertClose(y.subarray(0, 56), x.subarray(0, 56).map((value, i) => value + delta[i % dIn]));
  tf.dispose([row, add]);
  sae.dispose();
});

attachTest(
  "without its error, or with another, the output is the sum of both",
  async (model, sae) => {
    const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true })];
    const zero: [string, HookFn] = [point("error"), (t) => tf.zerosLike(t)];
    const found = await valuesOf(model, /resid/, { attach, hooks: [zero] });
    assertEquals(found[point("output")].subarray(0, 56), found[point("recons")].subarray(0, 56));
  },
);

attachTest("what is set before the activation function passes through it", async (model, sae) => {
  const attach = [attachSae(sae, { hook: HOOK })];
  const ramp: HookFn = (t) =>
    tf.add(tf.zerosLike(t), tf.tensor1d(Array.from({ length: dSae }, (_, i) => i - 5)));
  const found = await valuesOf(model, /acts_post/, { attach, hooks: [[point("acts_pre"), ramp]] });
  assertEquals([...found[point("acts_post")].subarray(0, dSae)], [...Array(9).fill(0), 4, 5, 6]);
});

attachTest("masked tokens, sinks and padding keep their activation", async (model, sae) => {
  const x = (await valuesOf(model, /resid/))[HOOK];
  const norms = Array.from(
    { length: 7 },
    (_, i) => Math.hypot(...x.subarray(i * dIn, (i + 1) * dIn)),
  );
  const sink = norms.indexOf(Math.max(...norms.filter((_, i) => i % 4 !== 0)));
  const maxNorm = norms[sink] - 1e-3;
  for (const useErrorTerm of [false, true]) {
    const attach = [attachSae(sae, { hook: HOOK, maskedTokens: [1], maxNorm, useErrorTerm })];
    const hooks: [string, HookFn][] = [[point("acts_post"), (f) => tf.zerosLike(f)]];
    const found = await valuesOf(model, /resid/, { attach, hooks });
    const out = found["blocks.1.hook_resid_pre"];
    for (let i = 0; i < 8; i++) {
      const same = out.subarray(i * dIn, (i + 1) * dIn).every((v, j) => v === x[i * dIn + j]);
      const kept = i % 4 === 0 || i === sink || norms[i] > maxNorm || i === 7;
      assertEquals(same, kept, `position ${i % 4} of sequence ${Math.floor(i / 4)}`);
    }
  }
});

attachTest(
  "where a writing run has its last position only, that is masked by its own token",
  async (model, sae) => {
    const hook = "ln_final.hook_normalized";
    const inAndOut = async (maskedTokens: number[]) => {
      const values: Float32Array[] = [];
      const read: HookFn = async (t) => {
        assertEquals(t.shape, [1, 1, dIn]);
        values.push(await t.data<"float32">());
      };
      const hooks = { [`${hook}.hook_sae_input`]: read, [`${hook}.hook_sae_output`]: read };
      const attach = [attachSae(sae, { hook, maskedTokens })];
      await model.generate("ab", { maxNewTokens: 1, attach, hooks });
      return values;
    };
    const [bos, , last] = model.toTokens("ab")[0];
    const [kept, replaced] = [await inAndOut([last]), await inAndOut([bos])];
    assertEquals(kept[1], kept[0]);
    assertNotEquals(replaced[1], replaced[0]);
  },
);

attachTest("heads of hook_z are read side by side", async (model, sae) => {
  const attach = [attachSae(sae, { hook: "blocks.1.attn.hook_z" })];
  const found = await valuesOf(model, /hook_z/, { attach });
  const z = "blocks.1.attn.hook_z";
  assertEquals(found[`${z}.hook_sae_input`], found[z]);
  assertEquals(found[`${z}.hook_sae_acts_post`].length, 8 * dSae);
});

attachTest("a second dictionary may explain the error of the first", async (model, sae) => {
  const second = makeSae(standard);
  const attach = [
    attachSae(second, { hook: point("error") }),
    attachSae(sae, { hook: HOOK, useErrorTerm: true }),
  ];
  const found = await valuesOf(model, /resid/, { attach });
  const inner = `${point("error")}.hook_sae_recons`;
  const sum = found[point("recons")].map((value, i) => value + found[inner][i]);
  assertClose(found["blocks.1.hook_resid_pre"].subarray(0, 56), sum.subarray(0, 56));
  second.dispose();
});

/** Features stay active or not, and among the largest or not, whatever a step changes. */
const FAR_FROM_KINKS = { std: 0.15, bias: (i: number) => i < 3 ? 5 : i < 6 ? 2 : -3 };

for (const config of [standard, topk]) {
  attachTest(`gradients are slopes at every point (${config.architecture})`, async (model) => {
    const sae = makeSae(
      config,
      { normalizer: { scale: 0.5, mean: [1, 0, 0, 0, 0, 0, 0, 2] } },
      FAR_FROM_KINKS,
    );
    const attach = [attachSae(sae, { hook: HOOK, maskedTokens: [1] })];
    const weights = new Rng(1).normals(8 * 11, 1);
    const checked = await assertGradients(model, TOKENS, {
      attach,
      names: /blocks.0.hook_resid_(mid|post)/,
      terms: ({ logits }) => tf.mul(logits!, tf.tensor(weights, logits!.shape)),
    });
    const names = ["input", "acts_pre", "acts_post", "recons", "output"].map(point);
    assertEquals(checked, ["blocks.0.hook_resid_mid", HOOK, ...names]);
    sae.dispose();
  });
}

attachTest("to gradients the error is a constant", async (model) => {
  const sae = makeSae(standard, {}, FAR_FROM_KINKS);
  const weights = new Rng(1).normals(8 * 11, 1);
  const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true })];
  const error = (await valuesOf(model, /hook_sae_error/, { attach }))[point("error")];
  // The slope of a run whose error stays what it was.
  const checked = await assertGradients(model, TOKENS, {
    attach,
    hooks: [[point("error"), (t) => tf.tensor(error, t.shape)]],
    names: /blocks.0.hook_resid_(mid|post)/,
    terms: ({ logits }) => tf.mul(logits!, tf.tensor(weights, logits!.shape)),
  });
  assertEquals(checked.at(-2), point("error"));
  // And the gradient is that of the run as it is.
  const gradientAt = async (hooks: [string, HookFn][]) => {
    const { cache, gradients, logits } = await model.runWithCache(TOKENS, {
      attach,
      hooks,
      names: HOOK,
      gradientOf: ({ logits }) => tf.sum(tf.mul(logits!, tf.tensor(weights, logits!.shape))),
    });
    const values = await gradients.get(HOOK).data();
    cache.dispose();
    gradients.dispose();
    logits!.dispose();
    return values;
  };
  assertClose(
    await gradientAt([]),
    await gradientAt([[point("error"), (t) => tf.tensor(error, t.shape)]]),
  );
  sae.dispose();
});

attachTest("a hook that throws at any point leaves nothing behind", async (model, sae) => {
  const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true })];
  const before = tf.memory().numTensors;
  for (const name of attach[0].points) {
    const sync: HookFn = () => {
      throw new Error("now");
    };
    const late: HookFn = async (t) => {
      await t.data();
      throw new Error("later");
    };
    const small: HookFn = (t) => tf.slice(t, 0, 1);
    const run = (hook: HookFn) => () =>
      model.runWithHooks(TOKENS, { attach, hooks: { [`${HOOK}.${name}`]: hook } });
    await assertRejects(run(sync), Error, "now");
    await assertRejects(run(late), Error, "later");
    await assertRejects(run(small), RangeError, `${HOOK}.${name}`);
    assertEquals(tf.memory().numTensors, before, `after a throw at ${name}`);
  }
});

attachTest("what cannot be attached is refused by name", async (model, sae) => {
  assertThrows(() => attachSae(sae), RangeError, "give hook");
  assertThrows(() => attachSae(sae, { hook: HOOK, maxNorm: 0 }), RangeError, "norm of 0");
  const run = (attach: Attachment[]) => () => model.runWithHooks(TOKENS, { attach });
  const wide = attachSae(sae, { hook: "blocks.0.mlp.hook_post" });
  await assertRejects(run([wide]), RangeError, 'width 8 to "blocks.0.mlp.hook_post"');
  const unknown = attachSae(sae, { hook: "blocks.0.hook_resid_pots" });
  await assertRejects(run([unknown]), RangeError, `"${HOOK}"`);
  const once = attachSae(sae, { hook: HOOK });
  await assertRejects(
    run([once, once]),
    RangeError,
    `two things with the point "${point("input")}"`,
  );
});

attachTest(
  "generated text is the model's with an error term, another's with an edited code",
  async (model, sae) => {
    const options = { maxNewTokens: 6 };
    const clean = await model.generate("ab", options);
    const attach = [attachSae(sae, { hook: HOOK, useErrorTerm: true, maskedTokens: [1] })];
    assertEquals(await model.generate("ab", { ...options, attach }), clean);
    const feature = tf.tensor1d(Array.from({ length: dSae }, (_, i) => i === 3 ? 40 : 0));
    const hooks: [string, HookFn][] = [[point("acts_post"), (f) => tf.add(f, feature)]];
    const steered = await model.generate("ab", { ...options, attach, hooks });
    assert(steered !== clean);
    assertEquals(await model.generate("ab", { ...options, attach, hooks }), steered);
    feature.dispose();
  },
);
