import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type HookFn, type Model, randomModel } from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { assertClose } from "./close.ts";

const TOKENS = [[1, 7, 9, 4], [1, 30, 2]];

/** Runs a test with a small model and asserts that it leaves no tensor behind. */
function hookTest(name: string, fn: (model: Model) => Promise<void>): void {
  Deno.test(name, async () => {
    await openDevice();
    const before = tf.memory().numTensors;
    const model = randomModel({ nLayers: 2 }, 0);
    const withModel = tf.memory().numTensors;
    await fn(model);
    assertEquals(tf.memory().numTensors, withModel, "a tensor was left behind");
    model.dispose();
    assertEquals(tf.memory().numTensors, before, "the model left a tensor behind");
  });
}

async function logitsOf(model: Model, hooks?: Record<string, HookFn> | [string, HookFn][]) {
  const logits = hooks
    ? (await model.runWithHooks(TOKENS, { hooks }))!
    : await model.forward(TOKENS);
  const values = await logits.data<"float32">();
  logits.dispose();
  return values;
}

hookTest("a hook that returns nothing reads and changes nothing", async (model) => {
  const seen: string[] = [];
  const read: HookFn = (t, { name }) => {
    seen.push(`${name} [${t.shape}]`);
  };
  const names = model.hookNames();
  const hooked = await logitsOf(model, names.map((name): [string, HookFn] => [name, read]));
  assertEquals(seen.length, names.length);
  assertEquals(seen[0], "hook_embed [2,4,16]");
  assertEquals(seen.at(-1), "ln_final.hook_normalized [2,4,16]");
  // Up to rounding: a block that nothing waits inside may be computed in another order.
  assertClose(hooked, await logitsOf(model));
});

hookTest("every hook point has its documented shape", async (model) => {
  const { dModel, nHeads, nKvHeads, dHead, dMlp } = model.cfg;
  const [batch, pos] = [2, 4];
  const q = [batch, pos, nHeads, dHead];
  const kv = [batch, pos, nKvHeads, dHead];
  const [residual, scale, hidden] = [[batch, pos, dModel], [batch, pos, 1], [batch, pos, dMlp]];
  const pattern = [batch, nHeads, pos, pos];
  const inBlock = {
    hook_resid_pre: residual,
    "ln1.hook_scale": scale,
    "ln1.hook_normalized": residual,
    "attn.hook_q": q,
    "attn.hook_k": kv,
    "attn.hook_v": kv,
    "attn.hook_rot_q": q,
    "attn.hook_rot_k": kv,
    "attn.hook_attn_scores": pattern,
    "attn.hook_pattern": pattern,
    "attn.hook_z": q,
    "attn.hook_result": [batch, pos, nHeads, dModel],
    hook_attn_out: residual,
    hook_resid_mid: residual,
    "ln2.hook_scale": scale,
    "ln2.hook_normalized": residual,
    "mlp.hook_pre": hidden,
    "mlp.hook_pre_linear": hidden,
    "mlp.hook_post": hidden,
    hook_mlp_out: residual,
    hook_resid_post: residual,
  };
  const blocks = [0, 1].flatMap((l) =>
    Object.entries(inBlock).map(([name, shape]) => [`blocks.${l}.${name}`, shape])
  );
  const expected = Object.fromEntries([
    ["hook_embed", residual],
    ...blocks,
    ["ln_final.hook_scale", scale],
    ["ln_final.hook_normalized", residual],
  ]);
  const { logits, cache } = await model.runWithCache(TOKENS);
  const found = Object.fromEntries(cache.names().map((name) => [name, cache.get(name).shape]));
  assertEquals(found, expected);
  assertEquals(logits!.shape, [batch, pos, model.cfg.vocabSize]);
  logits!.dispose();
  cache.dispose();
});

