import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type HookFn,
  type LossInput,
  type Model,
  randomModel,
  type RunWithCacheOptions,
} from "../../lib/model/mod.ts";
import { type Backend, openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "./close.ts";
import { assertGradients } from "./differences.ts";

const TOKENS = [[1, 7, 9, 4], [1, 3, 2]];
const SIZES = { vocabSize: 11, dModel: 8, dMlp: 12 };

/** Runs on each backend with a small model, and asserts that nothing is left behind. */
function gradientTest(name: string, fn: (model: Model, backend: Backend) => Promise<void>): void {
  eachBackend(name, async ({ backend }) => {
    const before = tf.memory().numTensors;
    const model = randomModel(SIZES, 0);
    const withModel = tf.memory().numTensors;
    await fn(model, backend);
    assertEquals(tf.memory().numTensors, withModel, "a tensor was left behind");
    model.dispose();
    assertEquals(tf.memory().numTensors, before);
  });
}

/** Numbers weighted by others that are the same in every call. */
function weighted(t: tf.Tensor): tf.Tensor {
  return tf.mul(t, tf.tensor(new Rng(0).normals(t.size, 1), t.shape));
}

type Values = Record<string, Float32Array>;
type Options = RunWithCacheOptions & { gradientOf?: (run: LossInput) => tf.Tensor };

async function gradientsOf(
  model: Model,
  options: Options = {},
): Promise<{ loss: number; gradients: Values }> {
  const { loss, gradients, cache, logits } = await model.runWithCache(TOKENS, {
    gradientOf: ({ logits }) => tf.sum(weighted(logits!)),
    ...options,
  });
  const values: Values = {};
  for (const name of gradients.names()) {
    assertEquals(gradients.get(name).shape, cache.get(name).shape);
    values[name] = await gradients.get(name).data<"float32">();
  }
  gradients.dispose();
  cache.dispose();
  logits?.dispose();
  return { loss, gradients: values };
}

// A software driver takes seconds a point on WebGPU: the others are compared with plain JavaScript.
const FEW = /^blocks\.0\.(hook_resid_pre|attn\.hook_q|attn\.hook_pattern|mlp\.hook_post)$/;

gradientTest(
  "the gradient at every hook point is the slope of the loss",
  async (model, backend) => {
    const checked = await assertGradients(model, TOKENS, {
      terms: ({ logits }) => weighted(logits!),
      names: backend === "webgpu" ? FEW : undefined,
    });
    assertEquals(checked.length, backend === "webgpu" ? 4 : model.hookNames().length);
  },
);

gradientTest("every backend has the gradients of plain JavaScript", async (model, backend) => {
  const ours = await gradientsOf(model);
  await openDevice({ backend: "cpu" });
  {
    using reference = randomModel(SIZES, 0);
    const theirs = await gradientsOf(reference);
    assertEquals(Object.keys(ours.gradients), reference.hookNames());
    for (const [name, values] of Object.entries(theirs.gradients)) {
      assertClose(ours.gradients[name], values, name);
    }
  }
  await openDevice({ backend });
});

/** Clamps one direction, doubles what another layer gives, and blocks one head's pattern. */
const INTERVENTIONS: [string, HookFn][] = [
  ["blocks.0.hook_resid_mid", (x) =>
    tf.tidy(() => {
      const along = tf.tensor1d(Array(8).fill(8 ** -0.5));
      const size = tf.sum(tf.mul(x, along), -1, true);
      return tf.add(x, tf.mul(tf.sub(3, size), along));
    })],
  ["blocks.0.mlp.hook_post", (x) => tf.mul(x, 2)],
  ["blocks.0.mlp.hook_post", (x) => tf.tanh(x)],
  ["blocks.1.attn.hook_pattern", (x) => tf.square(x)],
];

gradientTest("gradients pass through what hooks compute", async (model, backend) => {
  const checked = await assertGradients(model, TOKENS, {
    terms: ({ logits }) => weighted(logits!),
    hooks: INTERVENTIONS,
    names: backend === "webgpu" ? FEW : /hook_embed|resid|mlp|pattern|hook_q$/,
  });
  assert(checked.includes("blocks.0.hook_resid_pre"));
});

gradientTest("gradients pass through what splices compute", async (model) => {
  const hooked = await gradientsOf(model, { hooks: INTERVENTIONS, names: /resid_pre/ });
  const splices = INTERVENTIONS.map(([name, fn]) => model.splice(name, fn));
  const spliced = await gradientsOf(model, { names: /resid_pre/ });
  for (const splice of splices) splice.remove();
  assertEquals(spliced, hooked);
});

gradientTest("a gradient ends where a hook puts a constant", async (model) => {
  const at = "blocks.1.hook_resid_pre";
  const { gradients } = await gradientsOf(model, {
    hooks: { [at]: (x) => tf.ones(x.shape) },
    names: [at, "blocks.0.hook_resid_post", "blocks.0.hook_attn_out"],
  });
  assert(gradients[at].some((g) => g !== 0), "the constant itself has a gradient");
  assert(gradients["blocks.0.hook_resid_post"].every((g) => g === 0));
  assert(gradients["blocks.0.hook_attn_out"].every((g) => g === 0));
});

gradientTest("a loss may be taken in the middle of the model", async (model, backend) => {
  const end = "blocks.0.hook_resid_post";
  const checked = await assertGradients(model, TOKENS, {
    terms: ({ logits, cache }) => {
      assertEquals(logits, undefined);
      return tf.square(cache.get(end));
    },
    needs: end,
    stopAtLayer: 1,
    names: backend === "webgpu" ? [end, "hook_embed"] : undefined,
  });
  assertEquals(checked.at(-1), end);
});

gradientTest("a loss may be of the attention pattern", async (model) => {
  const name = "blocks.0.attn.hook_pattern";
  // What the fourth position of the first sequence pays to the second, in head 2.
  const paid = (cache: { get(name: string): tf.Tensor }) =>
    tf.slice(cache.get(name), [0, 2, 3, 1], [1, 1, 1, 1]);
  const { gradients } = await gradientsOf(
    model,
    {
      names: [name, "blocks.0.attn.hook_attn_scores", "blocks.0.hook_resid_post"],
      gradientOf: ({ cache }) => tf.sum(paid(cache)),
    },
  );
  const at = ((0 * 4 + 2) * 4 + 3) * 4 + 1;
  assertEquals(gradients[name].findIndex((g) => g !== 0), at);
  assertEquals(gradients[name][at], 1);
  // Softmax: a score's gradient is p (1 - p) at its own place, and the row sums to 0.
  const row = gradients["blocks.0.attn.hook_attn_scores"].subarray(at - 1, at + 3);
  assert(row[1] > 0);
  assertClose([row.reduce((a, b) => a + b)], [0]);
  assert(gradients["blocks.0.hook_resid_post"].every((g) => g === 0), "what comes after has none");
});

gradientTest("gradients at some positions are those rows of all", async (model) => {
  const names = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_pattern"];
  const all = await gradientsOf(model, { names });
  const some = await gradientsOf(model, { names, positions: [3, 0, 1] });
  assertEquals(some.loss, all.loss);
  const [resid, pattern] = names.map((name) => all.gradients[name]);
  const rows = (values: Float32Array, outer: number, width: number) =>
    Array.from(
      { length: outer },
      (_, o) =>
        [3, 0, 1].flatMap((
          p,
        ) => [...values.subarray((o * 4 + p) * width, (o * 4 + p + 1) * width)]),
    )
      .flat();
  assertEquals([...some.gradients[names[0]]], rows(resid, 2, 8));
  assertEquals([...some.gradients[names[1]]], rows(pattern, 2 * 4, 4));
});

gradientTest("a loss of some positions has a gradient at those alone", async (model) => {
  const name = "blocks.0.hook_resid_post";
  const { gradients } = await gradientsOf(
    model,
    {
      names: [name, "hook_embed"],
      positions: -2,
      stopAtLayer: 1,
      gradientOf: ({ cache }) => tf.sum(cache.get(name)),
    },
  );
  assertEquals(gradients[name], new Float32Array(2 * 8).fill(1));
});

gradientTest("a failed gradient says why and leaves nothing behind", async (model) => {
  const names = /resid/;
  const fails = async (
    options: RunWithCacheOptions & { gradientOf?: unknown },
    type: ErrorConstructor | TypeErrorConstructor | RangeErrorConstructor,
    message: string,
  ) => {
    const before = tf.memory().numTensors;
    await assertRejects(
      () => gradientsOf(model, { names, ...options } as Options),
      type,
      message,
    );
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals(tf.memory().numTensors, before, `after "${message}"`);
  };
  const given = (loss: () => unknown) => ({ gradientOf: loss });
  await fails(given(() => tf.zeros([2])), TypeError, "float32 of shape [2]: expected a float32");
  await fails(given(() => tf.scalar(1, "int32")), TypeError, "int32");
  await fails(given(() => 3), TypeError, "a number");
  await fails(given(() => Promise.resolve(tf.scalar(3))), TypeError, "a promise");
  const thrown = given(() => {
    throw new Error("no loss");
  });
  await fails(thrown, Error, "no loss");
  const noGradient = {
    gradientOf: ({ logits }: { logits: tf.Tensor3D }) => tf.sum(tf.topk(logits, 2).values),
  };
  await fails(noGradient, Error, "TopK");
  // Found on the way back, when later points have their gradients already.
  const largest: HookFn = (x) => tf.add(x, tf.topk(x, 1).values);
  await fails({ hooks: { "blocks.0.hook_resid_mid": largest } }, Error, "TopK");
  const at = "blocks.1.hook_resid_mid";
  const throws: HookFn = () => {
    throw new Error("no activation");
  };
  await fails({ hooks: { [at]: throws } }, Error, "no activation");
  const small: HookFn = (x) => tf.slice(x, 0, 1);
  await fails({ hooks: { [at]: small } }, RangeError, `The hook at "${at}" returned`);
  const promise: HookFn = (x) => Promise.resolve(tf.clone(x));
  await fails({ hooks: { [at]: promise } }, TypeError, `The hook at "${at}" returned a promise`);
  const rejects: HookFn = () => Promise.reject(new Error("late"));
  await fails({ hooks: { [at]: rejects } }, TypeError, "returned a promise");

  // Afterwards everything works.
  assert((await gradientsOf(model, { names })).gradients["blocks.0.hook_resid_pre"].length > 0);
});

gradientTest("a loss that depends on nothing has a gradient of 0 everywhere", async (model) => {
  const mine = tf.scalar(2);
  const { loss, gradients } = await gradientsOf(
    model,
    {
      names: /resid_mid/,
      gradientOf: () => mine,
    },
  );
  assertEquals(loss, 2);
  assert(Object.values(gradients).every((values) => values.every((g) => g === 0)));
  assert(!mine.isDisposed, "the loss was a tensor of the caller's");
  mine.dispose();
});
