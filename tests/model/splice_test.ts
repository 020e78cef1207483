import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { cacheDir } from "../../lib/files/mod.ts";
import { argMax } from "../../lib/model/generate.ts";
import { type HookFn, loadModel, type Model, randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { assertClose } from "./close.ts";

const NAME = "blocks.1.hook_resid_post";

/** Sets what an activation has along a direction of length 1, at every position. */
function clamp(direction: Float32Array, size: number): HookFn {
  return (x) => {
    const along = tf.tensor1d(direction);
    const now = tf.sum(tf.mul(x, along), -1, true);
    return tf.add(x, tf.mul(tf.sub(size, now), along));
  };
}

function unit(values: Float32Array): Float32Array {
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

/** Greedy ids without a cache: the whole sequence again for every token, in the model as it is. */
async function recomputed(model: Model, prompt: string, count: number): Promise<number[]> {
  const [tokens] = model.toTokens(prompt, { prependBos: model.tokenizer.addBos });
  const start = tokens.length;
  while (tokens.length < start + count) {
    const logits = await model.forward([tokens]);
    const values = await logits.data<"float32">();
    logits.dispose();
    const next = argMax(values.subarray(-model.cfg.vocabSize));
    if (next === model.cfg.eosId) break;
    tokens.push(next);
  }
  return tokens.slice(start);
}

eachBackend(
  "a clamped direction writes another text, the same each time, until it is removed",
  async () => {
    const before = tf.memory().numTensors;
    const model = randomModel({ nLayers: 3, tied: false }, 3);
    const write = () => model.generate("abc", { maxNewTokens: 8 });
    const clean = await write();
    const held = tf.memory().numTensors;
    {
      using splice = model.splice(NAME, clamp(unit(new Rng(1).normals(16, 1)), 12));
      assertEquals(model.splices, [splice]);
      const clamped = await write();
      assertNotEquals(clamped, clean);
      assertEquals(await write(), clamped);
      // It holds at each token that is written: without a cache every position is clamped anew.
      assertEquals(clamped, model.tokenizer.decode(await recomputed(model, "abc", 8)));
    }
    assertEquals(model.splices, []);
    assertEquals(await write(), clean);
    assertEquals(tf.memory().numTensors, held, "a tensor was left behind");
    model.dispose();
    assertEquals(tf.memory().numTensors, before);
  },
);

eachBackend(
  "a splice sees every position once, and logits with a cache are those without",
  async () => {
    // Its tokens are whole characters, so that a text says which they were.
    using model = randomModel({ nLayers: 3, tied: false, vocabSize: 3 + 128 }, 3);
    const direction = unit(new Rng(1).normals(16, 1));
    const seen: number[] = [];
    const logits: Float32Array[] = [];
    using _count = model.splice(NAME, (x) => {
      seen.push(x.shape[1]!);
    });
    using _clamp = model.splice(NAME, clamp(direction, 12));
    using _read = model.splice("ln_final.hook_normalized", async (x) => {
      logits.push(await x.data<"float32">());
    });
    const text = await model.generate("abc", { maxNewTokens: 5 });
    const ids = model.tokenizer.encode(text);
    assertEquals(seen, [4, ...ids.slice(1).map(() => 1)]); // BOS, a, b, c; then one at a time
    const cached = logits.splice(0);

    (await model.forward([[...model.toTokens("abc")[0], ...ids.slice(0, -1)]])).dispose();
    const [whole] = logits;
    cached.forEach((last, i) => {
      assertClose(last, whole.subarray((3 + i) * 16, (4 + i) * 16), `token ${i}`);
    });
  },
);

eachBackend(
  "splices come before the hooks of a call, in the order in which they were made",
  async () => {
    using model = randomModel({}, 0);
    const order: string[] = [];
    const say = (word: string): HookFn => () => void order.push(word);
    const first = model.splice(NAME, say("first"));
    using _second = model.splice(NAME, say("second"));
    (await model.runWithHooks([[1, 2]], { hooks: { [NAME]: say("hook") } }))!.dispose();
    assertEquals(order, ["first", "second", "hook"]);
    first.remove();
    first.remove();
    assertEquals(model.splices.length, 1);

    // One that a run does not reach does not disturb it.
    order.length = 0;
    assertEquals(await model.runWithHooks([[1, 2]], { stopAtLayer: 1 }), undefined);
    assertEquals(order, []);
  },
);

eachBackend("an intervention that throws is removed with its scope", async () => {
  using model = randomModel({}, 0);
  const run = async () => {
    using _splice = model.splice(NAME, () => {
      throw new Error("no");
    });
    await model.generate("a", { maxNewTokens: 1 });
  };
  await run().then(() => assert(false), (error) => assertEquals(error.message, "no"));
  assertEquals(model.splices, []);
  await model.generate("a", { maxNewTokens: 1 });
});

eachBackend("a splice at no hook point is refused, with near names", () => {
  using model = randomModel({}, 0);
  assertThrows(() => model.splice("blocks.1.hook_resid_pots", () => {}), RangeError, `"${NAME}"`);
  assertThrows(() => model.splice(NAME, 3 as unknown as HookFn), TypeError, "a number");
});

const path = cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf");
const missing = !(await Deno.stat(path).catch(() => undefined));

Deno.test({
  name: "in the embedded model a clamped direction changes what is written about, and back",
  ignore: missing,
  fn: async () => {
    await openDevice();
    using model = await loadModel(path);
    const name = "blocks.14.hook_resid_post";
    // From a sentence about the weather to one about music.
    const ends = async (text: string) => {
      const { cache } = await model.runWithCache(model.toTokens(text), {
        names: name,
        positions: -1,
        stopAtLayer: 15,
      });
      const values = await cache.get(name).data<"float32">();
      cache.dispose();
      return values;
    };
    const [weather, music] = [
      await ends("The rain and the snow"),
      await ends("The piano and the violin"),
    ];
    const direction = unit(music.map((value, i) => value - weather[i]));
    const prompt = "Yesterday we talked about the";
    const write = () => model.generate(prompt, { maxNewTokens: 12 });
    const clean = await write();
    const held = tf.memory().numTensors;
    {
      using _splice = model.splice(name, clamp(direction, 150));
      const steered = await write();
      assertNotEquals(steered, clean);
      assertEquals(await write(), steered);
      assertEquals(steered, model.tokenizer.decode(await recomputed(model, prompt, 12)));
    }
    assertEquals(await write(), clean);
    assertEquals(tf.memory().numTensors, held, "a tensor was left behind");
  },
});
