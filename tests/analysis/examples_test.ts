import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { cleanHtml } from "../../lib/site/mod.ts";
import {
  activationColor,
  collectExamples,
  type ExampleKind,
  showExamples,
} from "../../lib/analysis/mod.ts";
import { DARK, JUPYTER_DISPLAY, THEME } from "../../lib/display/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { Sae } from "../../lib/dictionary/mod.ts";
import { Rng, tf } from "../../lib/tensor/mod.ts";
import { Best, Reservoir } from "../../lib/analysis/kept.ts";
import { eachBackend } from "../backends.ts";
import { axisSae, BOS, HOOK, sequencesOf, tableModel } from "./fake_model.ts";

// Feature 0 reads the first number of a token, feature 1 the second. BOS would win everything.
const TABLE = [[99, -99], [3, -1], [1, -4], [-2, 0], [-5, 2], [0, 0]];

eachBackend(
  "the strongest context is found and the lowest is that of the pre-activation",
  async () => {
    const sae = axisSae(2);
    const before = tf.memory().numTensors;
    const text = sequencesOf([5, 1, 5], [5, 2, 4], [3, 5]);
    const { features, tokens } = await collectExamples(tableModel(TABLE), sae, text, {
      window: { before: 1, after: 1 },
      batchSize: 2,
    });
    assertEquals(tf.memory().numTensors, before, "a tensor was left behind");
    assertEquals(tokens, 8);
    const [first, second] = features;
    assertEquals(first.top.map(({ value }) => value), [3, 1]);
    assertEquals([...first.top[0].ids], [5, 1, 5]);
    assertEquals([...first.top[0].values], [0, 3, 0]);
    assertEquals([first.top[0].peak, first.top[0].position, first.top[0].sequence], [1, 2, 0]);
    assertEquals(first.bottom.map(({ value }) => value), [-5, -2, 0]);
    assertEquals([...first.bottom[0].values], [1, -5]);
    assertEquals(first.density, 2 / 8);
    assertEquals(first.max, 3);
    assertEquals(second.bottom[0].value, -4);
    sae.dispose();
  },
);

eachBackend("the study's opposite is the start of the text, whatever it says (B24)", async () => {
  const sae = axisSae(2);
  const text = sequencesOf([5, 5], [5, 4], [4, 4], [1, 4]);
  const options = { features: [0], count: 2 };
  const { features: [corrected] } = await collectExamples(tableModel(TABLE), sae, text, options);
  const { features: [study] } = await collectExamples(tableModel(TABLE), sae, text, {
    ...options,
    faithful: ["B24"],
  });
  assertEquals(corrected.lowestCodes, undefined);
  assertEquals(study.bottom, corrected.bottom);
  assertEquals(study.bottom.map(({ value }) => value), [-5, -5]);
  assertEquals(study.lowestCodes!.map(({ value }) => value), [0, 0]);
  assertEquals(study.lowestCodes!.map(({ sequence }) => sequence), [0, 1]);
  sae.dispose();
});

eachBackend("the same context counts once", async () => {
  const sae = axisSae(2);
  const text = sequencesOf([1, 2], [1, 2], [1, 5]);
  const { features } = await collectExamples(tableModel(TABLE), sae, text, { features: [0] });
  assertEquals(features[0].top.map(({ sequence }) => sequence), [0, 2]);
  const [{ active }] = features;
  const shown = active.map(({ ids }) => ids.join());
  assertEquals(shown.length, new Set(shown).size);
  sae.dispose();
});

eachBackend("sinks are neither measured nor chosen, and the normaliser is applied", async () => {
  const sae = axisSae(2, { scale: 0.5 });
  const table = [...TABLE, [1000, 0]];
  const text = sequencesOf([6, 1, 5]);
  const { features, tokens } = await collectExamples(tableModel(table), sae, text, {
    features: [0],
    maxNorm: 200,
  });
  assertEquals(tokens, 2);
  assertEquals(features[0].top[0].value, 1.5);
  assertEquals([...features[0].top[0].values], [NaN, 1.5, 0]);
  assertEquals(features[0].density, 1 / 2);
  sae.dispose();
});

eachBackend("an inactive window has no active token, and an active one has", async () => {
  const sae = axisSae(2);
  const rng = new Rng(0);
  const text = sequencesOf(
    ...Array.from(
      { length: 30 },
      () => Array.from({ length: 12 }, () => rng.uniform() < 0.1 ? 1 : 3 + rng.integer(3)),
    ),
  );
  const { features: [{ active, inactive, random }] } = await collectExamples(
    tableModel(TABLE),
    sae,
    text,
    { features: [0], sample: 20, window: { before: 2, after: 1 } },
  );
  assert(active.length > 5 && inactive.length > 5 && random.length > 2);
  assert(active.every(({ values, peak, value }) => value > 0 && values[peak] === value));
  assert(inactive.every(({ values }) => values.every((v) => v === 0)));
  for (const sample of [active, inactive, random]) {
    for (const [i, a] of sample.entries()) {
      for (const b of sample.slice(i + 1)) {
        assert(a.sequence !== b.sequence || Math.abs(a.position - b.position) > 3, "they overlap");
      }
    }
  }
  sae.dispose();
});

