import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { writeSafetensors } from "../../lib/files/mod.ts";
import { loadModel, type Model } from "../../lib/model/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import {
  ggufBytes,
  ggufMetadata,
  type GgufTensor,
  interleaveRows,
} from "../weights/gguf_writer.ts";
import { tokenizerFiles } from "./checkpoint.ts";
import fixture from "../fixtures/variants.json" with { type: "json" };

/** What the reference implementation and this one may differ by, relative to the block's RMS. */
const TOLERANCE = 2e-4;

/** The weights of the fixture: see its script. */
function weights(shapes: Record<string, number[]>) {
  return Object.fromEntries(
    Object.keys(shapes).sort().map((name, place) => {
      const [scale, offset] = name.endsWith("norm.weight") ? [0.25, 1] : [0.5, 0];
      const data = new Float32Array(shapes[name].reduce((a, b) => a * b, 1));
      let state = place;
      for (let i = 0; i < data.length; i++) {
        state = (Math.imul(1664525, state) + 1013904223) >>> 0;
        data[i] = (state / 2 ** 31 - 1) * scale + offset;
      }
      return [name, { dtype: "F32" as const, shape: shapes[name], data }];
    }),
  );
}

function assertNear(found: Float32Array, expected: number[], what: string): void {
  assertEquals(found.length, expected.length);
  const rms = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / expected.length);
  const worst = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i])), 0);
  assert(worst <= TOLERANCE * rms, `${what} differs by ${worst}, with an RMS of ${rms}`);
}

type Variant = typeof fixture.variants[number];

/** Every block and the logits against those of the reference. */
async function assertReference(model: Model, { hidden, logits }: Variant): Promise<void> {
  const { logits: found, cache } = await model.runWithCache([fixture.tokens], {
    names: /^hook_embed$|hook_resid_post$/,
  });
  assertNear(await cache.get("hook_embed").data<"float32">(), hidden[0], "the embedding");
  for (let l = 0; l < model.cfg.nLayers; l++) {
    const values = await cache.get(`blocks.${l}.hook_resid_post`).data<"float32">();
    assertNear(values, hidden[l + 1], `block ${l}`);
  }
  const all = await found!.data<"float32">();
  assertNear(all.slice(-logits.length), logits, "the logits");
  found!.dispose();
  cache.dispose();
}

const weightsOf = ({ shapes }: Variant) => weights(shapes as unknown as Record<string, number[]>);

for (const variant of fixture.variants) {
  Deno.test(`${variant.title}: every block and the logits are those of the reference`, () =>
    inScratch(async (folder) => {
      await openDevice();
      await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(variant.config));
      await tokenizerFiles(folder);
      await writeSafetensors(join(folder, "model.safetensors"), weightsOf(variant));
      using model = await loadModel(folder);
      await assertReference(model, variant);
    }));
}

const GGUF_NAMES: [RegExp, string][] = [
  [/^model\.embed_tokens\./, "token_embd."],
  [/^model\.norm\./, "output_norm."],
  [/^lm_head\./, "output."],
  [/^model\.layers\./, "blk."],
  [/input_layernorm/, "attn_norm"],
  [/post_attention_layernorm/, "ffn_norm"],
  [/self_attn\.o_proj/, "attn_output"],
  [/self_attn\.(\w)_proj/, "attn_$1"],
  [/mlp\.(\w+)_proj/, "ffn_$1"],
];

/** What llama.cpp's converter makes of a variant; undefined where GGUF has no word for it. */
function toGguf(variant: Variant): Uint8Array | undefined {
  const config = variant.config as unknown as Record<string, number> & {
    rope_scaling?: Record<string, number | string>;
    rope_parameters?: Record<string, number | string>;
  };
  const rope = { ...config.rope_scaling, ...config.rope_parameters };
  const type = rope.rope_type ?? rope.type;
  if (type === "dynamic") return undefined;
  const architecture = `${config.model_type}` === "qwen2" ? "qwen2" : "llama";
  const nHeads = config.num_attention_heads;
  const dHead = config.head_dim ?? config.hidden_size / nHeads;
  const theta = Number(rope.rope_theta ?? config.rope_theta);
  const all: Record<string, GgufTensor> = {};
  for (const [name, { shape, data }] of Object.entries(weightsOf(variant))) {
    const rows = architecture === "llama" && /[qk]_proj/.test(name)
      ? interleaveRows(data, dHead, shape[1] ?? 1)
      : data;
    const renamed = GGUF_NAMES.reduce((n, [from, to]) => n.replace(from, to), name);
    all[renamed] = { shape, type: 0, bytes: new Uint8Array(rows.buffer) };
  }
  if (type === "llama3") {
    const [low, high, factor, context] = [
      "low_freq_factor",
      "high_freq_factor",
      "factor",
      "original_max_position_embeddings",
    ].map((field) => Number(rope[field]));
    const factors = Float32Array.from({ length: dHead / 2 }, (_, i) => {
      const turns = context * theta ** (-2 * i / dHead) / (2 * Math.PI);
      if (turns > high) return 1;
      if (turns < low) return factor;
      const kept = (turns - low) / (high - low);
      return 1 / ((1 - kept) / factor + kept);
    });
    all["rope_freqs.weight"] = {
      shape: [dHead / 2],
      type: 0,
      bytes: new Uint8Array(factors.buffer),
    };
  }
  const windowed = config.sliding_window && `${config.use_sliding_window}` !== "false";
  const metadata = ggufMetadata({
    name: "tiny",
    hash: "",
    dModel: config.hidden_size,
    nLayers: config.num_hidden_layers,
    nHeads,
    nKvHeads: config.num_key_value_heads,
    dHead,
    dMlp: config.intermediate_size,
    vocabSize: config.vocab_size,
    contextLength: config.max_position_embeddings,
    ropeTheta: theta,
    rmsEps: config.rms_norm_eps,
    tied: true,
    bosId: 1,
    eosId: 2,
  });
  const more = {
    ...type === "linear" &&
      {
        "llama.rope.scaling.type": "linear",
        "llama.rope.scaling.factor": { float: Number(rope.factor) },
      },
    ...windowed && { "llama.attention.sliding_window": config.sliding_window },
    "general.architecture": architecture,
  };
  const renamed = Object.entries({ ...metadata, ...more })
    .map(([key, value]) => [key.replace(/^llama\./, `${architecture}.`), value]);
  return ggufBytes(Object.fromEntries(renamed), all);
}

for (const variant of fixture.variants) {
  const bytes = toGguf(variant);
  if (!bytes) continue;
  Deno.test(`${variant.title}, as GGUF: every block and the logits are those of the reference`, () =>
    inScratch(async (folder) => {
      await openDevice();
      await Deno.writeFile(join(folder, "tiny.gguf"), bytes);
      using model = await loadModel(join(folder, "tiny.gguf"));
      await assertReference(model, variant);
    }));
}
