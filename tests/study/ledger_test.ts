/**
 * What follows from the published numbers by arithmetic alone. No model is run here: these are the
 * places where a result of the study is its initialisation, its rounding, or one number seen twice.
 */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { parameterCount } from "../../lib/interaction/mod.ts";
import {
  type CrossedCells,
  gini,
  minMaxDisplay,
  normalOrderStatistics,
  simulateNull,
  twoWayAnova,
} from "../../lib/metrics/mod.ts";
import { reportedResults, reportedRun, reportedStudy } from "../../lib/study/mod.ts";
import { Rng } from "../../lib/tensor/mod.ts";

/** Of the study: features, width of the residual stream, dimensions of the analysed embedding. */
const [F, D, K] = [50_000, 3200, 150];
/** Standard deviations of its initial weights. */
const [LINEAR_STD, EMBEDDING_STD] = [0.01, 0.05];

Deno.test("R8: the reported norms and their share are those of the initial weights, to every digit", async () => {
  const linear = LINEAR_STD * Math.sqrt(F);
  const interaction = EMBEDDING_STD * Math.sqrt(K);
  assertAlmostEquals(linear, 2.236, 5e-4);
  assertAlmostEquals(interaction, 0.612, 5e-4);
  const { R8 } = await reportedResults();
  assertEquals(linear.toFixed(1), String(R8.values!.linear));
  assertEquals(interaction.toFixed(1), String(R8.values!.interaction));
  assertEquals((100 * interaction / (linear + interaction)).toFixed(1), String(R8.value));
});

Deno.test("R2: the reduction by a secondary SAE is about one unit in the last place of float16", async () => {
  const { "R2": R2, "R2'": logged } = await reportedResults();
  const unit = 2 ** (Math.floor(Math.log2(logged.values!.before)) - 10);
  assertEquals((100 * unit / logged.values!.before).toFixed(1), String(R2.value));
});

Deno.test("R10: 160 M, 2 M, 53 M and 692 M leave out the K × K weights of the head", async () => {
  const { R10 } = await reportedResults();
  const count = (parts: "linear" | "interaction" | "both", dimensions: number) =>
    parameterCount({ parts, dSae: F, dOut: D, K: dimensions, head: "relu" }).total;
  const weights = (dimensions: number) => F * dimensions + dimensions * D;
  const millions = (n: number) => Math.round(n / 1e6);

  assertEquals(millions(count("linear", 0)), R10.value);
  assertEquals(millions(weights(40)), R10.values!["K=40"]);
  assertEquals(millions(weights(1000)), R10.values!["K=1000"]);
  // The last of the series counts the linear part as well, which the others do not.
  assertEquals(millions(F * D + weights(10_000)), R10.values!["K=10000"]);
  assertEquals(millions(2 * F * D + F), R10.values!.secondarySae);

  // The rest of what the machine has: K² weights between its layers, and its biases.
  for (const k of [40, 1000, 10_000]) {
    assertEquals(count("interaction", k), weights(k) + k ** 2 + k + D);
    assertEquals(count("both", k), F * D + count("interaction", k));
  }
  assertEquals(millions(count("both", 10_000)), 792);
  assertEquals(millions(count("both", K)), 168);
});

Deno.test("B3: the weights of K = 140 are what 50,000 untrained draws have at those ranks", async () => {
  const { dimensions: [{ rank, weights }] } = await reportedStudy();
  const { "32806": selecting, ...top } = weights;
  const published = [...Object.values(top), selecting].map(Math.abs);
  // The keys of the file are features, which an object orders by number.
  published.sort((a, b) => b - a);
  const nulls = normalOrderStatistics(F, [1, 2, 3, 4, 5, rank], { sigma: EMBEDDING_STD });
  assertEquals(nulls.map(({ median }) => median.toFixed(3)), [
    ...["0.217", "0.207", "0.202", "0.198", "0.195", "0.175"],
  ]);
  nulls.forEach(({ low, high, rank }, i) =>
    assert(low <= published[i] && published[i] <= high, `rank ${rank}: ${published[i]}`)
  );
});