Deno.test("every item of a stream is sampled equally often", () => {
  const [ITEMS, SIZE, DRAWS] = [50, 8, 2000];
  const counts = new Array(ITEMS).fill(0);
  for (let seed = 0; seed < DRAWS; seed++) {
    const sample = new Reservoir<number>(SIZE, new Rng(seed));
    for (let i = 0; i < ITEMS; i++) if (sample.wants()) sample.keep(i);
    assertEquals(new Set(sample.items()).size, SIZE);
    for (const i of sample.items()) counts[i]++;
  }
  const expected = SIZE * DRAWS / ITEMS;
  const chi2 = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  assert(chi2 < 86, `χ² = ${chi2} on 49 degrees of freedom`); // p < 0.001 for a fair sample
});

Deno.test("a sample of fewer items than its size is all of them", () => {
  const sample = new Reservoir<number>(5, new Rng(0));
  for (let i = 0; i < 3; i++) if (sample.wants()) sample.keep(i);
  assertEquals(sample.items(), [0, 1, 2]);
  const none = new Reservoir<number>(0, new Rng(0));
  assertEquals(none.wants(), false);
});

Deno.test("of equal scores the first stays, of equal keys the best", () => {
  const best = new Best<string>(2);
  best.offer(1, "a", "first");
  best.offer(1, "b", "second");
  best.offer(1, "c", "third");
  assertEquals(best.items(), ["first", "second"]);
  best.offer(2, "b", "better");
  assertEquals(best.items(), ["better", "first"]);
  best.offer(1.5, "b", "worse");
  assertEquals(best.items(), ["better", "first"]);
});

eachBackend(
  "one pass over many features gives what each alone gives, as a plain loop does",
  async () => {
    const model = randomModel({ dModel: 8, nHeads: 2, nLayers: 2 }, 3);
    const rng = new Rng(1);
    const sae = new Sae({ architecture: "topk", dIn: 8, dSae: 12, k: 3 }, {
      W_enc: tf.tensor2d(rng.normals(96, 1), [8, 12]),
      b_enc: tf.tensor1d(rng.normals(12, 0.1)),
      W_dec: tf.tensor2d(rng.normals(96, 1), [12, 8]),
      b_dec: tf.tensor1d(rng.normals(8, 0.1)),
    }, { normalizer: { scale: 0.7, clip: { low: -2, high: 2 } } });
    const text = model.toTokens(["the kettle sang", "nobody", "a lamp on the landing"])
      .map((tokens, document) => ({ tokens, document }));
    const together = await collectExamples(model, sae, text, { hook: HOOK, batchSize: 3 });
    const alone = await collectExamples(model, sae, text, {
      hook: HOOK,
      features: [7],
      batchSize: 1,
    });
    const [a, b] = [together.features[7], alone.features[0]];
    assertEquals(a.top.map(({ position }) => position), b.top.map(({ position }) => position));
    for (const [i, { value }] of a.top.entries()) assertAlmostEquals(value, b.top[i].value, 1e-4);

    for (const { feature, top, density } of together.features) {
      let [highest, active, all] = [0, 0, 0];
      for (const { tokens } of text) {
        const { cache, logits } = await model.runWithCache([tokens], {
          names: HOOK,
          stopAtLayer: 1,
        });
        const codes = tf.tidy(() => {
          const x = tf.mul(tf.clipByValue(cache.get(HOOK), -2, 2), 0.7);
          return sae.encode(tf.reshape(x, [tokens.length, 8]));
        });
        const values = await codes.data();
        for (let p = 1; p < tokens.length; p++) {
          const code = values[p * 12 + feature];
          all++;
          if (code > 0) active++;
          highest = Math.max(highest, code);
        }
        tf.dispose([codes, ...logits ? [logits] : []]);
        cache.dispose();
      }
      assertEquals(density, active / all);
      assertAlmostEquals(top[0]?.value ?? 0, highest, 1e-4);
    }
    model.dispose();
    sae.dispose();
  },
);

eachBackend("token statistics count, compare with the background, and share out", async () => {
  const sae = axisSae(2);
  const text = sequencesOf([1, 1, 2, 5], [1, 5, 5, 5]);
  const { features: [{ tokens }] } = await collectExamples(tableModel(TABLE), sae, text, {
    features: [0],
  });
  // Active on 1 (3 times, code 3) and 2 (once, code 1); 8 tokens in all.
  assertEquals(tokens, [
    { id: 1, count: 3, rate: 1, lift: (3 / 4) / (3 / 8), share: 0.9 },
    { id: 2, count: 1, rate: 1, lift: (1 / 4) / (1 / 8), share: 0.1 },
  ]);
  sae.dispose();
});

