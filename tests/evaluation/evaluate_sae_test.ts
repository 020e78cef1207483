import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { memoryStore, pairReader, Sae } from "../../lib/dictionary/mod.ts";
import { evaluateSae, type EvaluateSaeOptions } from "../../lib/evaluation/mod.ts";
import { pairedBootstrap } from "../../lib/metrics/mod.ts";
import { randomModel } from "../../lib/model/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch, namesBelow, withFullDisk } from "../files/scratch.ts";
import { differencesFromCore } from "./saebench_core.ts";

await openDevice({ backend: "cpu" });

const [d, F, tokens, scale] = [4, 6, 60, 0.5];
const rng = new Rng(0, "evaluate");
const shift = [2, 0, -1, 0.5];
/** Activations in the units of the model; 6 documents, a sequence goes over a batch's end. */
const raw = Array.from({ length: tokens }, () => shift.map((s) => s + 2 * rng.normal()));
const document = Int32Array.from(raw, (_, t) => Math.floor(t / 10));
const split = {
  rows: Float32Array.from(raw.flatMap((row) => row.map((value, i) => (value - shift[i]) * scale))),
  document,
};
const normalizer = { scale, mean: shift };
const store = { ...memoryStore(d, { train: split, validation: split, test: split }), normalizer };

const draw = (rows: number, columns: number, std: number) =>
  Array.from({ length: rows }, () => Array.from(rng.normals(columns, std)));
const weights = {
  W_enc: draw(d, F, 0.7),
  b_enc: [0.1, -0.2, 0, -100, 0.3, -0.5], // the fourth never fires
  W_dec: draw(F, d, 0.4),
  b_dec: Array.from(rng.normals(d, 0.2)),
};
const dictionary = () =>
  new Sae({ architecture: "standard", dIn: d, dSae: F }, {
    W_enc: tf.tensor2d(weights.W_enc),
    b_enc: tf.tensor1d(weights.b_enc),
    W_dec: tf.tensor2d(weights.W_dec),
    b_dec: tf.tensor1d(weights.b_dec),
  }, { normalizer });

/** A dictionary that gives x back, or only its bias. */
const trivial = (kind: "identity" | "mean", offset = 0) => {
  const eye = [...Array(d).keys()].map((i) =>
    [...Array(d).keys()].map((j) => Number(i === j && kind === "identity"))
  );
  const mean = [...Array(d).keys()].map((i) =>
    split.rows.reduce((all, value, at) => at % d === i ? all + value / tokens : all, 0)
  );
  return new Sae({ architecture: "standard", dIn: d, dSae: 2 * d }, {
    W_enc: tf.tensor2d(eye.map((row) => [...row, ...row.map((value) => -value)])),
    b_enc: tf.zeros([2 * d]),
    W_dec: tf.tensor2d([...eye, ...eye.map((row) => row.map((value) => -value))]),
    // (x − b) + b: of the identity, the bias is not seen but for what is added to the codes' sum.
    b_dec: tf.tensor1d(kind === "mean" ? mean.map((m) => m + offset) : Array(d).fill(0)),
  }, { normalizer });
};

