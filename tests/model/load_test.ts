import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadModel } from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { assertClose } from "./close.ts";
import {
  f32,
  ggufBytes,
  ggufMetadata,
  type GgufTensor,
  ggufTensors,
} from "../weights/gguf_writer.ts";
import { plainWeights, reference, tinyConfig } from "./reference.ts";

const cfg = tinyConfig({ tied: false });
const plain = plainWeights(cfg, 4);
const metadata = ggufMetadata(cfg);
const tensors = ggufTensors(plain, cfg);

/** Loads a file of these bytes. */
async function load(bytes: Uint8Array, options = {}) {
  await openDevice();
  const path = await Deno.makeTempFile({ suffix: ".gguf" });
  try {
    await Deno.writeFile(path, bytes);
    return await loadModel(path, options);
  } finally {
    await Deno.remove(path);
  }
}

function refused(bytes: Uint8Array, ...parts: string[]): () => Promise<void> {
  return async () => {
    await openDevice();
    const before = tf.memory().numTensors;
    const error = await assertRejects(() => load(bytes), Error);
    for (const part of [".gguf", ...parts]) {
      assert(error.message.includes(part), `"${error.message}" does not say "${part}"`);
    }
    assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
  };
}

for (const tied of [true, false]) {
  const what = tied ? "tied" : "untied";
  Deno.test(`a GGUF file with ${what} embeddings gives the logits of the float64 reference`, async () => {
    const cfg = tinyConfig({ tied });
    const plain = plainWeights(cfg, 4);
    const model = await load(ggufBytes(ggufMetadata(cfg), ggufTensors(plain, cfg)));
    const tokens = [1, 5, 9, 14, 22];
    const logits = await model.forward([tokens]);
    assertClose(await logits.data(), reference(tokens, plain, cfg).get("logits")!);
    const { ropeScaling, slidingWindow, ...found } = model.cfg;
    assertEquals([ropeScaling, slidingWindow], [undefined, undefined]);
    assertEquals({ ...found, hash: "0", name: cfg.name, rmsEps: cfg.rmsEps }, cfg);
    logits.dispose();
    model.dispose();
  });
}

Deno.test("weights in another number format are read before they are put in order", async () => {
  // Rows of 32 values: one block of Q8_0 each, with scale 2^-7.
  const cfg = tinyConfig({ dModel: 32, nHeads: 4, nKvHeads: 2, dHead: 8, dMlp: 32, nLayers: 1 });
  const plain = plainWeights(cfg, 5);
  const q = plain.blocks[0].q;
  for (const row of q) row.forEach((w, j) => row[j] = Math.round(w * 128) / 128);
  const tensors = ggufTensors(plain, cfg);
  const { shape, bytes } = tensors["blk.0.attn_q.weight"];
  const values = new Float32Array(bytes.buffer);
  const blocks = new Uint8Array(values.length / 32 * 34);
  for (let block = 0; block < values.length / 32; block++) {
    blocks.set([0x00, 0x20], block * 34); // 2^-7 in half precision
    for (let j = 0; j < 32; j++) blocks[block * 34 + 2 + j] = values[block * 32 + j] * 128;
  }
  tensors["blk.0.attn_q.weight"] = { shape, type: 8, bytes: blocks };
  const model = await load(ggufBytes(ggufMetadata(cfg), tensors));
  const tokens = [1, 5, 9, 14];
  const logits = await model.forward([tokens]);
  assertClose(await logits.data(), reference(tokens, plain, cfg).get("logits")!);
  logits.dispose();
  model.dispose();
});

Deno.test("loading with stopAtLayer keeps what those blocks need, and equals the whole", async () => {
  const bytes = ggufBytes(metadata, tensors);
  const before = (await openDevice(), tf.memory().numTensors);
  const part = await load(bytes, { stopAtLayer: 2 });
  // Embedding, two RoPE tables, seven tensors a block.
  assertEquals(tf.memory().numTensors - before, 1 + 2 + 2 * 7);
  assertEquals(part.hookNames().at(-1), "blocks.1.hook_resid_post");
  const { logits, cache } = await part.runWithCache([[1, 5, 9]], { names: /resid_post/ });
  assertEquals(logits, undefined);
  const exact = reference([1, 5, 9], plain, cfg).get("blocks.1.hook_resid_post")!;
  assertClose(await cache.get("blocks.1.hook_resid_post").data(), exact);
  await assertRejects(() => part.forward([[1]]), RangeError, "loaded with stopAtLayer = 2");
  await assertRejects(() => part.generate("a", { maxNewTokens: 1 }), RangeError, "load it without");
  await assertRejects(
    () => part.runWithCache([[1]], { stopAtLayer: 3 }),
    RangeError,
    "0…2, the layers that were loaded",
  );
  const whole = await load(bytes);
  assertEquals(part.cfg.hash, whole.cfg.hash, "the hash names the weights, not the part of them");
  cache.dispose();
  part.dispose();
  whole.dispose();
  assertEquals(tf.memory().numTensors, before);
  await assertRejects(() => load(bytes, { stopAtLayer: 4 }), RangeError, "0…3");
});

