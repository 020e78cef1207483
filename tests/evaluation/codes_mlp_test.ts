import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import {
  affineRefit,
  CodesMlp,
  type CodesMlpWeights,
  equalMlpWidth,
  evaluate,
  mlpParameterCount,
  trainCodesMlp,
} from "../../lib/evaluation/mod.ts";
import { mlpLoss } from "../../lib/evaluation/codes_mlp.ts";
import { codesAndResidual, parameterCount } from "../../lib/interaction/mod.ts";
import { linearTermGrad } from "../../lib/interaction/nfm_terms.ts";
import { openDevice, Rng, scatterRows, tf, valueAndGrads } from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch } from "../files/scratch.ts";

const [tokens, dSae, dOut, hidden, n] = [6, 7, 3, 4, 2];

for (const linear of [true, false]) {
  eachBackend(
    `Gradients of a network ${linear ? "with" : "without"} a linear term are those of autodiff`,
    async () => {
      const rng = new Rng(0, "mlp");
      const draw = (rows: number, columns: number) =>
        tf.tensor2d(rng.normals(rows * columns, 1), [rows, columns]);
      const weights: CodesMlpWeights = {
        b: tf.tensor1d(rng.normals(dOut, 1)),
        W1: draw(dSae, hidden),
        b1: tf.tensor1d(rng.normals(hidden, 1)),
        W2: draw(hidden, dOut),
        ...linear && { W: draw(dSae, dOut) },
      };
      const pairs = Array.from({ length: tokens }, () => [...rng.permutation(dSae)].slice(0, n));
      const codes = {
        indices: tf.tensor2d(pairs, [tokens, n], "int32"),
        values: tf.tensor2d(rng.normals(tokens * n, 1).map(Math.abs), [tokens, n]),
      };
      const target = draw(tokens, dOut);
      const { loss, grads } = tf.tidy(() =>
        mlpLoss(weights, codes, target, (g) => linearTermGrad(codes, g, dSae)) as never
      ) as ReturnType<typeof mlpLoss>;
      const f = scatterRows(codes, dSae);
      const auto = valueAndGrads({ ...weights }, ({ b, W1, b1, W2, W }) => {
        const layer = tf.add(tf.matMul(tf.relu(tf.add(tf.matMul(f, W1), b1)), W2), b);
        const out = W ? tf.add(layer, tf.matMul(f, W)) : layer;
        return { loss: tf.mean(tf.squaredDifference(out, target)) as tf.Scalar };
      });
      assertAlmostEquals((await loss.data())[0], (await auto.loss.data())[0], 1e-4);
      assertEquals(Object.keys(grads).sort(), Object.keys(weights).sort());
      for (const [name, grad] of Object.entries(grads)) {
        const [given, expected] = [await grad.data(), await auto.grads[name].data()];
        expected.forEach((value, i) => assertAlmostEquals(given[i], value, 1e-4, name));
      }
    },
  );
}

/** x = (a, b, a·b, max(a, b)); the dictionary knows a and b. */
function world() {
  const draw = (seed: number) => {
    const rng = new Rng(seed, "world");
    const rows = Array.from({ length: 400 }, () => {
      const [a, b] = [0.1 + 2 * rng.uniform(), 0.1 + 2 * rng.uniform()];
      return [a, b, a * b, Math.max(a, b)];
    });
    return {
      rows: Float32Array.from(rows.flat()),
      document: Int32Array.from(rows, (_, i) => i >> 4),
    };
  };
  const store = memoryStore(4, { train: draw(0), validation: draw(1), test: draw(2) }, "mlp world");
  const W_dec = tf.tensor2d([[1, 0, 0, 0], [0, 1, 0, 0]]);
  const sae = new Sae({ architecture: "topk", dIn: 4, dSae: 2, k: 2 }, {
    W_enc: tf.transpose(W_dec),
    b_enc: tf.zeros([2]),
    W_dec,
    b_dec: tf.zeros([4]),
  });
  return { store, sae };
}
const config = { hidden: 16, steps: 400, batchSize: 100, learningRate: 3e-2 };

