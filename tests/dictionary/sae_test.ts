import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { fingerprint, Sae, type SaeConfig, type SaeOptions } from "../../lib/dictionary/mod.ts";
import { readSafetensors } from "../../lib/files/mod.ts";
import { Rng, scatterRows, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { OURS, randomSae } from "../fixtures/saelens_ours.ts";

const [dIn, dSae] = [4, 9];
const standard: SaeConfig = { architecture: "standard", dIn, dSae };
const topk: SaeConfig = { architecture: "topk", dIn, dSae, k: 3 };

function makeSae(config: SaeConfig, options: SaeOptions = {}): Sae {
  const rng = new Rng(0, "sae");
  return new Sae(config, {
    W_enc: tf.tensor2d(rng.normals(dIn * dSae, 1), [dIn, dSae]),
    b_enc: tf.tensor1d(rng.normals(dSae, 0.2)),
    W_dec: tf.tensor2d(rng.normals(dSae * dIn, 1), [dSae, dIn]),
    b_dec: tf.tensor1d(rng.normals(dIn, 1)),
  }, options);
}

const inputs = () => tf.tensor2d(new Rng(1, "inputs").normals(6 * dIn, 1), [6, dIn]);

async function largestDifference(a: tf.Tensor, b: tf.Tensor): Promise<number> {
  const [x, y] = [await a.data<"float32">(), await b.data<"float32">()];
  assertEquals(a.shape, b.shape);
  return x.reduce((all, value, i) => Math.max(all, Math.abs(value - y[i])), 0);
}

eachBackend("A TopK code has k features at most, and they are the largest", async () => {
  const sae = makeSae(topk);
  const x = inputs();
  const dense = await sae.encode(x).array();
  const all = await makeSae(standard).encode(x).array();
  dense.forEach((row, token) => {
    const largest = all[token].toSorted((a, b) => b - a).slice(0, 3);
    assertEquals(
      row.filter((value) => value > 0).sort((a, b) => b - a),
      largest.filter((v) => v > 0),
    );
    row.forEach((value, feature) => assert(value === 0 || value === all[token][feature]));
  });
});

eachBackend("Sparse codes say the same as dense ones", async () => {
  const x = inputs();
  const k3 = makeSae(topk);
  assertEquals(await largestDifference(scatterRows(k3.encodeSparse(x), dSae), k3.encode(x)), 0);
  assert(
    await largestDifference(k3.decodeSparse(k3.encodeSparse(x)), k3.decode(k3.encode(x))) < 1e-5,
  );
  assert(await largestDifference(k3.reconstruct(x), k3.decode(k3.encode(x))) < 1e-5);
  const relu = makeSae(standard);
  const codes = relu.encodeSparse(x, { maxActive: dSae });
  assertEquals(await largestDifference(scatterRows(codes, dSae), relu.encode(x)), 0);
});

eachBackend(
  "Every architecture gives codes from its pre-activations, with a gradient where they are active",
  async () => {
    const x = inputs();
    for (const [name, config] of Object.entries(OURS)) {
      const sae = randomSae(config);
      const pre = sae.preActivations(x);
      const codes = sae.activate(pre);
      assert(await largestDifference(codes, sae.encode(x)) < 1e-5, name);
      const gradient = tf.grad((pre) => sae.activate(pre))(pre);
      assertEquals([...await gradient.data()], [...await tf.step(codes).data()], name);
      // The same in three dimensions, as a run of a model has it.
      const batched = sae.activate(tf.reshape(pre, [2, 3, dSae]));
      assertEquals(await largestDifference(tf.reshape(batched, pre.shape), codes), 0);
      const decoded = sae.decode(codes);
      const skipped = sae.W_skip ? tf.add(decoded, tf.matMul(x, sae.W_skip, false, true)) : decoded;
      assert(await largestDifference(sae.reconstruct(x), skipped) < 2e-5, name);
    }
  },
);

eachBackend("A dictionary leaves no tensor behind", async () => {
  const before = tf.memory().numTensors;
  for (const config of Object.values(OURS)) {
    const sae = randomSae(config);
    const x = inputs();
    const codes = sae.encodeSparse(x, { maxActive: 2 });
    tf.dispose([sae.reconstruct(x), sae.encode(x), codes.indices, codes.values, x]);
    await fingerprint(sae);
    sae.dispose();
  }
  assertEquals(tf.memory().numTensors, before);
});

eachBackend("A saved dictionary gives the same outputs when loaded", async () => {
  const dir = await Deno.makeTempDir();
  const x = inputs();
  for (const config of [standard, topk]) {
    const plain = makeSae(config, { metadata: { hook_name: "blocks.3.hook_resid_post" } });
    await plain.save(join(dir, "plain"));
    const loaded = await Sae.load(join(dir, "plain"));
    assertEquals(loaded.config, config);
    assertEquals(loaded.metadata.hook_name, "blocks.3.hook_resid_post");
    assertEquals(await largestDifference(loaded.reconstruct(x), plain.reconstruct(x)), 0);
    assertEquals(await fingerprint(loaded), await fingerprint(plain));

    const normalizer = { scale: 0.37, mean: [1, -2, 0.5, 3], clip: { low: -5, high: 5 } };
    const scaled = makeSae(config, { normalizer });
    await scaled.save(join(dir, config.architecture));
    const again = await Sae.load(join(dir, config.architecture));
    assertEquals(again.normalizer, normalizer);
    // Each weight passes through a product and a division: two roundings of 6e-8.
    assert(await largestDifference(again.reconstruct(x), scaled.reconstruct(x)) < 2e-5);
    assert(await largestDifference(again.encode(x), scaled.encode(x)) < 1e-5);
  }
  await Deno.remove(dir, { recursive: true });
});

eachBackend("The folded weights take raw activations, without our normaliser", async () => {
  const dir = await Deno.makeTempDir();
  const normalizer = { scale: 0.37, mean: [1, -2, 0.5, 3], clip: null };
  const sae = makeSae(standard, { normalizer });
  await sae.save(dir);
  const cfg = JSON.parse(await Deno.readTextFile(join(dir, "cfg.json")));
  assertEquals(
    [cfg.architecture, cfg.d_in, cfg.d_sae, cfg.dtype, cfg.normalize_activations],
    ["standard", dIn, dSae, "float32", "none"],
  );
  const { tensors } = await readSafetensors(join(dir, "sae_weights.safetensors"));
  assertEquals(Object.keys(tensors).sort(), ["W_dec", "W_enc", "b_dec", "b_enc"]);
  const t = (name: string) =>
    tf.tensor(tensors[name].data, [...tensors[name].shape] as [number, number]) as tf.Tensor2D;

  // What any reader of the format computes: f = relu((x − b_dec) W_enc + b_enc), x̂ = f W_dec + b_dec.
  const raw = tf.mul(inputs(), 4);
  const f = tf.relu(tf.add(tf.matMul(tf.sub(raw, t("b_dec")), t("W_enc")), t("b_enc")));
  const theirs = tf.add(tf.matMul(f, t("W_dec")), t("b_dec"));
  const x = tf.mul(tf.sub(raw, tf.tensor1d(normalizer.mean)), normalizer.scale) as tf.Tensor2D;
  const ours = tf.add(tf.div(sae.reconstruct(x), normalizer.scale), tf.tensor1d(normalizer.mean));
  assert(await largestDifference(f, sae.encode(x)) < 1e-4);
  assert(await largestDifference(theirs, ours) < 1e-4);
  await Deno.remove(dir, { recursive: true });
});

eachBackend(
  "A file whose decoder bias is not subtracted from inputs loads with the same outputs",
  async () => {
    const dir = await Deno.makeTempDir();
    const sae = makeSae(standard);
    await sae.save(dir);
    const path = join(dir, "cfg.json");
    const cfg = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...cfg, apply_b_dec_to_input: false }));
    const loaded = await Sae.load(dir);
    const x = inputs();
    const theirs = tf.relu(tf.add(tf.matMul(x, sae.W_enc), sae.b_enc));
    assert(await largestDifference(loaded.encode(x), theirs) < 1e-5);
    await Deno.remove(dir, { recursive: true });
  },
);

