import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { writeSafetensors } from "../../lib/files/mod.ts";
import { loadModel } from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { type RepoFiles, type ServedRepo, type TestHub, withHub } from "../hub/server.ts";
import { ggufBytes, ggufMetadata, ggufTensors } from "../weights/gguf_writer.ts";
import { dict, storage, tensor, torchFile } from "../weights/torch_writer.ts";
import { tokenizerFiles } from "./checkpoint.ts";
import { assertClose } from "./close.ts";
import { type PlainWeights, plainWeights, reference, tinyConfig } from "./reference.ts";

const cfg = tinyConfig({ tied: false, vocabSize: 48, nLayers: 3 });
const plain = plainWeights(cfg, 7);
const TOKENS = [1, 5, 9, 14, 22];
const LOGITS = reference(TOKENS, plain, cfg).get("logits")!;
const MIDDLE = reference(TOKENS, plain, cfg).get("blocks.0.hook_resid_post")!;

const CONFIG = {
  model_type: "llama",
  hidden_size: cfg.dModel,
  num_hidden_layers: cfg.nLayers,
  num_attention_heads: cfg.nHeads,
  num_key_value_heads: cfg.nKvHeads,
  head_dim: cfg.dHead,
  intermediate_size: cfg.dMlp,
  vocab_size: cfg.vocabSize,
  max_position_embeddings: cfg.contextLength,
  rope_theta: cfg.ropeTheta,
  rms_norm_eps: cfg.rmsEps,
  hidden_act: "silu",
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
};

type Tensors = Record<string, { shape: number[]; data: Float32Array<ArrayBuffer> }>;

/** Tensors by transformers' names, matrices as `[outputs, inputs]`. */
function hfTensors({ embed, blocks, lnFinal, unembed }: PlainWeights): Tensors {
  const vector = (v: number[]) => ({ shape: [v.length], data: Float32Array.from(v) });
  const rows = (m: number[][]) => ({
    shape: [m.length, m[0].length],
    data: Float32Array.from(m.flat()),
  });
  const turned = (m: number[][]) => rows(m[0].map((_, j) => m.map((row) => row[j])));
  const all: Tensors = { "model.embed_tokens.weight": rows(embed) };
  for (const [l, b] of blocks.entries()) {
    const of = (name: string) => `model.layers.${l}.${name}.weight`;
    all[of("input_layernorm")] = vector(b.ln1);
    for (const part of ["q", "k", "v", "o"] as const) {
      all[of(`self_attn.${part}_proj`)] = turned(b[part]);
    }
    all[of("post_attention_layernorm")] = vector(b.ln2);
    for (const part of ["gate", "up", "down"] as const) {
      all[of(`mlp.${part}_proj`)] = turned(b[part]);
    }
  }
  all["model.norm.weight"] = vector(lnFinal);
  all["lm_head.weight"] = rows(unembed);
  return all;
}

const tensors = hfTensors(plain);
/** Two halves: what comes before block 1, and the rest. */
const isEarly = (name: string) => /embed_tokens|layers\.0\./.test(name);
const part = (early: boolean): Tensors =>
  Object.fromEntries(Object.entries(tensors).filter(([name]) => isEarly(name) === early));
const indexOf = (files: [string, string]) =>
  JSON.stringify({
    weight_map: Object.fromEntries(
      Object.keys(tensors).map((name) => [name, files[isEarly(name) ? 0 : 1]]),
    ),
  });

async function safetensors(all: Tensors): Promise<Uint8Array> {
  const path = await Deno.makeTempFile();
  const entries = Object.entries(all).map(([name, t]) => [name, { dtype: "F32" as const, ...t }]);
  await writeSafetensors(path, Object.fromEntries(entries));
  const bytes = await Deno.readFile(path);
  await Deno.remove(path);
  return bytes;
}

