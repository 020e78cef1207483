import { assert, assertEquals } from "@std/assert";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { cacheDir } from "../../lib/files/mod.ts";
import { loadModel } from "../../lib/model/mod.ts";
import { brown, splitDocuments } from "../../lib/corpus/mod.ts";
import { harvest } from "../../lib/activations/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { quietly } from "./fake_source.ts";

const path = Deno.env.get("INTERLENS_MODEL") ??
  cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf");
const missing = !await Deno.stat(path).then(() => true, () => false);

Deno.test({
  name: `the embedded model is harvested on the Brown Corpus${missing ? " (no model here)" : ""}`,
  ignore: missing,
  fn: () =>
    inScratch(async (dir) => {
      await openDevice();
      using model = await loadModel(undefined, { stopAtLayer: 2 });
      const before = tf.memory().numTensors;
      const documents = splitDocuments(await brown());
      const store = await quietly(() =>
        harvest(model, { ...documents, train: documents.train.slice(0, 4) }, {
          hook: "blocks.1.hook_resid_post",
          contextLength: 32,
          tokens: { train: 240, validation: 0, test: 0 },
          dir,
        })
      );
      const train = store.split("train");
      const { sinks } = store.manifest.splits.train;
      assertEquals(train.tokens + sinks, 240);
      assertEquals(store.dModel, 576);
      assert(!train.tokenIds.includes(model.tokenizer.bosId));

      // The tokens of a sequence are a passage of their document.
      const [first] = train.document;
      const end = train.positions.findIndex((position, t) =>
        t > 0 && position <= train.positions[t - 1]
      );
      const passage = model.tokenizer.decode(train.tokenIds.subarray(0, end));
      assert(passage.length > 60 && documents.train[first].text.includes(passage), passage);

      const x = train.rows(0, train.tokens);
      const norm = tf.tidy(() => tf.mean(tf.norm(x, 2, 1)));
      const [meanNorm] = await norm.data();
      assert(Math.abs(meanNorm - Math.sqrt(576)) < 1e-3, `mean norm ${meanNorm}`);
      tf.dispose([x, norm]);
      assertEquals(tf.memory().numTensors, before);
    }),
});