Deno.test("B3: the weights that chose a dimension are the largest of 150 untrained ones", async () => {
  const { selections } = await reportedStudy();
  const combined = (features: number) =>
    simulateNull((rng) => {
      let largest = 0;
      for (let k = 0; k < K; k++) {
        let sum = 0;
        for (let i = 0; i < features; i++) sum += Math.abs(EMBEDDING_STD * rng.normal());
        largest = Math.max(largest, sum);
      }
      return largest;
    }, { draws: 4000 });
  const pair = combined(2);
  const six = combined(6);
  assertAlmostEquals(pair.median, 0.216, 0.002);
  assertAlmostEquals(six.median, 0.458, 0.003);
  // A difference of means of three and three is normal, of standard deviation .05 · √(2/3).
  const [difference] = normalOrderStatistics(K, [1], { sigma: EMBEDDING_STD * Math.sqrt(2 / 3) });
  assertAlmostEquals(difference.median, 0.116, 5e-4);
  assertAlmostEquals(difference.low, 0.092, 1e-3);
  assertAlmostEquals(difference.high, 0.154, 1e-3);

  const inside = (value: number, { low, high }: { low: number; high: number }) =>
    assert(low <= value && value <= high, `${value} outside ${low} to ${high}`);
  for (const { method, value, features } of selections) {
    if (method === "combined") inside(value, features === 2 ? pair : six);
    if (method === "difference" && features === 6) inside(value, difference);
  }
});

Deno.test("B23: with one feature a factor, of opposite signs, two ways to choose a dimension are one", async () => {
  const { selections } = await reportedStudy();
  for (const name of ["positive_true_1", "formality_emotion_1"]) {
    const [combined, difference] = selections.filter(({ run }) => run === name);
    assertEquals([combined.method, difference.method], ["combined", "difference"]);
    assertEquals(combined.K, difference.K);
    assertEquals(combined.value, difference.value); // |v1| + |v2| = |v1 − v2|
  }
});

Deno.test("The variance that chose a dimension is that of its published cells", async () => {
  const { selections } = await reportedStudy();
  for (const { run, method, K, value } of selections) {
    if (method !== "variance") continue;
    const { cells } = (await reportedRun(run)).measures[`K${K}`];
    const mean = cells.reduce((sum, x) => sum + x, 0) / 4;
    const variance = cells.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 4;
    assertAlmostEquals(variance / value, 1, 0.06, run);
  }
});

/** Half a unit of the last digit that cells were published with. */
const HALF = 5e-5;

Deno.test("Q1: the K = 140 row of Paris × folk is |.177124 x1 − .197998 · .619481|, a linear function of one feature", async () => {
  const { dimensions: [{ weights }], features } = await reportedStudy();
  const [paris, folk] = [weights["32806"], weights["23360"]];
  for (const name of ["paris_folk", "paris_folk_modern"]) {
    const { x32806, K140 } = (await reportedRun(name)).measures;
    const predicted = x32806.cells.map((x) => Math.abs(paris * x + folk * 0.619481));
    predicted.forEach((value, i) =>
      assertAlmostEquals(value, K140.cells[i], HALF + paris * HALF, name)
    );
    if (name === "paris_folk") {
      assertEquals(predicted.map((value) => value.toFixed(4)), [
        ...["0.0739", "0.0738", "0.0840", "0.0875"],
      ]);
    }
    // So the contrast of the row is that of the feature, times minus its weight.
    const contrast = ([m11, m10, m01, m00]: readonly number[]) => m11 - m10 - m01 + m00;
    assertAlmostEquals(
      contrast(K140.cells),
      -paris * contrast(x32806.cells),
      4 * (1 + paris) * HALF,
    );
  }
  // A mean of |w x − c| is |w mean(x) − c| where no text is beyond c / w, and none comes near.
  const { maximum } = features.find(({ feature }) => feature === 32806)!;
  assert(maximum < -folk * 0.619481 / paris / 2);
});

Deno.test("The K = 140 row of Paris × bidding is the same sum of two features", async () => {
  const { dimensions: [{ weights }] } = await reportedStudy();
  const [paris, bidding] = [weights["32806"], weights["40595"]];
  const { x32806, x40595, K140 } = (await reportedRun("paris_bidding")).measures;
  K140.cells.forEach((cell, i) => {
    const sum = paris * x32806.cells[i] + bidding * x40595.cells[i];
    assertAlmostEquals(cell, Math.abs(sum), HALF * (1 + paris + bidding));
  });
});

/** Largest distance of `y` from the line through its points at the smallest and largest `x`. */
function fromLine(x: readonly number[], y: readonly number[]): number {
  const [least, most] = [x.indexOf(Math.min(...x)), x.indexOf(Math.max(...x))];
  const slope = (y[most] - y[least]) / (x[most] - x[least]);
  return Math.max(...x.map((value, i) => Math.abs(y[i] - y[least] - slope * (value - x[least]))));
}