Deno.test("a file that is not there is missed by name", async () => {
  await openDevice();
  await assertRejects(() => loadModel("no/such.gguf"), Error, 'no model file "no/such.gguf"');
  await assertRejects(() => loadModel("./no/such"), Error, 'no model file "./no/such"');
});

Deno.test({
  name: "the embedded model is missed with the command that fetches it",
  fn: async () => {
    await openDevice();
    const [cache, model] = ["INTERLENS_CACHE", "INTERLENS_MODEL"];
    const before = [cache, model].map((name) => [name, Deno.env.get(name)] as const);
    Deno.env.set(cache, "no-such-folder");
    Deno.env.delete(model);
    try {
      await assertRejects(() => loadModel(), Error, "run `deno task setup`");
    } finally {
      for (const [name, value] of before) {
        value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
      }
    }
  },
});

const whole = ggufBytes(metadata, tensors);

Deno.test(
  "a file that ends inside a tensor is refused by the tensor's name",
  refused(whole.subarray(0, whole.length - 100), '"output.weight"', "truncated"),
);

Deno.test(
  "a file that ends inside its header is refused",
  refused(whole.subarray(0, 700), "truncated"),
);

Deno.test(
  "a file of something else is refused",
  refused(new TextEncoder().encode("a web page that says 404, not a model"), "GGUF"),
);

Deno.test("an empty file is refused", refused(new Uint8Array()));

function changed(name: string, t: Partial<GgufTensor>): Uint8Array {
  return ggufBytes(metadata, { ...tensors, [name]: { ...tensors[name], ...t } });
}

Deno.test(
  "an unknown number format is refused by the tensor's name, listing those that are known",
  refused(changed("blk.1.attn_v.weight", { type: 19 }), "blk.1.attn_v.weight", "type 19", "Q4_1"),
);

Deno.test(
  "a row that is not whole blocks is refused",
  refused(changed("blk.0.ffn_up.weight", { type: 2 }), "blk.0.ffn_up.weight", "Q4_0 blocks of 32"),
);

Deno.test(
  "a tensor of another shape is refused with both shapes",
  refused(
    changed("blk.2.ffn_gate.weight", f32([cfg.dMlp, 4], Array(cfg.dMlp * 4).fill(0))),
    "blk.2.ffn_gate.weight",
    "[20,4]",
    "[20,12]",
  ),
);

Deno.test("a missing tensor is refused by its name", () => {
  const { "blk.1.ffn_down.weight": _, ...rest } = tensors;
  return refused(ggufBytes(metadata, rest), "blk.1.ffn_down.weight", "missing")();
});

Deno.test(
  "a tensor that this forward pass would ignore is refused",
  refused(
    ggufBytes(metadata, { ...tensors, "blk.0.ffn_gate.bias": f32([4], [1, 2, 3, 4]) }),
    "blk.0.ffn_gate.bias",
  ),
);

Deno.test(
  "another architecture is refused",
  refused(ggufBytes({ ...metadata, "general.architecture": "gemma" }, tensors), '"gemma"'),
);

Deno.test(
  "scaled rotary positions and experts are refused",
  async () => {
    const scaled = { ...metadata, "llama.rope.scaling.type": "yarn" };
    await refused(ggufBytes(scaled, tensors), "llama.rope.scaling.type", "yarn")();
    await refused(ggufBytes({ ...metadata, "llama.expert_count": 8 }, tensors), "expert_count")();
  },
);

Deno.test(
  "another kind of tokenizer is refused",
  refused(ggufBytes({ ...metadata, "tokenizer.ggml.pre": "poro" }, tensors), '"poro"', "smollm"),
);

Deno.test("metadata that lacks a size is refused by its key", () => {
  const { "llama.block_count": _, ...rest } = metadata;
  return refused(ggufBytes(rest, tensors), "llama.block_count")();
});
