import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { openDevice, tf } from "../../lib/tensor/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { fromTexts, packSequences, type Splits } from "../../lib/corpus/mod.ts";
import { type ActivationSource, harvest, type HarvestOptions } from "../../lib/activations/mod.ts";
import { inScratch, namesBelow, withFullDisk } from "../files/scratch.ts";
import { activationAt, BOS, fakeSource, HOOK, quietly } from "./fake_source.ts";

await openDevice();

const splits: Splits = {
  train: fromTexts(["abcdefghijk", "mno", "pqrstuvwxyz", "abc"], { name: "train" }),
  validation: fromTexts(["zyxwv", "cba"], { name: "validation" }),
  test: fromTexts(["hello", "world"], { name: "test" }),
};
const options = {
  hook: HOOK,
  contextLength: 5,
  tokens: { train: 28, validation: 4, test: "all" },
  batchSize: 3,
  maxNormRatio: null,
  normalizer: { clipSigma: null, scale: false },
} satisfies HarvestOptions;

/** Harvests quietly; the number of tokens, and options that differ. */
function run(
  dir: string,
  model: ActivationSource,
  changes: Partial<HarvestOptions> = {},
  documents = splits,
) {
  return quietly(() => harvest(model, documents, { ...options, dir, ...changes }));
}

Deno.test("every stored row is the activation of the token, position and document beside it", () =>
  inScratch(async (dir) => {
    const store = await run(dir, fakeSource(4), { shardTokens: 6 });
    for (const name of ["train", "validation", "test"] as const) {
      const split = store.split(name);
      const x = split.rows(0, split.tokens);
      const values = await x.data();
      x.dispose();
      for (let t = 0; t < split.tokens; t++) {
        const [token, position] = [split.tokenIds[t], split.positions[t]];
        assertEquals(
          [...values.subarray(t * 4, t * 4 + 4)],
          [0, 1, 2, 3].map((j) => activationAt(token, position, j)),
        );
        const { text } = splits[name][split.document[t]];
        assertStringIncludes(text, String.fromCharCode(token + 96));
      }
    }
  }));

Deno.test("what is stored is every token of the documents once, without BOS and padding", () =>
  inScratch(async (dir) => {
    const store = await run(dir, fakeSource(2), {
      tokens: { train: "all", validation: 8, test: 10 },
    });
    for (const name of ["train", "validation", "test"] as const) {
      const split = store.split(name);
      splits[name].forEach(({ id, text }, document) => {
        assertEquals(split.documents[document], id);
        const stored = [...split.tokenIds].filter((_, t) => split.document[t] === document);
        const letters = [...text].map((letter) => letter.charCodeAt(0) - 96);
        assertEquals(stored.toSorted((a, b) => a - b), letters.toSorted((a, b) => a - b));
      });
      assert(!split.tokenIds.includes(BOS));
      assert(split.positions.every((position) => position >= 1 && position <= 4));
    }
  }));

Deno.test("a small harvest covers every document and has exactly the tokens asked for", () =>
  inScratch(async (dir) => {
    for (const count of [13, 14, 15]) {
      const store = await run(dir, fakeSource(2), { tokens: { ...options.tokens, train: count } });
      const train = store.split("train");
      assertEquals(train.tokens, count);
      assertEquals(new Set(train.document).size, 4);
    }
  }));

Deno.test("a split may be left out", () =>
  inScratch(async (dir) => {
    const documents = { ...splits, validation: [], test: [] };
    const tokens = { train: 3, validation: 0, test: 0 };
    const store = await run(dir, fakeSource(2), { tokens }, documents);
    assertEquals(store.split("test").tokens, 0);
  }));

Deno.test("the model stops after the block, and sequences that run together waste no position", () =>
  inScratch(async (dir) => {
    const model = fakeSource(2);
    await run(dir, model, { tokens: { ...options.tokens, train: "all" } });
    for (const { names, stopAtLayer } of model.runs) {
      assertEquals([names, stopAtLayer], [HOOK, 4]);
    }
    // Train: 11, 3, 11 and 3 letters at 4 a sequence, so 4 whole sequences and 4 of 3 letters.
    assertEquals(model.runs.slice(0, 4).map(({ lengths }) => lengths), [
      [5, 5, 5],
      [5],
      [4, 4, 4],
      [4],
    ]);
  }));