Deno.test("Where the second feature is constant, every row of one dimension is affine in the first, so its F is the feature's", async () => {
  // Cells of texts: only means were published, so these are drawn around them.
  const { x32806, x23360, K140, K13, allK } = (await reportedRun("paris_folk")).measures;
  assertEquals(new Set(x23360.cells).size, 1);
  const rng = new Rng(0, "texts");
  const texts = (mean: number) => Array.from({ length: 10 }, () => mean + 0.03 * rng.normal());
  const [a1b1, a1b0, a0b1, a0b0] = x32806.cells.map(texts);
  const x: CrossedCells = { a1b1, a1b0, a0b1, a0b0 };
  const row = (cell: ArrayLike<number>) =>
    Array.from(cell, (value) => Math.abs(0.177124 * value - 0.197998 * 0.619481));
  const feature = twoWayAnova(x);
  const dimension = twoWayAnova({
    a1b1: row(a1b1),
    a1b0: row(a1b0),
    a0b1: row(a0b1),
    a0b0: row(a0b0),
  });
  for (const effect of ["factorA", "factorB", "interaction"] as const) {
    assertAlmostEquals(dimension[effect].F / feature[effect].F, 1, 1e-9);
  }
  // F recomputed from the published values of each text agree, and the published cells lie on a line.
  const F = x32806.recomputed!.F_a!.toFixed(1);
  assertEquals(K140.recomputed!.F_a!.toFixed(1), F);
  assertEquals(K13.recomputed!.F_a!.toFixed(1), F);
  assert(fromLine(x32806.cells, K140.cells) < 2 * HALF);
  assert(fromLine(x32806.cells, K13.cells) < 2 * HALF / 10);
  // The mean over all dimensions is affine piece by piece only, and its F differs.
  assert(allK.recomputed!.F_a !== K140.recomputed!.F_a);
});

Deno.test("Q5: both dimensions of formality × emotion are one feature, seen twice", async () => {
  const { x20850, x32616, K42, K118 } = (await reportedRun("formality_emotion_1")).measures;
  assertEquals(new Set(x32616.cells).size, 1);
  assertEquals(K42.recomputed, x20850.recomputed);
  assertEquals(K118.recomputed, x20850.recomputed);
  for (const { cells } of [K42, K118]) assert(fromLine(x20850.cells, cells) < 3 * HALF);
  // One falls with the feature and the other rises, which makes one largest where the other is least.
  assert(K42.cells[3] === Math.max(...K42.cells) && K118.cells[3] === Math.min(...K118.cells));
});

Deno.test("Q2: the interaction row is one number up to rounding, and is not stretched into an effect", async () => {
  const { runs } = await reportedStudy();
  const rows = Object.fromEntries(
    runs.flatMap(({ run, measures }) =>
      measures.filter(({ kind }) => kind === "interaction").map(({ cells }) => [run, cells])
    ),
  );
  assertEquals(Object.keys(rows), [
    ...["paris_folk", "paris_bidding", "paris_folk_3"],
    ...["positive_true_1", "positive_true_3", "formality_emotion_1"],
  ]);
  for (const [run, cells] of Object.entries(rows)) {
    // The run on discovered features varies by a thousandth; it has no claim to it.
    assertEquals(minMaxDisplay(cells).scaled !== undefined, run === "paris_folk_3", run);
  }
  assertEquals(minMaxDisplay(rows.paris_folk, { faithful: ["B6"] }).scaled![3], 1);
});

Deno.test("No interaction contrast was below 0.04 by permutation, over every run and row", async () => {
  const { runs } = await reportedStudy();
  const p = runs.flatMap(({ measures }) =>
    measures.flatMap(({ recomputed }) => recomputed?.p_interaction ?? [])
  );
  assert(p.length >= 18);
  assertEquals(Math.min(...p), 0.04);
});

Deno.test("Rows of untrained embeddings have a Gini coefficient of .412 ± .021, at most about .50", () => {
  const rng = new Rng(0, "gini");
  const rows = Array.from({ length: 20_000 }, () => gini(rng.normals(K, EMBEDDING_STD)));
  const mean = rows.reduce((sum, g) => sum + g, 0) / rows.length;
  const deviation = Math.sqrt(rows.reduce((sum, g) => sum + (g - mean) ** 2, 0) / rows.length);
  assertAlmostEquals(mean, 0.412, 1e-3);
  assertAlmostEquals(deviation, 0.021, 1e-3);
  assertAlmostEquals(rows.reduce((max, g) => Math.max(max, g), 0), 0.5, 0.02);
});

Deno.test("Tokens were counted as lines: 5 M tokens were 2441 lines, 100 k were 1000", () => {
  const lines = (tokens: number, batch: number) => Math.floor(tokens / batch);
  assertEquals(lines(5_000_000, 2048), 2441);
  assertEquals(lines(100_000, 100), 1000);
  assertEquals(lines(300_000, 100), 3000);
  assertEquals(lines(500_000, 50), 10_000);
});