Deno.test("A network explains on held-out documents what no affine map does", async () => {
  await openDevice();
  const { store, sae } = world();
  const refit = await affineRefit(store, sae);
  const { mlp, metrics, history, stopped } = await trainCodesMlp(store, sae, {
    ...config,
    cache: false,
  });
  const measured = await evaluate(store, { split: "validation", sae }, {
    refit: ({ reconstruction, codes }) =>
      tf.add(reconstruction!, refit.predict(codes!)) as tf.Tensor2D,
    mlp: ({ reconstruction, codes }) => tf.add(reconstruction!, mlp.predict(codes!)) as tf.Tensor2D,
  });
  assert(measured.mlp.fvu < 0.5 * measured.refit.fvu, JSON.stringify(measured.mlp.fvu));
  assertAlmostEquals(metrics.fvu, measured.mlp.fvu, 1e-6);
  assertEquals([stopped, history.at(-1)!.step], [false, 400]);
});

Deno.test("Training starts from no effect and leaves no tensor behind", async () => {
  await openDevice();
  const { store, sae } = world();
  const before = tf.memory().numTensors;
  const { mlp, history } = await trainCodesMlp(store, sae, {
    ...config,
    steps: 2,
    batchSize: 400,
    cache: false,
  });
  // The first step, on all tokens, has the loss of predicting 0 for a residual scaled to 1.
  assertAlmostEquals(history[0].loss, 1, 1e-5);
  mlp.dispose();
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("A trained network is loaded from its cache, and predicts the same bytes", async () => {
  await openDevice();
  await inScratch(async (cache) => {
    const { store, sae } = world();
    const short = { ...config, steps: 20, cache };
    const [first, again] = [
      await trainCodesMlp(store, sae, short),
      await trainCodesMlp(store, sae, short),
    ];
    const { codes } = codesAndResidual(sae, await store.split("test").rows(0, 20), 2);
    const [a, b] = [first, again].map(({ mlp }) => mlp.predict(codes));
    assertEquals(await a.data(), await b.data());
    assertEquals([again.history, again.metrics], [first.history, first.metrics]);
    const other = await trainCodesMlp(store, sae, { ...short, linear: false });
    assert(other.metrics.fvu !== first.metrics.fvu);
    assertEquals(other.mlp.weights.W, undefined);
  });
});

Deno.test("A network of equal width has the parameters of a factorization machine", () => {
  for (const parts of ["both", "interaction"] as const) {
    for (const [dSae, dOut, K] of [[50_000, 3200, 150], [4096, 576, 64]]) {
      const linear = parts === "both";
      const { total } = parameterCount({ parts, head: "linear", K, dSae, dOut });
      const hidden = equalMlpWidth(total, { dSae, dOut, linear });
      const each = dSae + dOut + 1;
      assert(Math.abs(mlpParameterCount({ dSae, dOut, hidden, linear }) - total) <= each / 2);
    }
  }
  assertThrows(() => equalMlpWidth(5, { dSae: 4, dOut: 4, linear: false }), RangeError, "least 13");
});

Deno.test("Networks that cannot be are refused before any work", async () => {
  const { store, sae } = world();
  const refuse = (wrong: object, message: string) =>
    assertRejects(
      () => trainCodesMlp(store, sae, { ...config, ...wrong, cache: false }),
      RangeError,
      message,
    );
  await refuse({ hidden: 0 }, "hidden = 0");
  await refuse({ hidden: 1.5 }, "1.5 hidden units");
  await refuse({ topN: 3 }, "at most 2 features");
  await refuse({ batchSize: 1000 }, "batches of 1000");
  await refuse({ steps: 0 }, "0");
  const shape = { dSae: 2, dOut: 1, hidden: 1, linear: true, topN: 1 };
  assertThrows(
    () => new CodesMlp(shape, { b: tf.zeros([1]) } as unknown as CodesMlpWeights),
    RangeError,
    "W1 missing",
  );
});
