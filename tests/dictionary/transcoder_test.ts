import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { harvestHooks } from "../../lib/activations/mod.ts";
import { fromTexts } from "../../lib/corpus/mod.ts";
import { pairReader, Sae, toModelUnits, toStoreUnits, trainSae } from "../../lib/dictionary/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";

Deno.test("A skip transcoder learns a layer from two stores of one harvest, and its file takes raw activations", async () => {
  await openDevice();
  using model = randomModel({ nLayers: 1 }, 0);
  const rng = new Rng(3);
  const text = () => Array.from({ length: 40 }, () => "abcdefg "[rng.integer(8)]).join("");
  const documents = Object.fromEntries(
    [["train", 24], ["validation", 6], ["test", 2]].map(([name, count]) => [
      name,
      fromTexts(Array.from({ length: Number(count) }, text), { name: String(name) }),
    ]),
  );
  await inScratch(async (dir) => {
    const [input, output] = ["blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"];
    const { train, validation, test } = documents;
    const stores = await harvestHooks(model, { train, validation, test }, {
      hooks: [input, output],
      tokens: { train: "all", validation: "all", test: "all" },
      normalizer: { clipSigma: null, scale: true },
      dir: `${dir}/stores`,
    });
    const pairs = pairReader(stores[input], stores[output]);
    const { sae, metrics } = await trainSae(pairs, {
      architecture: "batchtopk",
      dSae: 64,
      k: 8,
      skip: true,
      steps: 150,
      batchSize: 128,
      learningRate: 5e-3,
    }, { cache: false });
    assert(metrics.fvu < 0.5, `FVU ${metrics.fvu}`);
    assertEquals([sae.metadata.hook_name, sae.metadata.hook_name_out], [input, output]);

    await sae.save(`${dir}/sae`);
    // The same file without our normalisers: a reader that knows nothing of them.
    await Deno.remove(`${dir}/sae/input_normalizer.json`);
    await Deno.remove(`${dir}/sae/output_normalizer.json`);
    const plain = await Sae.load(`${dir}/sae`);
    const { cache, logits } = await model.runWithCache([[1, 5, 9, 3]], { names: input });
    const raw = tf.reshape(cache.get(input), [4, -1]) as tf.Tensor2D;
    const theirs = await plain.reconstruct(raw).data<"float32">();
    const x = toStoreUnits(raw, sae.normalizer);
    const ours = await toModelUnits(sae.reconstruct(x), sae.outputNormalizer).data();
    const largest = theirs.reduce((all, value) => Math.max(all, Math.abs(value)), 0);
    theirs.forEach((value, i) => assertAlmostEquals(value, ours[i], 1e-4 * largest));
    cache.dispose();
    logits?.dispose();
  });
});