/** A state dict of these tensors, each with a storage of its own. */
function torch(all: Tensors): Uint8Array {
  const items: Record<string, number[]> = {};
  const storages: Record<string, Uint8Array> = {};
  Object.entries(all).forEach(([name, { shape, data }], i) => {
    const strides = shape.length === 2 ? [shape[1], 1] : [1];
    items[name] = tensor(storage(`${i}`, data.length), { shape, strides });
    storages[`${i}`] = new Uint8Array(data.buffer);
  });
  return torchFile(dict(items), storages);
}

async function smallFiles(): Promise<RepoFiles> {
  const files: RepoFiles = { "config.json": JSON.stringify(CONFIG), "README.md": "# Tiny" };
  await inScratch(async (folder) => {
    await tokenizerFiles(folder);
    for await (const { name } of Deno.readDir(folder)) {
      files[name] = await Deno.readFile(join(folder, name));
    }
  });
  return files;
}

const small = await smallFiles();
const INDEX = "model.safetensors.index.json";
const SHARDS: [string, string] = [
  "model-00001-of-00002.safetensors",
  "model-00002-of-00002.safetensors",
];
const BINS: [string, string] = [
  "pytorch_model-00001-of-00002.bin",
  "pytorch_model-00002-of-00002.bin",
];
/** One repository for every form in which weights are published. */
const FORMS: Record<string, RepoFiles> = {
  "one safetensors file": { ...small, "model.safetensors": await safetensors(tensors) },
  "safetensors in two files": {
    ...small,
    [INDEX]: indexOf(SHARDS),
    [SHARDS[0]]: await safetensors(part(true)),
    [SHARDS[1]]: await safetensors(part(false)),
  },
  "one state dict": { ...small, "pytorch_model.bin": torch(tensors) },
  "a state dict in two files": {
    ...small,
    "pytorch_model.bin.index.json": indexOf(BINS),
    [BINS[0]]: torch(part(true)),
    [BINS[1]]: torch(part(false)),
  },
};
const SHARDED: ServedRepo = { id: "owner/tiny", files: FORMS["safetensors in two files"] };

function onHub(name: string, repo: ServedRepo, use: (hub: TestHub) => Promise<void>): void {
  Deno.test(name, async () => {
    await openDevice();
    const before = tf.memory().numTensors;
    await withHub({ repos: [repo] }, use);
    assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
  });
}

const fetched = ({ requests }: TestHub, name: string) =>
  requests.filter(({ method, path }) => method === "GET" && path.endsWith(`/${name}`)).length;

for (const [form, files] of Object.entries(FORMS)) {
  onHub(`a repository with ${form} gives the logits of the float64 reference`, {
    id: "owner/tiny",
    files,
  }, async (hub) => {
    using model = await loadModel("owner/tiny");
    assertEquals(model.cfg.name, "owner/tiny");
    const logits = await model.forward([TOKENS]);
    assertClose(await logits.data(), LOGITS);
    logits.dispose();
    assertEquals(fetched(hub, "README.md"), 0, "a file was downloaded that no model needs");
  });
}

onHub("a GGUF file in a repository is loaded by its path", {
  id: "owner/tiny",
  files: { "gguf/tiny.gguf": ggufBytes(ggufMetadata(cfg), ggufTensors(plain, cfg)) },
}, async () => {
  using model = await loadModel("owner/tiny/gguf/tiny.gguf");
  const logits = await model.forward([TOKENS]);
  assertClose(await logits.data(), LOGITS);
  logits.dispose();
  await assertRejects(() => loadModel("owner/tiny"), Error, "owner/tiny/gguf/tiny.gguf");
});

onHub(
  "with stopAtLayer only the files that hold those blocks are downloaded",
  SHARDED,
  async (hub) => {
    using model = await loadModel("owner/tiny", { stopAtLayer: 1 });
    assertEquals(SHARDS.map((name) => fetched(hub, name)), [1, 0]);
    const { cache } = await model.runWithCache([TOKENS], { names: "blocks.0.hook_resid_post" });
    assertClose(await cache.get("blocks.0.hook_resid_post").data(), MIDDLE);
    cache.dispose();
    using whole = await loadModel("owner/tiny");
    assertEquals(
      whole.cfg.hash,
      model.cfg.hash,
      "the hash names the weights, not the part of them",
    );
  },
);