eachBackend("what cannot be looked for is refused by name", async () => {
  const sae = axisSae(2);
  const model = tableModel(TABLE);
  const text = sequencesOf([1]);
  const refuse = (options: Parameters<typeof collectExamples>[3], message: string, given = text) =>
    assertRejects(() => collectExamples(model, sae, given, options), RangeError, message);
  await refuse({ features: [2] }, "feature 2: expected numbers in 0…1");
  await refuse({ features: [] }, "no features");
  await refuse({ hook: "nowhere" }, '"nowhere"');
  await refuse({ count: -1 }, "count = -1");
  await refuse({ window: { before: 1.5, after: 0 } }, "before = 1.5");
  await refuse({ maxNorm: 0 }, "norms above 0");
  await refuse({}, "0 sequences", []);
  await refuse({}, "masked or sinks", [{ tokens: [BOS], document: 0 }]);
  const wide = axisSae(3);
  await assertRejects(() => collectExamples(model, wide, text), RangeError, "width 3");
  const stopped = AbortSignal.abort();
  await assertRejects(() => collectExamples(model, sae, text, { signal: stopped }), DOMException);
  wide.dispose();
  sae.dispose();
});

const HOSTILE = [
  "",
  `<script>alert(1)</script>`,
  `"><img src=x onerror=alert(1)>`,
  "a\n\tb",
  "\u202egnp.exe\u202c",
  "&lt;b&gt;' style='x",
];

async function hostileView(kinds?: ExampleKind[]) {
  const sae = axisSae(2);
  const examples = await collectExamples(
    tableModel(TABLE, HOSTILE),
    sae,
    sequencesOf([1, 2, 3, 4, 5]),
    { features: [0] },
  );
  sae.dispose();
  return showExamples(examples, {
    kinds,
    label: () => `<b onclick="x()">label</b>`,
    caption: "<i>caption</i>",
  });
}

eachBackend("text of tokens, labels and captions is shown and never obeyed", async () => {
  const view = await hostileView(["top", "quantiles", "bottom", "random", "inactive"]);
  const html = view[JUPYTER_DISPLAY]()["text/html"] as string;
  assert(!/<(?:script|img|b|i)\b/i.test(html), "a tag of the text came through");
  for (const [, tag, rest] of html.matchAll(/<([a-z]+)((?:\s[^>]*)?)>/g)) {
    assert(
      ["div", "p", "strong", "table", "tbody", "tr", "td", "th", "span"].includes(tag),
      `<${tag}>`,
    );
    assert(
      /^(?: (?:class="il-examples"|style="[a-z0-9:;,.() -]*"|colspan="2"|scope="colgroup"))*$/
        .test(rest),
      `attributes "${rest}"`,
    );
  }
  assert(html.includes("&lt;script&gt;alert(1)&lt;/script&gt;"));
  assert(html.includes("a↵→b"));
  // What a published page lets through keeps the colours.
  const colors = (text: string) => text.match(/rgba\([^)]*\)/g)?.length ?? 0;
  assert(colors(html) > 0);
  assertEquals(colors(cleanHtml(html)), colors(html));
  for (const text of [html, view.toString()]) {
    assert(!text.includes("\u202e"), "a character that turns the text around came through");
  }
});

eachBackend("in a terminal the chosen token is marked and its value stands behind", async () => {
  const sae = axisSae(2);
  const examples = await collectExamples(tableModel(TABLE), sae, sequencesOf([5, 1, 5]), {
    features: [0],
  });
  const text = showExamples(examples, { kinds: ["top"] }).toString();
  assertEquals(
    text,
    "Feature 0 · active on 33 % of tokens, at most 3\n  strongest\n    5 ⟦1 ⟧5   3",
  );
  assertThrows(() => showExamples(examples, { features: [1] }), RangeError, "feature 1");
  sae.dispose();
});

/** Relative luminance of an sRGB colour (WCAG 2.2). */
function luminance(rgb: number[]): number {
  const [r, g, b] = rgb.map((c) => {
    const s = c / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

Deno.test("text stays readable on every activation, on light and dark pages", () => {
  const hex = (color: string) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const pages = [[THEME.paper, THEME.ink], [DARK[THEME.paper], DARK[THEME.ink]]];
  for (const [paper, ink] of pages) {
    let previous = 0;
    for (const value of [-1, -0.5, 0.1, 0.25, 0.5, 0.75, 1]) {
      const [r, g, b, a] = activationColor(value, 1)!.match(/[\d.]+/g)!.map(Number);
      const behind = [r, g, b].map((c, i) => a * c + (1 - a) * hex(paper)[i]);
      const [low, high] = [luminance(behind), luminance(hex(ink))].sort((x, y) => x - y);
      const contrast = (high + 0.05) / (low + 0.05);
      assert(contrast >= 4.5, `contrast ${contrast} at ${value} on ${paper}`);
      if (value <= 0) continue;
      const distance = Math.abs(luminance(behind) - luminance(hex(paper)));
      assert(distance > previous, "a larger value differs more from the page");
      previous = distance;
    }
  }
  assertEquals(activationColor(NaN, 1), undefined);
});