Deno.test("shorter sequences run with those of nearly their length", () =>
  inScratch(async (dir) => {
    const train = fromTexts(["a", "abc", "ab", "abc", "a", "ab"], { name: "train" });
    const model = fakeSource(2);
    await run(dir, model, { tokens: { train: "all", validation: 0, test: 0 }, batchSize: 2 }, {
      ...splits,
      train,
    });
    assertEquals(model.runs.map(({ lengths }) => lengths), [[4, 4], [3, 3], [2, 2]]);
  }));

Deno.test("a second harvest of the same configuration runs no model; another one does", () =>
  inScratch(async (dir) => {
    const model = fakeSource(2);
    const first = await run(dir, model);
    const runs = model.runs.length;
    const again = await run(dir, model);
    assertEquals(model.runs.length, runs);
    assertEquals([again.dir, again.hash], [first.dir, first.hash]);

    const changed = { ...splits, test: fromTexts(["hello", "there"], { name: "test" }) };
    const others = [
      await run(dir, model, { seed: 1 }),
      await run(dir, model, { contextLength: 4 }),
      await run(dir, model, { normalizer: { clipSigma: 2, scale: true } }),
      await run(dir, model, {}, changed),
      await run(dir, fakeSource(2, { hash: "other" })),
    ];
    assertEquals(new Set([first, ...others].map((store) => store.dir)).size, 6);
  }));

Deno.test("the manifest says where everything comes from", () =>
  inScratch(async (dir) => {
    const { manifest, dModel, hook } = await run(dir, fakeSource(4), { shardTokens: 10 });
    assertEquals([dModel, hook], [4, HOOK]);
    assertEquals(manifest.model, { name: "fake", hash: "fake" });
    assertEquals(manifest.maskedTokens, [BOS]);
    assertEquals(manifest.contextLength, 5);
    const { tokens, shards, documents } = manifest.splits.train;
    assertEquals(tokens, 28);
    assertEquals(shards.map((shard) => shard.tokens), [10, 10, 8]);
    assertEquals(documents, ["train/0", "train/1", "train/2", "train/3"]);
  }));

/** Length of the longest float array that is made while `use` runs. */
async function longestFloatArray(use: () => Promise<unknown>): Promise<number> {
  const Original = globalThis.Float32Array;
  let longest = 0;
  globalThis.Float32Array = new Proxy(Original, {
    construct(target, args, newTarget) {
      const made = Reflect.construct(target, args, newTarget);
      longest = Math.max(longest, made.length);
      return made;
    },
  });
  try {
    await use();
  } finally {
    globalThis.Float32Array = Original;
  }
  return longest;
}

Deno.test("neither tensors nor the float arrays of a harvest grow with its tokens", () =>
  inScratch(async (dir) => {
    const texts = Array.from({ length: 40 }, () => "abcdefghijklmnop");
    const documents = { ...splits, train: fromTexts(texts, { name: "train" }) };
    const before = tf.memory().numTensors;
    const tensors = new Set<number>();
    const model = fakeSource(8, { afterRun: () => tensors.add(tf.memory().numTensors) });
    const longest = (train: number) =>
      longestFloatArray(() =>
        run(dir, model, { tokens: { train, validation: 0, test: 0 }, shardTokens: 16 }, documents)
      );
    const few = await longest(64);
    assertEquals(await longest(640), few);
    assert(few >= 16 * 8, "a shard of 16 tokens is held");
    assertEquals([...tensors], [before + 1]);
    assertEquals(tf.memory().numTensors, before);
  }));

