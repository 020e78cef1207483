import { assert, assertEquals } from "@std/assert";
import { Model, type ModelConfig } from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { plainWeights, reference, tinyConfig, toLlamaWeights } from "./reference.ts";
import { assertClose } from "./close.ts";

const SEQUENCES = [[1, 5, 9, 14, 22, 3, 7], [1, 20, 4], [8, 8, 8, 8, 0]];
const tokenizer = { encode: () => [], decode: () => "", bosId: 1, eosId: 2, addBos: true };

function pair(overrides: Partial<ModelConfig>, options: { biases?: boolean } = {}) {
  const cfg = tinyConfig(overrides);
  const plain = plainWeights(cfg, 0, options);
  return { cfg, plain, model: new Model(cfg, tokenizer, toLlamaWeights(plain, cfg.tied)) };
}

/** The part of an activation that belongs to sequence `i`, without padding. */
async function unpadded(t: tf.Tensor, name: string, i: number): Promise<Float32Array> {
  const pos = SEQUENCES[i].length;
  const isPattern = /attn_scores|pattern/.test(name); // [batch, head, query, key]
  const begin = [i, ...t.shape.slice(1).map(() => 0)];
  const rest = t.shape.slice(2) as number[];
  const size = isPattern ? [1, t.shape[1]!, pos, pos] : [1, pos, ...rest];
  const part = tf.slice(t, begin, size);
  const values = await part.data<"float32">();
  part.dispose();
  return values;
}

for (
  const [what, overrides, biases] of [
    ["grouped queries and tied embeddings", {}, false],
    [
      "one key head for all and untied embeddings",
      { nKvHeads: 1, nLayers: 2, tied: false },
      false,
    ],
    ["biases and a sliding window", { nLayers: 2, slidingWindow: 3 }, true],
  ] as const
) {
  eachBackend(`every activation equals the float64 reference with ${what}`, async () => {
    const { cfg, plain, model } = pair(overrides, { biases });
    const { logits, cache } = await model.runWithCache(SEQUENCES);
    assertEquals(cache.names(), model.hookNames());
    for (const [i, sequence] of SEQUENCES.entries()) {
      const expected = reference(sequence, plain, cfg);
      assertEquals([...expected.keys()].sort(), [...model.hookNames(), "logits"].sort());
      for (const [name, values] of expected) {
        const ours = await unpadded(name === "logits" ? logits! : cache.get(name), name, i);
        assertClose(ours, values, `${name} of sequence ${i}`);
      }
    }
    logits!.dispose();
    cache.dispose();
    model.dispose();
  });
}

Deno.test("hook points have the shapes that their names promise", async () => {
  await openDevice();
  const { cfg, model } = pair({});
  const { logits, cache } = await model.runWithCache([[1, 2, 3, 4, 5], [6]]);
  const shapeOf = (name: string) => cache.get(`blocks.1.${name}`).shape;
  const resid = [2, 5, cfg.dModel];
  for (const name of ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]) {
    assertEquals(shapeOf(`hook_${name}`), resid);
  }
  assertEquals(shapeOf("ln1.hook_scale"), [2, 5, 1]);
  assertEquals(shapeOf("ln2.hook_normalized"), resid);
  for (const name of ["hook_q", "hook_rot_q", "hook_z"]) {
    assertEquals(shapeOf(`attn.${name}`), [2, 5, cfg.nHeads, cfg.dHead]);
  }
  for (const name of ["hook_k", "hook_rot_k", "hook_v"]) {
    assertEquals(shapeOf(`attn.${name}`), [2, 5, cfg.nKvHeads, cfg.dHead]);
  }
  assertEquals(shapeOf("attn.hook_result"), [2, 5, cfg.nHeads, cfg.dModel]);
  for (const name of ["hook_attn_scores", "hook_pattern"]) {
    assertEquals(shapeOf(`attn.${name}`), [2, cfg.nHeads, 5, 5]);
  }
  for (const name of ["hook_pre", "hook_pre_linear", "hook_post"]) {
    assertEquals(shapeOf(`mlp.${name}`), [2, 5, cfg.dMlp]);
  }
  assertEquals(logits!.shape, [2, 5, cfg.vocabSize]);
  logits!.dispose();
  cache.dispose();
  model.dispose();
});

Deno.test("a later token changes nothing before it", async () => {
  await openDevice();
  const { model } = pair({});
  const read = async (tokens: number[]) => {
    const logits = await model.forward([tokens]);
    const before = tf.slice(logits, [0, 0, 0], [1, 3, -1]);
    const values = await before.data<"float32">();
    tf.dispose([logits, before]);
    return values;
  };
  const a = await read([1, 5, 9, 14]);
  const b = await read([1, 5, 9, 3]);
  assertEquals(a, b);
  assert(a.some((value) => value !== 0));
  model.dispose();
});

Deno.test("stopAtLayer is exclusive and stops before the logits", async () => {
  await openDevice();
  const { model } = pair({});
  const reachedUpTo = async (stopAtLayer: number) => {
    const { logits, cache } = await model.runWithCache([[1, 2]], { stopAtLayer });
    assertEquals(logits, undefined);
    const last = cache.names().at(-1);
    cache.dispose();
    return last;
  };
  assertEquals(await reachedUpTo(0), "hook_embed");
  assertEquals(await reachedUpTo(2), "blocks.1.hook_resid_post");
  assertEquals(await reachedUpTo(3), "blocks.2.hook_resid_post");
  model.dispose();
});
