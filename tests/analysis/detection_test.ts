import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  detectLabels,
  type Example,
  type Examples,
  type FeatureExamples,
  type FeatureLabel,
  modelEndpoint,
  proportion,
  rocAuc,
} from "../../lib/analysis/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";
import { inScratch } from "../files/scratch.ts";
import { openai, serveAnswers } from "./answer_server.ts";

/** Features whose active windows hold the token of their number; others hold some other token. */
function examplesOf(features: number, windows = 20, { noise = 0 } = {}): Examples {
  const rng = new Rng(1);
  const window = (sequence: number, id: number, value: number): Example => ({
    ...{ sequence, document: sequence, position: 1, peak: 1, value },
    ids: Int32Array.of(99, id, 98),
    values: Float32Array.of(0, value, 0),
  });
  const of = (feature: number): FeatureExamples => {
    const other = () => (feature + 1 + rng.integer(features - 1)) % features;
    const pick = (active: boolean) =>
      (rng.uniform() < noise ? !active : active) ? feature : other();
    return {
      ...{ feature, density: 0.5, max: 1, top: [], bottom: [], random: [], tokens: [] },
      active: Array.from({ length: windows }, (_, i) => window(i, pick(true), 1)),
      inactive: Array.from({ length: windows }, (_, i) => window(i, pick(false), 0)),
    };
  };
  return {
    features: Array.from({ length: features }, (_, f) => of(f)),
    tokens: 1000,
    texts: ({ ids }) => Array.from(ids, (id) => ` W${id}`),
  };
}

const labelsOf = (features: number, word = (f: number) => `w${f}`): FeatureLabel[] =>
  Array.from({ length: features }, (_, feature) => ({
    ...{ feature, label: word(feature), source: "tokens" },
    words: [word(feature)],
  }));

Deno.test("a right label is told apart from another feature's and from chance", async () => {
  const { scores, auc, gain, accuracy } = await detectLabels(labelsOf(6), examplesOf(6));
  assertEquals([auc.own.estimate, accuracy.own.estimate], [1, 1]);
  for (const { auc, accuracy, other, shuffled, p, windows } of scores) {
    assertEquals(windows, 20);
    assert(auc.low > 0.8 && auc.low < 1, "20 windows do not prove a perfect label");
    assert(accuracy.low < 0.95);
    assert(
      other.auc < 0.5,
      "another feature's token marks the windows in which this one is silent",
    );
    assertAlmostEquals(shuffled.estimate, 0.5, 0.02);
    assert(shuffled.low < 0.5 && shuffled.high > 0.5);
    assertEquals(p, 1 / 1001);
  }
  assert(gain.low > 0.3);
});

Deno.test("a label that says nothing scores as chance and its p-value is not small", async () => {
  const empty = await detectLabels(labelsOf(6, () => "nothing"), examplesOf(6));
  assertEquals(empty.auc.own.estimate, 0.5);
  assertEquals(empty.accuracy.own.estimate, 0.5);
  assertEquals(empty.gain, { estimate: 0, low: 0, high: 0 });
  assert(empty.scores.every(({ p }) => p === 1));
});

Deno.test("labels of other features given as their own gain nothing on average", async () => {
  const shifted = labelsOf(8, (f) => `w${(f + 1) % 8}`);
  const { gain } = await detectLabels(shifted, examplesOf(8), { controls: 7 });
  assert(gain.high < 0.1, `a wrong label gained ${gain.estimate}`);
});

Deno.test("p-values of a label without meaning are uniform", async () => {
  // Windows hold the label's word in half of both classes.
  const examples = examplesOf(200, 20, { noise: 0.5 });
  const { scores } = await detectLabels(labelsOf(200), examples, { draws: 200, controls: 1 });
  const small = scores.filter(({ p }) => p <= 0.05).length;
  // Ties make it conservative; at 5 % of 200 more than 19 have a probability of 0.4 %.
  assert(small <= 19, `${small} of 200 at 5 %`);
});

Deno.test("the same seed gives the same report, another one other windows", async () => {
  const examples = examplesOf(4, 30, { noise: 0.2 });
  const run = (seed: number) => detectLabels(labelsOf(4), examples, { seed, windows: 10 });
  assertEquals(await run(1), await run(1));
  const [a, b] = [await run(1), await run(2)];
  assert(a.scores.some(({ accuracy }, i) => accuracy.estimate !== b.scores[i].accuracy.estimate));
});