hookTest("scores and patterns are only there while their block runs", async () => {
  using model = randomModel({ contextLength: 512 }, 0);
  const pos = 500;
  const tokens = [Array.from({ length: pos }, (_, i) => i % 259)];
  const ofHead = 4 * pos * pos; // bytes
  const before = tf.memory().numBytes;
  let largest = 0;
  const measure: HookFn = () => {
    largest = Math.max(largest, tf.memory().numBytes - before);
  };
  const hooks = ["attn.hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_post"].map((name) =>
    [`blocks.1.${name}`, measure] as const
  );
  (await model.runWithHooks(tokens, { hooks }))!.dispose();
  // A mask, which is as large as the scores of a head, and a few activations, which are smaller.
  assert(
    largest < 2 * ofHead,
    `${largest} bytes, where the scores of four heads are ${4 * ofHead}`,
  );
  const name = "blocks.0.attn.hook_pattern";
  const { logits, cache } = await model.runWithCache(tokens, { names: name });
  assertEquals(cache.get(name).size * 4, 4 * ofHead);
  logits!.dispose();
  cache.dispose();
});

hookTest("what a hook returns flows on from every point", async (model) => {
  const clean = await logitsOf(model);
  for (const name of model.hookNames()) {
    const changed = await logitsOf(model, { [name]: (t) => tf.mul(t, 0.5) });
    const difference = changed.reduce((most, v, i) => Math.max(most, Math.abs(v - clean[i])), 0);
    assert(difference > 1e-4, `halving ${name} changed the logits by ${difference}`);
  }
});

hookTest("replacing a residual by that of another run gives that run's logits", async (model) => {
  const name = "blocks.1.hook_resid_pre";
  const other = [[3, 14, 15, 9], [2, 6, 5]];
  const { logits, cache } = await model.runWithCache(other, { names: name });
  const patched = await logitsOf(model, { [name]: () => tf.clone(cache.get(name)) });
  assertEquals(patched, await logits!.data<"float32">());
  logits!.dispose();
  cache.dispose();
});

hookTest("removing what both layers of a block add makes it the identity", async (model) => {
  const zero: HookFn = (t) => tf.zerosLike(t);
  const read: Record<string, Float32Array> = {};
  const keep: HookFn = async (t, { name }) => {
    read[name] = await t.data<"float32">();
  };
  await logitsOf(model, {
    "blocks.1.hook_attn_out": zero,
    "blocks.1.hook_mlp_out": zero,
    "blocks.1.hook_resid_pre": keep,
    "blocks.1.hook_resid_post": keep,
  });
  assertEquals(read["blocks.1.hook_resid_post"], read["blocks.1.hook_resid_pre"]);
});

hookTest(
  "several hooks on a point run in order, each on what the one before returned",
  async (model) => {
    const name = "blocks.0.mlp.hook_post";
    const double: HookFn = (t) => tf.mul(t, 2);
    const addOne: HookFn = (t) => tf.add(t, 1);
    const both = await logitsOf(model, [[name, double], [name, addOne]]);
    const atOnce = await logitsOf(model, { [name]: (t) => tf.add(tf.mul(t, 2), 1) });
    const reversed = await logitsOf(model, [[name, addOne], [name, double]]);
    assertClose(both, atOnce);
    assert(both.some((value, i) => Math.abs(value - reversed[i]) > 1e-3));
  },
);

hookTest("a hook may await, before and after it makes tensors", async (model) => {
  const name = "blocks.0.hook_resid_post";
  const waited = await logitsOf(model, {
    [name]: async (t) => {
      const early = tf.mul(t, 3);
      await early.data();
      const late = tf.sub(early, t);
      early.dispose();
      return late;
    },
  });
  assertClose(waited, await logitsOf(model, { [name]: (t) => tf.mul(t, 2) }));
});

hookTest("a hook may return the tensor that it was given", async (model) => {
  assertEquals(
    await logitsOf(model, { "blocks.0.hook_resid_pre": (t) => t }),
    await logitsOf(model),
  );
});