Deno.test("NaN and infinity are refused, naming split, document and position", () =>
  inScratch(async (dir) => {
    for (const bad of [NaN, Infinity, -Infinity]) {
      const at = (token: number, position: number, j: number) =>
        token === 20 && j === 1 ? bad : activationAt(token, position, j);
      const error = await assertRejects(
        () => run(dir, fakeSource(2, { at }), { tokens: { ...options.tokens, train: "all" } }),
        Error,
        `is ${bad} in dimension 1`,
      );
      // "t" is the fifth letter of the third document: the first one of its second sequence.
      assertStringIncludes(error.message, 'split "train", document "train/2", position 1');
      assertStringIncludes(error.message, "starts at its token 4");
      assertEquals(namesBelow(dir), ["activations"]);
    }
  }));

Deno.test("tokens of a norm far beyond the median are left out and counted, unless asked for", () =>
  inScratch(async (dir) => {
    // "t" is in the training split once, "z" in validation and in training.
    const at = (token: number, _: number, j: number) =>
      token === 20 ? 60 : token === 26 ? 49 : 10 + j;
    const tokens = { train: "all", validation: "all", test: "all" } as const;
    // Norms: the usual one √(100 + 121) = 14.9; of "t" 84.9, of "z" 69.3.
    const cases: [number | null, number, number][] = [[5, 1, 0], [4.5, 2, 1], [null, 0, 0]];
    for (const [maxNormRatio, train, validation] of cases) {
      const store = await run(dir, fakeSource(2, { at }), { tokens, maxNormRatio });
      const { splits, maxNorm } = store.manifest;
      assertEquals([splits.train.sinks, splits.validation.sinks], [train, validation]);
      assertEquals(store.split("train").tokens, 28 - train);
      assertEquals(store.split("train").tokenIds.includes(20), train === 0);
      assertEquals(maxNorm, maxNormRatio === null ? null : maxNormRatio * Math.sqrt(221));
    }
  }));

Deno.test("a stopped harvest goes on where it was, and ends as one that was not stopped", () =>
  inScratch(async (dir) => {
    const whole = await run(`${dir}/whole`, fakeSource(2), { shardTokens: 5 });
    const stop = new AbortController();
    const model = fakeSource(2, { afterRun: () => model.runs.length === 5 && stop.abort() });
    const before = tf.memory().numTensors;
    const harvested = run(`${dir}/stopped`, model, { shardTokens: 5, signal: stop.signal });
    await assertRejects(() => harvested, DOMException, "aborted");
    assertEquals(model.runs.length, 5);
    assertEquals(tf.memory().numTensors, before);
    assert(namesBelow(`${dir}/stopped`).some((name) => name.endsWith("harvest.json")));

    const again = fakeSource(2);
    const store = await run(`${dir}/stopped`, again, { shardTokens: 5 });
    const all = fakeSource(2);
    await run(`${dir}/all`, all, { shardTokens: 5 });
    assertEquals(again.runs, all.runs.slice(5));
    assertEquals(store.hash, whole.hash);
    // Nothing of the work is left beside the store.
    assertEquals(namesBelow(`${dir}/stopped`), namesBelow(`${dir}/whole`));
  }));

Deno.test("two harvests of one configuration at once run the model once", () =>
  inScratch(async (dir) => {
    const [a, b] = [fakeSource(2), fakeSource(2)];
    const [first, second] = await Promise.all([run(dir, a), run(dir, b)]);
    assertEquals(first.hash, second.hash);
    assertEquals(Math.min(a.runs.length, b.runs.length), 0);
  }));

Deno.test("a full disk leaves the earlier stores and nothing else", () =>
  inScratch(async (dir) => {
    const earlier = await run(dir, fakeSource(2));
    const before = namesBelow(dir);
    await withFullDisk(700, async () => {
      await assertRejects(
        () => run(dir, fakeSource(2), { seed: 1, shardTokens: 5 }),
        Error,
        "the disk is full",
      );
    });
    assertEquals(namesBelow(dir), before);
    await earlier.verify();
  }));