/** All numbers in float64, in plain loops. */
function reference() {
  const dot = (a: number[], b: number[]) => a.reduce((all, value, i) => all + value * b[i], 0);
  const norm = (a: number[]) => Math.sqrt(dot(a, a));
  const minus = (a: number[], b: number[]) => a.map((value, i) => value - b[i]);
  const column = (rows: number[][], j: number) => rows.map((row) => row[j]);
  const average = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const { W_enc, b_enc, W_dec, b_dec } = weights;
  const codes = raw.map((row) => {
    const centred = row.map((value, i) => (value - shift[i]) * scale - b_dec[i]);
    return b_enc.map((b, f) => Math.max(0, dot(centred, column(W_enc, f)) + b));
  });
  const xHat = codes.map((code) =>
    b_dec.map((b, i) => (b + dot(code, column(W_dec, i))) / scale + shift[i])
  );
  const mean = shift.map((_, i) => average(column(raw, i)));
  const error = raw.map((row, t) => norm(minus(row, xHat[t])) ** 2);
  const variation = raw.map((row) => norm(minus(row, mean)) ** 2);
  const cosine = (a: number[], b: number[]) => dot(a, b) / norm(a) / norm(b);
  const densities = b_enc.map((_, f) => average(codes.map((code) => Number(code[f] > 0))));
  const documents = [...new Set(document)];
  const total = densities.reduce((a, b) => a + b);
  const encoders = b_enc.map((_, f) => column(W_enc, f));
  const largest = (rows: number[][], f: number) =>
    Math.max(...rows.filter((_, i) => i !== f).map((row) => cosine(row, rows[f])));
  return {
    metrics: {
      reconstruction_quality: {
        explained_variance: 1 - average(error) / average(variation),
        explained_variance_legacy: average(error.map((e, t) => 1 - e / variation[t])),
        mse: average(error),
        cossim: average(raw.map((row, t) => cosine(row, xHat[t]))),
      },
      shrinkage: {
        l2_norm_in: average(raw.map(norm)),
        l2_norm_out: average(xHat.map(norm)),
        l2_ratio: average(raw.map((row, t) => norm(xHat[t]) / norm(row))),
        relative_reconstruction_bias: average(xHat.map((row) => dot(row, row))) /
          average(xHat.map((row, t) => dot(row, raw[t]))),
      },
      sparsity: {
        l0: total,
        l1: average(codes.map((code) => code.reduce((a, b) => a + b))),
      },
      misc_metrics: {
        freq_over_1_percent: average(densities.map((p) => Number(p > 0.01))),
        freq_over_10_percent: average(densities.map((p) => Number(p > 0.1))),
        normalized_freq_over_1_percent: densities.filter((p) => p > 0.01)
          .reduce((a, b) => a + b) / total,
        normalized_freq_over_10_percent: densities.filter((p) => p > 0.1)
          .reduce((a, b) => a + b) / total,
        average_max_encoder_cosine_sim: average(encoders.map((_, f) => largest(encoders, f))),
        average_max_decoder_cosine_sim: average(W_dec.map((_, f) => largest(W_dec, f))),
        frac_alive: average(densities.map((p) => Number(p > 0))),
      },
    },
    features: b_enc.map((bias, f) => {
      const fired = documents.filter((n) =>
        codes.some((code, t) => document[t] === n && code[f] > 0)
      );
      return {
        index: f,
        feature_density: densities[f],
        consistent_activation_heuristic: fired.length === 0
          ? -1
          : densities[f] * tokens / fired.length,
        encoder_bias: bias,
        encoder_norm: scale * norm(encoders[f]), // of the saved dictionary
        encoder_decoder_cosine_sim: cosine(encoders[f], W_dec[f]),
        max_decoder_cosine_sim: largest(W_dec, f),
        max_encoder_cosine_sim: largest(encoders, f),
      };
    }),
  };
}

function assertClose(actual: object, expected: object, name = "") {
  for (const [key, value] of Object.entries(expected)) {
    const found = (actual as Record<string, unknown>)[key];
    if (typeof value === "object") assertClose(found as object, value, `${name}.${key}`);
    else {
      const message = `${name}.${key}: ${found}, expected ${value}`;
      assert(Math.abs(Number(found) - value) <= 1e-5 * Math.max(1, Math.abs(value)), message);
    }
  }
}

eachBackend("Every number of a report is that of plain loops in float64", async () => {
  const sae = dictionary();
  const before = tf.memory().numTensors;
  for (const batchSize of [1024, 7]) {
    const { report } = await evaluateSae(store, sae, { batchSize });
    const { metrics, features } = reference();
    assertClose(report.eval_result_metrics, metrics);
    assertClose(report.eval_result_details, features);
    assertEquals(report.eval_result_metrics.token_stats, {
      total_tokens_eval_reconstruction: 0,
      total_tokens_eval_sparsity_variance: tokens,
    });
  }
  assertEquals(tf.memory().numTensors, before);
  sae.dispose();
});

Deno.test("The identity explains all, the mean nothing, and an offset costs its square", async () => {
  const of = async (sae: Sae) => {
    const { report, intervals } = await evaluateSae(store, sae);
    return { ...report.eval_result_metrics, intervals };
  };
  const identity = await of(trivial("identity"));
  assertAlmostEquals(identity.reconstruction_quality.explained_variance, 1, 1e-6);
  assertAlmostEquals(identity.shrinkage.relative_reconstruction_bias, 1, 1e-6);
  assertAlmostEquals(identity.shrinkage.l2_ratio, 1, 1e-6);
  const mean = await of(trivial("mean"));
  assertAlmostEquals(mean.reconstruction_quality.explained_variance, 0, 1e-5);
  assertAlmostEquals(mean.reconstruction_quality.explained_variance_legacy, 0, 1e-5);
  assertAlmostEquals(mean.intervals.fvu.estimate, 1, 1e-5);
  assert(mean.intervals.errorPercent.estimate < 95, "uncentred: the mean explains something");
  const off = await of(trivial("mean", 0.25));
  const more = off.reconstruction_quality.mse - mean.reconstruction_quality.mse;
  assertAlmostEquals(more, d * (0.25 / scale) ** 2, 1e-4);
});