onHub("what was downloaded once is loaded offline, with the same hash", SHARDED, async (hub) => {
  const first = await loadModel("owner/tiny", { stopAtLayer: 1 });
  first.dispose();
  hub.requests.length = 0;
  Deno.env.set("HF_HUB_OFFLINE", "1");
  try {
    using model = await loadModel("owner/tiny", { stopAtLayer: 1 });
    assertEquals(model.cfg.hash, first.cfg.hash);
    assertEquals(hub.requests.length, 0);
    const error = await assertRejects(() => loadModel("owner/tiny"), Error);
    assert(error.message.includes(SHARDS[1]), error.message);
  } finally {
    Deno.env.delete("HF_HUB_OFFLINE");
  }
});

onHub("a revision is another model, and a new commit another hash", {
  ...SHARDED,
  revisions: { old: { ...FORMS["one state dict"] } },
}, async (hub) => {
  const hashes = new Set<string>();
  for (const revision of [undefined, "old"]) {
    using model = await loadModel("owner/tiny", { revision, stopAtLayer: 0 });
    hashes.add(model.cfg.hash);
  }
  hub.push("owner/tiny", FORMS["one safetensors file"]);
  using model = await loadModel("owner/tiny", { stopAtLayer: 0 });
  hashes.add(model.cfg.hash);
  assertEquals(hashes.size, 3);
});

onHub("a dropped connection is resumed, and a wrong checksum is refused", SHARDED, async (hub) => {
  hub.fail(SHARDS[0], [{ dropAfter: 500 }]);
  using model = await loadModel("owner/tiny", { stopAtLayer: 1 });
  const stored = hub.requests.filter(({ server }) => server === "storage");
  assertEquals(stored.map(({ range }) => range), [null, "bytes=500-"]);
  assertEquals(model.loadedLayers, 1);
  hub.fail(SHARDS[1], Array(8).fill({ corrupt: true }));
  const error = await assertRejects(() => loadModel("owner/tiny"), Error);
  assert(
    error.message.includes(SHARDS[1]) && /checksum|SHA-256/i.test(error.message),
    error.message,
  );
});

onHub("a repository that needs a token or does not exist is refused with what to do", {
  ...SHARDED,
  token: "hf_right",
}, async () => {
  await assertRejects(() => loadModel("owner/tiny"), Error, "HF_TOKEN");
  await assertRejects(() => loadModel("owner/other"), Error, "owner/other");
});

onHub("an index that leads out of the repository is refused before it is followed", {
  id: "owner/tiny",
  files: { ...small, [INDEX]: indexOf(["../../../etc/hostname", SHARDS[1]]) },
}, async () => {
  await assertRejects(() => loadModel("owner/tiny"), Error, "../../../etc/hostname");
});

Deno.test("a checkpoint as OpenLLaMA publishes it, with a tokenizer.model alone, reads and writes", () =>
  inScratch(async (folder) => {
    await openDevice();
    const vocabSize = 704;
    const config = { ...CONFIG, vocab_size: vocabSize };
    const wide = tinyConfig({ ...cfg, vocabSize });
    await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(config));
    await Deno.writeFile(
      join(folder, "pytorch_model.bin"),
      torch(hfTensors(plainWeights(wide, 3))),
    );
    await Deno.copyFile(
      new URL("../fixtures/token_ids/bpe.model", import.meta.url),
      join(folder, "tokenizer.model"),
    );
    const tokenizerConfig = { tokenizer_class: "LlamaTokenizer", add_bos_token: true };
    const named = join(folder, "tokenizer_config.json");
    await Deno.writeTextFile(named, JSON.stringify(tokenizerConfig));
    using model = await loadModel(folder);
    const [tokens] = model.toTokens("one lamp");
    assertEquals(tokens.filter((id) => id === model.cfg.bosId), [tokens[0]]);
    assertEquals(model.tokenizer.decode(tokens.slice(1)), "one lamp");
    let streamed = "";
    const written = await model.generate("one", {
      maxNewTokens: 6,
      onText: (piece) => streamed += piece,
    });
    assertEquals(streamed, written);
  }));