hookTest("a hook that throws leaves no hook and no tensor behind", async (model) => {
  const clean = await logitsOf(model);
  const before = tf.memory().numTensors;
  for (const name of model.hookNames()) {
    const sync: HookFn = (t) => {
      tf.mul(t, 2);
      throw new Error("synchronous");
    };
    const late: HookFn = async (t) => {
      await t.data();
      throw new Error("asynchronous");
    };
    await assertRejects(() => logitsOf(model, { [name]: sync }), Error, "synchronous");
    await assertRejects(() => logitsOf(model, { [name]: late }), Error, "asynchronous");
    assertEquals(tf.memory().numTensors, before, `after a throw at ${name}`);
  }
  assertEquals(await logitsOf(model), clean);
});

hookTest("a replacement of another shape is refused by name, expected and given", async (model) => {
  await assertRejects(
    () => logitsOf(model, { "blocks.1.attn.hook_q": (t) => tf.slice(t, 0, 1) }),
    RangeError,
    'The hook at "blocks.1.attn.hook_q" returned float32 of shape [1,4,4,4]: expected float32 of ' +
      "shape [2,4,4,4]",
  );
  await assertRejects(
    () => logitsOf(model, { hook_embed: (t) => tf.cast(t, "int32") }),
    RangeError,
    "int32 of shape",
  );
  await assertRejects(
    () => logitsOf(model, { hook_embed: (() => 3) as unknown as HookFn }),
    TypeError,
    "returned a number",
  );
});

hookTest(
  "a replacement that was disposed of is refused by name, and said how to keep it",
  async (model) => {
    const mine = tf.ones([2, 4, 16]);
    const hooks: Record<string, HookFn> = { hook_embed: () => mine };
    await logitsOf(model, hooks); // The run owns it from now on.
    assert(mine.isDisposed);
    await assertRejects(
      () => logitsOf(model, hooks),
      TypeError,
      'The hook at "hook_embed" returned a tensor that was disposed of',
    );
  },
);

hookTest("a hook may return a promise of nothing", async (model) => {
  const read: HookFn = async (t) => {
    await t.data();
  };
  const names = ["blocks.0.attn.hook_pattern", "blocks.1.hook_resid_mid"];
  const hooks = names.map((name): [string, HookFn] => [name, read]);
  assertClose(await logitsOf(model, hooks), await logitsOf(model));
});

hookTest(
  "a promise of another shape is refused, and what it gave is disposed of",
  async (model) => {
    const before = tf.memory().numTensors;
    const late: HookFn = async (t) => {
      await t.data();
      return tf.ones([3]);
    };
    await assertRejects(
      () => logitsOf(model, { "blocks.0.hook_mlp_out": late }),
      RangeError,
      'The hook at "blocks.0.hook_mlp_out" returned float32 of shape [3]: expected float32 of shape ' +
        "[2,4,16]",
    );
    assertEquals(tf.memory().numTensors, before);
  },
);

hookTest("a cached run that fails keeps nothing", async (model) => {
  const before = tf.memory().numTensors;
  for (const name of ["hook_embed", "blocks.1.hook_resid_mid", "ln_final.hook_normalized"]) {
    const hooks: Record<string, HookFn> = {
      [name]: async () => {
        await Promise.resolve();
        throw new Error("late");
      },
    };
    await assertRejects(() => model.runWithCache(TOKENS, { hooks }), Error, "late");
    assertEquals(tf.memory().numTensors, before, `after a throw at ${name}`);
  }
});

hookTest("a cache holds what flows on, after the hooks of the call", async (model) => {
  const name = "blocks.0.hook_mlp_out";
  const { cache } = await model.runWithCache(TOKENS, {
    names: [name, "blocks.0.hook_resid_post", "blocks.0.hook_resid_mid"],
    hooks: [[name, (t) => tf.zerosLike(t)], [name, (t) => tf.add(t, 1)]],
    stopAtLayer: 1,
  });
  assertEquals(await cache.get(name).data(), new Float32Array(2 * 4 * 16).fill(1));
  const [mid, post] = await Promise.all(
    ["mid", "post"].map((at) => cache.get(`blocks.0.hook_resid_${at}`).data<"float32">()),
  );
  assertEquals(post, mid.map((value) => Math.fround(value + 1)));
  cache.dispose();
});