Deno.test("A report has the fields of SAEBench's core, with −1 for what was not computed", async () => {
  await inScratch(async (folder) => {
    const path = join(folder, "a", "core.json");
    const { report } = await evaluateSae(store, dictionary(), {
      path,
      id: "00000000-0000-4000-8000-000000000000",
      time: new Date(1730845942350),
      modelName: "a model",
      dataset: "a text",
    });
    const written = JSON.parse(await Deno.readTextFile(path));
    assertEquals(written, JSON.parse(JSON.stringify(report)));
    assertEquals(differencesFromCore(written), []);
    assertEquals(written.eval_result_metrics.model_behavior_preservation.kl_div_score, -1);
    assertEquals(written.eval_config.compute_kl, false);
    assertEquals(written.eval_result_unstructured.not_computed.length, 7);
    assertEquals(written.eval_result_details[3].consistent_activation_heuristic, -1);
    assertEquals(written.datetime_epoch_millis, 1730845942350);
    assertEquals(namesBelow(folder), ["a", "a/core.json"]);
    delete written.eval_result_metrics.shrinkage.l2_ratio;
    written.eval_result_details[1].encoder_norm = null;
    assertEquals(differencesFromCore(written), [
      "eval_result_metrics.shrinkage.l2_ratio is missing",
      "eval_result_details[1].encoder_norm is no number",
    ]);
  });
});

Deno.test("A full disk leaves the report that was there", async () => {
  await inScratch(async (folder) => {
    const path = join(folder, "core.json");
    await Deno.writeTextFile(path, "earlier");
    await withFullDisk(100, async () => {
      await assertRejects(() => evaluateSae(store, dictionary(), { path }), Error, "disk");
    });
    assertEquals(await Deno.readTextFile(path), "earlier");
    assertEquals(namesBelow(folder), ["core.json"]);
  });
});

Deno.test("Intervals draw documents, and those of two dictionaries are paired", async () => {
  const a = await evaluateSae(store, dictionary());
  const b = await evaluateSae(store, trivial("mean"));
  assertEquals(a.perDocument.reconstruction.tokens, Array(6).fill(10));
  const { low, estimate, high } = a.intervals.fvu;
  assert(low < estimate && estimate < high);
  assertAlmostEquals(a.intervals.explainedVariance.low, 1 - high, 0.02);
  const difference = pairedBootstrap(
    b.perDocument.reconstruction,
    a.perDocument.reconstruction,
    { statistic: "difference" },
  );
  assertAlmostEquals(difference.estimate, b.intervals.fvu.estimate - estimate, 1e-6);
  const sum = (values: number[]) => values.reduce((x, y) => x + y);
  assertAlmostEquals(
    sum(a.perDocument.shrinkage.cosine) / tokens,
    a.intervals.cosine.estimate,
    1e-9,
  );
  assertEquals(a.densities.length, F);
  assertEquals(a.histogram.silent, 1);
});

Deno.test("Dead features are those of the window that is asked for", async () => {
  const { deadFraction, report } = await evaluateSae(store, dictionary(), { deadWindow: tokens });
  assertAlmostEquals(deadFraction!, 1 / F);
  assertEquals(report.eval_result_unstructured.dead, { fraction: 1 / F, window: tokens });
  await assertRejects(
    () => evaluateSae(store, dictionary(), { deadWindow: tokens + 1 }),
    RangeError,
    `after ${tokens} tokens`,
  );
});

