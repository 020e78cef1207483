import { assert, assertEquals } from "@std/assert";
import { cacheDir } from "../../lib/files/mod.ts";
import { loadModel, type Model } from "../../lib/model/mod.ts";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { brownSequences } from "../fixtures/brown_ids.ts";
import fixture from "../fixtures/smollm2_text.json" with { type: "json" };

const path = cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf");
const missing = !(await Deno.stat(path).catch(() => undefined));

/** Runs on the embedded model and the Brown Corpus. */
function smolTest(name: string, fn: (model: Model, sequences: number[][]) => Promise<void>): void {
  Deno.test({
    name,
    ignore: missing,
    fn: async () => {
      await openDevice();
      using model = await loadModel(path);
      await fn(model, await brownSequences(model.tokenizer));
    },
  });
}

function assertNear(found: ArrayLike<number>, expected: number[], what: string): void {
  const rms = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / expected.length);
  const worst = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i])), 0);
  assert(worst <= 2e-4 * rms, `${what} differs by ${worst}, with an RMS of ${rms}`);
}

smolTest("what every block leaves at a word of the Brown Corpus is the reference's", async (
  model,
  [tokens],
) => {
  const { logits, cache } = await model.runWithCache([tokens.slice(0, 16)], {
    names: /^hook_embed$|hook_resid_post$/,
  });
  assertEquals(cache.names().length, fixture.last.length);
  for (const [i, name] of cache.names().entries()) {
    const last = tf.tidy(() => tf.slice(cache.get(name), [0, 15, 0]));
    assertNear(await last.data(), fixture.last[i], name);
    last.dispose();
  }
  const scores = (await logits!.data()).slice(-model.cfg.vocabSize);
  assertNear(scores.filter((_, i) => i % 97 === 0), fixture.logits, "the logits");
  logits!.dispose();
  cache.dispose();
});

smolTest("the perplexity of 20,145 tokens of Brown is the reference's to 0.1 %", async (
  model,
  sequences,
) => {
  const checksum = sequences.reduce((sum, s) => sum + s.reduce((a, t, i) => a + i * t, 0), 0);
  assertEquals(checksum, fixture.checksum, "other tokens than those of the reference");
  let found = 0;
  for (const tokens of sequences) {
    const logits = await model.forward([tokens]);
    const nll = tf.tidy(() => {
      const scores = tf.slice(tf.squeeze(logits, [0]), [0, 0], [tokens.length - 1, -1]);
      const places = tf.tensor2d(tokens.slice(1).map((id, p) => [p, id]), undefined, "int32");
      return tf.sum(tf.sub(tf.logSumExp(scores, 1), tf.gatherND(scores, places)));
    });
    found += (await nll.data())[0];
    tf.dispose([logits, nll]);
  }
  const predicted = sequences.reduce((sum, { length }) => sum + length - 1, 0);
  const expected = fixture.nll.reduce((a, b) => a + b, 0);
  const ratio = Math.exp((found - expected) / predicted);
  assert(
    Math.abs(ratio - 1) < 1e-3,
    `the perplexity is ${Math.exp(found / predicted)}, the reference's ${
      Math.exp(expected / predicted)
    }`,
  );
});