Deno.test("a harvest that cannot fit on the disk is refused after the first batch", () =>
  inScratch(async (dir) => {
    const endless = fakeSource(2, { contextLength: 64 });
    const model = {
      ...endless,
      // A vector of 2^40 elements cannot be made, but its shape can be claimed.
      runWithCache: () =>
        Promise.resolve({
          logits: undefined,
          cache: {
            get: () => ({
              shape: [3, 5, 2 ** 50],
              data: () => Promise.resolve(new Float32Array(30)),
            }),
            dispose: () => {},
          },
        }),
    } as unknown as ActivationSource;
    await assertRejects(() => run(dir, model), Error, "Harvesting 42 tokens needs");
    assertEquals(namesBelow(dir), ["activations"]);
  }));

Deno.test("options that cannot be used are refused before the model runs", () =>
  inScratch(async (dir) => {
    const model = fakeSource(2, { contextLength: 10 });
    const cases: [Partial<HarvestOptions>, string][] = [
      [{ hook: "blocks.9.hook_resid_post" }, 'no hook point "blocks.9.hook_resid_post"'],
      [{ contextLength: 1 }, "sequences of 1 tokens"],
      [{ contextLength: 11 }, "to 10, the context"],
      [{ tokens: { ...options.tokens, train: 0 } }, '0 tokens of "train"'],
      [{ tokens: { ...options.tokens, test: -1 } }, '-1 tokens of "test"'],
      [{ tokens: { ...options.tokens, test: 2.5 } }, '2.5 tokens of "test"'],
      [{ tokens: { ...options.tokens, train: 29 } }, "have 28"],
      [{ batchSize: 0 }, "batchSize 0"],
      [{ maxNormRatio: 1 }, "than 1 times the median"],
      [{ shardTokens: 0.5 }, "shardTokens 0.5"],
      [{ normalizer: { clipSigma: 0, scale: true } }, "clamp to 0"],
      [{ seed: 0.5 }, "0.5"],
    ];
    for (const [changes, message] of cases) {
      await assertRejects(() => run(dir, model, changes), RangeError, message);
    }
    const twice = { ...splits, test: splits.train };
    await assertRejects(() => run(dir, model, {}, twice), RangeError, '"train/0" is in "train"');
    const none = { ...splits, train: [] };
    await assertRejects(() => run(dir, model, {}, none), RangeError, "The corpus is empty");
    assertEquals(model.runs, []);
  }));

Deno.test("a hook point without a vector a token is refused", () =>
  inScratch(async (dir) => {
    const before = tf.memory().numTensors;
    await assertRejects(
      () => run(dir, fakeSource(2), { hook: "blocks.3.attn.hook_pattern" }),
      RangeError,
      "expected [batch, pos, width]",
    );
    assertEquals(tf.memory().numTensors, before);
    assertEquals(namesBelow(dir), ["activations"]);
  }));

Deno.test("a harvest of a real architecture is its activations, one sequence at a time", () =>
  inScratch(async (dir) => {
    using model = randomModel({ nLayers: 3, contextLength: 16 }, 7);
    const hook = "blocks.1.hook_resid_post";
    const before = tf.memory().numTensors;
    const store = await run(dir, model, { hook, tokens: { train: "all", validation: 5, test: 5 } });
    const train = store.split("train");
    const x = train.rows(0, train.tokens);
    const stored = await x.data();
    x.dispose();

    const d = model.cfg.dModel;
    let found = 0;
    for (const { tokens, document } of packSequences(splits.train, model.tokenizer, options)) {
      const { logits, cache } = await model.runWithCache([tokens], { names: hook });
      const expected = await cache.get(hook).data(); // [1, pos, d_model]
      tf.dispose(logits ?? []);
      cache.dispose();
      const first = train.tokenIds.findIndex((_, t) =>
        train.document[t] === document &&
        tokens.slice(1).every((id, i) =>
          train.tokenIds[t + i] === id && train.positions[t + i] === i + 1
        )
      );
      assert(first >= 0, "the sequence is stored as a whole");
      for (let i = 0; i < (tokens.length - 1) * d; i++) {
        // Padding and batching change the order of float32 sums, no more: values are near 1.
        assert(Math.abs(stored[first * d + i] - expected[d + i]) < 1e-4);
      }
      found += tokens.length - 1;
    }
    assertEquals(found, train.tokens);
    assertEquals(tf.memory().numTensors, before);
  }));