eachBackend("Fingerprints tell dictionaries apart by one weight", async () => {
  const [a, b] = [makeSae(standard), makeSae(standard)];
  assertEquals(await fingerprint(a), await fingerprint(b));
  const changed = new Sae(standard, {
    W_enc: b.W_enc,
    b_enc: tf.add(b.b_enc, 1e-3) as tf.Tensor1D,
    W_dec: b.W_dec,
    b_dec: b.b_dec,
  });
  assert(await fingerprint(a) !== await fingerprint(changed));
});

eachBackend("An impossible dictionary or code is refused, naming the value", () => {
  assertThrows(() => makeSae({ ...topk, k: 0 }), RangeError, "k = 0");
  assertThrows(() => makeSae({ ...topk, k: 10 }), RangeError, "k = 10 active features of 9");
  assertThrows(() => makeSae({ ...standard, dSae: 0 }), RangeError, "dSae = 0");
  assertThrows(() => makeSae({ ...standard, dSae: 8 }), RangeError, "W_enc of shape [4,9]");
  const x = inputs();
  assertThrows(() => makeSae(standard).encodeSparse(x), RangeError, "give maxActive in 1…9");
  assertThrows(() => makeSae(topk).encodeSparse(x, { maxActive: 4 }), RangeError, "1…3");
  assertAlmostEquals(makeSae(topk).encodeSparse(x).indices.shape[1], 3);
});