Deno.test("Numbers of the splice are those of the model's own logits", async () => {
  const model = randomModel({ nLayers: 2, dModel: 16 }, 0);
  const [hook, bos] = ["blocks.0.hook_resid_post", 1];
  const width = model.cfg.dModel;
  const split = { rows: new Rng(1).normals(40 * width, 1), document: document.slice(0, 40) };
  const store = memoryStore(width, { train: split, validation: split, test: split });
  const sae = new Sae({ architecture: "topk", dIn: width, dSae: 20, k: 3 }, {
    W_enc: tf.tensor2d(rng.normals(width * 20, 1), [width, 20]),
    b_enc: tf.zeros([20]),
    W_dec: tf.tensor2d(rng.normals(width * 20, 0.2), [20, width]),
    b_dec: tf.zeros([width]),
  });
  const sequences = [0, 1, 2].map((document) => ({
    document,
    tokens: [bos, ...Array.from({ length: 4 + document }, () => 3 + rng.integer(20))],
  }));
  const { report, intervals } = await evaluateSae(store, sae, {
    model,
    sequences,
    hook,
    maskedTokens: [bos],
  });
  const [ce, kl, count] = [[0, 0, 0], [0, 0, 0], { predicted: 0 }];
  for (const { tokens: ids } of sequences) {
    const run = async (replace: (x: tf.Tensor) => tf.Tensor) => {
      const logits = await model.runWithHooks([ids], {
        hooks: {
          [hook]: (a) =>
            tf.concat([tf.slice(a, [0, 0, 0], [1, 1, -1]), replace(tf.slice(a, [0, 1, 0]))], 1),
        },
      });
      return (await logits!.array() as number[][][])[0].map((row) => {
        const total = Math.log(row.reduce((all, value) => all + Math.exp(value), 0));
        return row.map((value) => value - total);
      });
    };
    const runs = [
      await run((x) => tf.clone(x)),
      await run((x) => tf.zerosLike(x)),
      await run((x) => tf.reshape(sae.reconstruct(tf.reshape(x, [-1, width])), x.shape)),
    ];
    for (let p = 1; p + 1 < ids.length; p++) {
      count.predicted++;
      runs.forEach((logProbs, r) => {
        ce[r] -= logProbs[p][ids[p + 1]];
        kl[r] += runs[0][p].reduce((all, l, v) => all + Math.exp(l) * (l - logProbs[p][v]), 0);
      });
    }
  }
  const [clean, zero, spliced] = ce.map((sum) => sum / count.predicted);
  const { model_behavior_preservation, model_performance_preservation, token_stats } =
    report.eval_result_metrics;
  assertClose({ model_performance_preservation, model_behavior_preservation }, {
    model_performance_preservation: {
      ce_loss_score: (zero - spliced) / (zero - clean),
      ce_loss_with_ablation: zero,
      ce_loss_with_sae: spliced,
      ce_loss_without_sae: clean,
    },
    model_behavior_preservation: {
      kl_div_score: (kl[1] - kl[2]) / kl[1],
      kl_div_with_ablation: kl[1] / count.predicted,
      kl_div_with_sae: kl[2] / count.predicted,
    },
  });
  assertEquals(token_stats.total_tokens_eval_reconstruction, count.predicted);
  assertEquals(intervals.ceRecovered!.estimate, model_performance_preservation.ce_loss_score);
  assertEquals(report.eval_result_unstructured.not_computed, []);
  assertEquals(differencesFromCore(JSON.parse(JSON.stringify(report))), []);
  model.dispose();
});

Deno.test("A transcoder is measured against what it predicts, in that one's units", async () => {
  // y = 3 x₁ − x₂ + 7 in the units of the model: the skip connection says it, without any feature.
  const y = raw.map(([a, b]) => 3 * a - b + 7);
  const outputs = { rows: Float32Array.from(y, (value) => (value - 1) * 4), document };
  const target = {
    ...memoryStore(1, { train: outputs, validation: outputs, test: outputs }),
    normalizer: { scale: 4, mean: [1] },
  };
  // x = raw − shift, halved; y − 1, times 4: the biases are what is left.
  const bias = 4 * (3 * shift[0] - shift[1] + 7 - 1);
  const transcoder = new Sae({ architecture: "standard", dIn: d, dSae: 2, dOut: 1, skip: true }, {
    W_enc: tf.zeros([d, 2]),
    b_enc: tf.fill([2], -1),
    W_dec: tf.ones([2, 1]),
    b_dec: tf.tensor1d([bias]),
    W_skip: tf.tensor2d([[3 * 4 / scale, -4 / scale, 0, 0]]),
  }, { normalizer, outputNormalizer: target.normalizer });
  const { report, intervals } = await evaluateSae(pairReader(store, target), transcoder, {
    batchSize: 7,
  });
  const { reconstruction_quality, shrinkage } = report.eval_result_metrics;
  assertAlmostEquals(reconstruction_quality.explained_variance, 1, 1e-6);
  const length = y.reduce((sum, value) => sum + Math.abs(value), 0) / tokens;
  assertAlmostEquals(shrinkage.l2_norm_in, length, 1e-4);
  assertEquals(intervals.l0.estimate, 0);
  assertEquals(report.eval_result_details[0].encoder_decoder_cosine_sim, -1);
  assertEquals(differencesFromCore(JSON.parse(JSON.stringify(report))), []);
});

Deno.test("A model without sequences is refused, and so is a transcoder that would be spliced", async () => {
  const refuse = (options: EvaluateSaeOptions, message: string, sae = dictionary()) =>
    assertRejects(() => evaluateSae(store, sae, options), RangeError, message);
  const model = randomModel({ nLayers: 1 }, 0);
  await refuse({ model }, "a model and no sequences");
  await refuse({ sequences: [] }, "sequences and no model");
  const { W_enc, b_enc, W_dec, b_dec } = dictionary();
  const transcoder = new Sae({ architecture: "standard", dIn: d, dSae: F, dOut: d }, {
    ...{ W_enc, b_enc, W_dec, b_dec },
  });
  await refuse({ model, sequences: [] }, "attachSae", transcoder);
  await refuse({}, "give a pairReader", transcoder);
  model.dispose();
});