hookTest(
  "a name that is no hook point is refused before the run, with near names",
  async (model) => {
    let ran = false;
    const hooks: Record<string, HookFn> = {
      hook_embed: () => {
        ran = true;
      },
      "blocks.1.hook_residpost": () => {},
    };
    await assertRejects(() => logitsOf(model, hooks), RangeError, '"blocks.1.hook_resid_post"');
    assertEquals(ran, false);
    await assertRejects(
      () => model.runWithCache(TOKENS, { names: ["blocks.0.hook_rezid_pre"] }),
      RangeError,
      '"blocks.0.hook_resid_pre"',
    );
    await assertRejects(
      () => model.runWithCache(TOKENS, { names: "blocks.1.hook_resid_post", stopAtLayer: 1 }),
      RangeError,
      "is not reached",
    );
    await assertRejects(
      () => model.runWithCache(TOKENS, { names: /nothing/ }),
      RangeError,
      "nothing",
    );
    await assertRejects(
      () => logitsOf(model, { hook_embed: "x" as unknown as HookFn }),
      TypeError,
      "expected a function",
    );
  },
);

hookTest("runWithCache keeps what was asked for, by name, pattern or test", async (model) => {
  const kept = async (names: Parameters<Model["runWithCache"]>[1]) => {
    const { logits, cache } = await model.runWithCache(TOKENS, names);
    const result = cache.names();
    logits?.dispose();
    cache.dispose();
    return result;
  };
  const post = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"];
  assertEquals(await kept({ names: post[0] }), [post[0]]);
  assertEquals(await kept({ names: post }), post);
  assertEquals(await kept({ names: /resid_post/g }), post);
  assertEquals(await kept({ names: (name) => name.endsWith("resid_post") }), post);
  assertEquals(await kept({}), model.hookNames());
});

hookTest("a cache names what is near to what it does not hold", async (model) => {
  const { cache } = await model.runWithCache(TOKENS, { names: /resid/, stopAtLayer: 1 });
  assertThrows(
    () => cache.get("blocks.0.hook_resid_pots"),
    RangeError,
    '"blocks.0.hook_resid_post"',
  );
  assert(cache.has("blocks.0.hook_resid_mid"));
  cache.dispose();
  assertThrows(() => cache.get("blocks.0.hook_resid_mid"), RangeError, "it is empty");
});

hookTest("two runs at the same time do not meet", async (model) => {
  const half: HookFn = async (t) => {
    await new Promise((resolve) => setTimeout(resolve));
    return tf.mul(t, 0.5);
  };
  const hooks = { "blocks.0.hook_resid_post": half };
  const [a, b] = await Promise.all([logitsOf(model, hooks), logitsOf(model)]);
  assertEquals(b, await logitsOf(model));
  assertEquals(a, await logitsOf(model, hooks));
});

hookTest("tokens that no run can take are refused", async (model) => {
  const run = (tokens: number[][]) => () => model.forward(tokens);
  await assertRejects(run([]), RangeError, "at least one sequence");
  await assertRejects(run([[1], []]), RangeError, "sequence 1: it is empty");
  await assertRejects(run([[1, 259]]), RangeError, "token 259 at position 1 of sequence 0");
  await assertRejects(run([[-1]]), RangeError, "expected an integer in 0…258");
  await assertRejects(run([[1.5]]), RangeError, "token 1.5");
  await assertRejects(run([1, 2] as unknown as number[][]), RangeError, "not a list of token ids");
  await assertRejects(run([Array(129).fill(1)]), RangeError, "a sequence of 129 tokens");
  await assertRejects(
    () => model.runWithCache([[1]], { stopAtLayer: 3 }),
    RangeError,
    "expected an integer in 0…2",
  );
});
