import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { loadModel, type Model } from "../../lib/model/mod.ts";
import { cacheDir } from "../../lib/files/mod.ts";
import { openDevice } from "../../lib/tensor/mod.ts";
import fixture from "../fixtures/smollm2.json" with { type: "json" };

const path = cacheDir("models", "SmolLM2-135M-Instruct.Q4_1.gguf");
const missing = !(await Deno.stat(path).catch(() => undefined));
if (missing) console.log(`Not tested here: the embedded model is missing, run \`deno task setup\``);

let model: Model | undefined;

/** Registers a test on the embedded model, which is loaded once and kept. */
function smolTest(name: string, fn: (model: Model) => Promise<void> | void): void {
  Deno.test({
    name,
    ignore: missing,
    fn: async () => {
      await openDevice();
      model ??= await loadModel(path);
      await fn(model);
    },
  });
}

smolTest("the tokenizer gives the published ids", ({ tokenizer }) => {
  assertEquals(tokenizer.encode("The capital of France is"), [504, 3575, 282, 4649, 314]);
});

smolTest("the tokenizer gives the ids of Hugging Face transformers", ({ tokenizer }) => {
  for (const { text, ids } of fixture.tokens) {
    assertEquals(tokenizer.encode(text), ids, JSON.stringify(text));
  }
});

smolTest("what is encoded decodes to the same text", ({ tokenizer }) => {
  const texts = [
    ...fixture.tokens.map(({ text }) => text),
    " a leading space",
    "accents: àéîõü ß ø ł",
    "0123456789 10 100 1000",
    "👩🏽‍🚀 🇺🇳 ✌️",
    "\n\n\ttabs\r\nand lines \n",
    "a  b   c , d .",
  ];
  for (const text of texts) assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
});

smolTest("digits are tokens one by one", ({ tokenizer }) => {
  const [eight, two] = [tokenizer.encode("8"), tokenizer.encode("2")];
  assertEquals(tokenizer.encode("8228"), [...eight, ...two, ...two, ...eight]);
});

smolTest("BOS is put in front once, and only where it is asked for", (model) => {
  assertEquals(model.toTokens("The capital"), [[1, 504, 3575]]);
  assertEquals(model.toTokens("The capital", { prependBos: false }), [[504, 3575]]);
  assertEquals([model.tokenizer.bosId, model.tokenizer.eosId], [1, 2]);
});

smolTest("hidden states and logits are those of Hugging Face transformers", async (model) => {
  const { dModel, vocabSize } = model.cfg;
  const { logits, cache } = await model.runWithCache([fixture.ids], {
    names: /hook_embed|resid_post/,
  });
  for (const [layer, { first, norm }] of Object.entries(fixture.hidden)) {
    const name = layer === "0" ? "hook_embed" : `blocks.${Number(layer) - 1}.hook_resid_post`;
    const x = await cache.get(name).data();
    for (const [p, values] of first.entries()) {
      const row = x.slice(p * dModel, (p + 1) * dModel);
      // Rounding grows with the numbers that were added up: a millionth of the row's norm a block.
      const tolerance = 1e-6 * norm[p] * (1 + Number(layer));
      assertAlmostEquals(Math.hypot(...row), norm[p], tolerance, `norm at ${name}, ${p}`);
      values.forEach((value, i) => assertAlmostEquals(row[i], value, tolerance, `${name}, ${p}`));
    }
  }
  const scores = await logits!.data();
  fixture.logits.ids.forEach((ids, p) =>
    ids.forEach((id, i) =>
      assertAlmostEquals(scores[p * vocabSize + id], fixture.logits.values[p][i], 1e-3)
    )
  );
  logits!.dispose();
  cache.dispose();
});

smolTest("the capital of France is Paris", async (model) => {
  const text = await model.generate("The capital of France is", { maxNewTokens: 12 });
  assert(text.startsWith(" Paris"), `it is "${text}"`);
  assertEquals(text, model.tokenizer.decode(fixture.greedy));
});

smolTest("only the sink at BOS is thousands of times the norm of the others", async (model) => {
  const name = "blocks.15.hook_resid_post";
  const tokens = model.toTokens("The quick brown fox jumps over the lazy dog");
  const { cache } = await model.runWithCache(tokens, { names: name, stopAtLayer: 16 });
  const x = await cache.get(name).data();
  const norms = tokens[0].map((_, p) =>
    Math.hypot(...x.slice(p * model.cfg.dModel, (p + 1) * model.cfg.dModel))
  );
  cache.dispose();
  assert(norms[0] > 20_000, `${norms[0]}`);
  assert(norms.slice(1).every((norm) => norm > 50 && norm < 1000), `${norms}`);
});