Deno.test("features with too few windows are named, not scored", async () => {
  const examples = examplesOf(4);
  const features = examples.features.map((of, i) =>
    i === 2 ? { ...of, active: of.active.slice(3, 5) } : of
  );
  const report = await detectLabels(labelsOf(4), { ...examples, features });
  assertEquals(report.skipped, [2]);
  assertEquals(report.scores.map(({ feature }) => feature), [0, 1, 3]);
  await assertRejects(
    () => detectLabels(labelsOf(3).slice(1), { ...examples, features }),
    RangeError,
    "Cannot score 1 of 2 labels",
  );
  await assertRejects(() => detectLabels(labelsOf(9), examples), RangeError, "feature 4");
  await assertRejects(
    () => detectLabels(labelsOf(4), examples, { windows: 0 }),
    RangeError,
    "windows",
  );
});

Deno.test({
  name: "a language model judges blind: balanced, shuffled, without a mark of activation",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    inScratch(async (cache) => {
      const windowsOf = (prompt: string) =>
        [...prompt.matchAll(/^\d+\. (.*)$/gm)].map(([, text]) => text);
      await using server = serveAnswers((prompt) => {
        const word = /property "(\w+)"/.exec(prompt)![1].toUpperCase();
        const sure = windowsOf(prompt).map((text) => text.includes(word) ? 90 : 10);
        return openai(`Here it is:\n${JSON.stringify(sure)}`);
      });
      const scorer = modelEndpoint({
        ...{ baseUrl: server.origin, model: "m", price: { input: 0, output: 0 }, limit: 0 },
        retryDelay: 1,
      });
      const options = { scorer, controls: 1, windows: 8, cache };
      const log = console.log;
      console.log = () => {};
      try {
        const report = await detectLabels(labelsOf(3), examplesOf(3), options);
        assertEquals(report.auc.own.estimate, 1);
        assert(report.auc.other.estimate < 0.6);
        assertEquals(server.seen.length, 6);
        for (const { prompt } of server.seen) {
          assertEquals(windowsOf(prompt).length, 16);
          assert(!/[«»]/.test(prompt));
        }
        const own = server.seen.find(({ prompt }) =>
          prompt.includes('"w0"') && windowsOf(prompt)
              .filter((text) => text.includes("W0")).length === 8
        )!;
        const order = windowsOf(own.prompt).map((text) => text.includes("W0") ? "1" : "0").join("");
        assert(!/^(1{8}0{8}|0{8}1{8})$/.test(order), "the classes were not shuffled");

        for (const answer of ["yes, no", "[1, 2]", "[101,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"]) {
          server.next.push(...Array.from({ length: 4 }, () => () => openai(answer)));
          await assertRejects(
            () =>
              detectLabels(labelsOf(3), examplesOf(3), {
                ...options,
                seed: 5,
                cache: `${cache}/b`,
              }),
            Error,
            "JSON array of 16 numbers",
          );
          server.next.length = 0;
        }
      } finally {
        console.log = log;
      }
    }),
});

Deno.test("AUC is the probability of the right order, and ties are halves", () => {
  assertEquals(rocAuc([1, 2], [0, 0]).estimate, 1);
  assertEquals(rocAuc([0, 0], [1, 2]).estimate, 0);
  assertEquals(rocAuc([1, 1], [1, 1]).estimate, 0.5);
  assertEquals(rocAuc([3, 1], [2, 0]).estimate, 0.75);
  assertThrows(() => rocAuc([], [1]), RangeError);
  assertThrows(() => proportion(3, 2), RangeError);
  const swapped = rocAuc([2, 0, 0], [3, 1, 1]);
  const straight = rocAuc([3, 1, 1], [2, 0, 0]);
  assertAlmostEquals(straight.low, 1 - swapped.high, 1e-9);
});

Deno.test("intervals of AUC and of a share cover the truth about 95 times in 100", () => {
  const rng = new Rng(3);
  const RUNS = 2000;
  for (const shift of [0, 1]) {
    // P(X + shift > Y) of two standard normals is Φ(shift / √2).
    const truth = shift === 0 ? 0.5 : 0.7602499389065233;
    let covered = 0;
    for (let run = 0; run < RUNS; run++) {
      const sample = (mean: number) => Array.from({ length: 15 }, () => mean + rng.normal());
      const { low, high } = rocAuc(sample(shift), sample(0));
      if (low <= truth && truth <= high) covered++;
    }
    // Standard error of the coverage: 0.5 %.
    assert(covered / RUNS > 0.93 && covered / RUNS < 0.985, `${covered} of ${RUNS} at ${truth}`);
  }
  let covered = 0;
  for (let run = 0; run < RUNS; run++) {
    const hits = Array.from({ length: 40 }, () => rng.uniform() < 0.7 ? 1 : 0)
      .reduce((a: number, b) => a + b, 0);
    const { low, high } = proportion(hits, 40);
    if (low <= 0.7 && 0.7 <= high) covered++;
  }
  assert(covered / RUNS > 0.93 && covered / RUNS < 0.975, `${covered} of ${RUNS}`);
});