Deno.test("a folder gives what the hub gives, and its hash changes with its files", () =>
  inScratch(async (folder) => {
    await openDevice();
    const files = FORMS["a state dict in two files"];
    for (const [name, content] of Object.entries(files)) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(join(folder, name), bytes);
    }
    const hashOf = async (stopAtLayer?: number) => {
      using model = await loadModel(folder, { stopAtLayer });
      const logits = stopAtLayer === undefined && await model.forward([TOKENS]);
      if (logits) assertClose(await logits.data(), LOGITS);
      if (logits) logits.dispose();
      return model.cfg.hash;
    };
    const hash = await hashOf();
    assertEquals(await hashOf(1), hash);
    await Deno.writeTextFile(join(folder, "README.md"), "other words");
    assertEquals(await hashOf(1), hash, "what is no part of the model must not matter");
    const changed = { ...tensors, "model.norm.weight": { ...tensors["model.norm.weight"] } };
    changed["model.norm.weight"].data = changed["model.norm.weight"].data.map((x) => x + 1);
    const late = Object.entries(changed).filter(([name]) => !isEarly(name));
    await Deno.writeFile(join(folder, BINS[1]), torch(Object.fromEntries(late)));
    assert(await hashOf(1) !== hash);
    // Only the first part is needed, so the second may be away.
    await Deno.remove(join(folder, BINS[1]));
    await hashOf(1);
    await assertRejects(() => loadModel(folder), Error, BINS[1]);
  }));

/** Loads a folder with these changes, which must be refused with these words. */
function refused(what: string, changes: RepoFiles, ...words: string[]): void {
  Deno.test(`a folder ${what} is refused`, () =>
    inScratch(async (folder) => {
      await openDevice();
      const before = tf.memory().numTensors;
      const files = { ...FORMS["one safetensors file"], ...changes };
      for (const [name, content] of Object.entries(files)) {
        if (content.length === 0) continue;
        const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
        await Deno.writeFile(join(folder, name), bytes);
      }
      const error = await assertRejects(() => loadModel(folder), Error);
      for (const word of words) {
        assert(error.message.includes(word), `"${error.message}" does not say "${word}"`);
      }
      assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
    }));
}

const config = (changes: object) => ({ "config.json": JSON.stringify({ ...CONFIG, ...changes }) });
refused("without a configuration", { "config.json": "" }, "config.json");
refused("with a configuration that is no JSON", { "config.json": "{" }, "config.json", "not JSON");
refused("without a tokenizer", { "tokenizer.json": "" }, "tokenizer.json");
refused("of another family", config({ model_type: "gemma2" }), "gemma2", "llama");
refused("with another activation", config({ hidden_act: "gelu" }), "hidden_act", "gelu", "silu");
refused(
  "with yarn scaling",
  config({ rope_scaling: { type: "yarn", factor: 2 } }),
  "rope_scaling",
  "yarn",
);
refused("with a bias in its MLP", config({ mlp_bias: true }), "mlp_bias");
refused(
  "with a window in some layers",
  config({
    model_type: "qwen2",
    use_sliding_window: true,
    sliding_window: 4,
    max_window_layers: 1,
  }),
  "max_window_layers",
);
refused("with a smaller vocabulary than its weights", config({ vocab_size: 40 }), "40");
refused("with fewer blocks than its weights", config({ num_hidden_layers: 2 }), "model.layers.2");
refused("with more blocks than its weights", config({ num_hidden_layers: 4 }), "model.layers.3");

Deno.test("weights that do not fit the memory of the machine are refused before they are read", () =>
  inScratch(async (folder) => {
    await openDevice();
    for (const [name, content] of Object.entries(FORMS["one safetensors file"])) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(join(folder, name), bytes);
    }
    const { systemMemoryInfo } = Deno;
    Deno.systemMemoryInfo = () => ({ ...systemMemoryInfo(), available: 1000 });
    try {
      await assertRejects(() => loadModel(folder), RangeError, "stopAtLayer");
    } finally {
      Deno.systemMemoryInfo = systemMemoryInfo;
    }
  }));
