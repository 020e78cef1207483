import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  Nfm,
  nfmLoss,
  nfmRowLoss,
  type NfmShape,
  type NfmWeights,
  parameterCount,
  usedRows,
} from "../../lib/interaction/mod.ts";
import {
  linearTerm,
  linearTermGrad,
  pooledProducts,
  pooledProductsGrad,
} from "../../lib/interaction/nfm_terms.ts";
import { weightShapes } from "../../lib/interaction/nfm.ts";
import {
  type Gradient,
  Rng,
  scatterRows,
  type SparseCodes,
  tf,
  valueAndGrads,
} from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const [tokens, n, dSae, K, dOut] = [6, 3, 8, 4, 5];
const both: NfmShape = { parts: "both", dSae, dOut, K, head: "linear", topN: n };

/** Codes with distinct features a token, and one unused pair. */
function codesOf(): SparseCodes {
  const rng = new Rng(0, "codes");
  const indices = Array.from({ length: tokens }, () => [...rng.permutation(dSae).subarray(0, n)]);
  const values = indices.map((row) => row.map(() => 0.5 + rng.uniform()));
  indices[2][2] = 0;
  values[2][2] = 0;
  return { indices: tf.tensor2d(indices, [tokens, n], "int32"), values: tf.tensor2d(values) };
}

function weightsOf(shape: NfmShape): NfmWeights {
  return Object.fromEntries(
    Object.entries(weightShapes(shape)).map(([name, size]) => {
      const values = new Rng(1, name).normals(size.reduce((a, b) => a * b), 0.7);
      return [name, tf.tensor(values, size as [number, number])];
    }),
  ) as unknown as NfmWeights;
}

const target = () => tf.tensor2d(new Rng(2, "target").normals(tokens * dOut, 1), [tokens, dOut]);

async function assertClose(actual: tf.Tensor, expected: tf.Tensor, tolerance: number, what = "") {
  assertEquals(actual.shape, expected.shape);
  const [a, b] = [await actual.data<"float32">(), await expected.data<"float32">()];
  a.forEach((value, i) => assertAlmostEquals(value, b[i], tolerance, what));
}

for (const path of ["dense", "sparse"] as const) {
  eachBackend(`One active feature pools to 0, two to f_i f_j v_i v_j (${path})`, async () => {
    const V = tf.tensor2d([[1, 2], [3, -4], [0.5, 6]]);
    const codes = {
      indices: tf.tensor2d([[1, 0], [0, 2]], [2, 2], "int32"),
      values: tf.tensor2d([[7, 0], [2, 3]]),
    };
    const { pooled } = pooledProducts(codes, V, path);
    await assertClose(pooled, tf.tensor2d([[0, 0], [2 * 3 * 0.5, 2 * 3 * 12]]), 1e-4);
  });

  eachBackend(`Pooled products are the sum over all pairs (${path})`, async () => {
    const codes = codesOf();
    const V = weightsOf(both).V!;
    const [f, v] = [await scatterRows(codes, dSae).array(), await V.array()];
    const expected = f.map((row) =>
      Array.from({ length: K }, (_, k) => {
        let sum = 0;
        for (let i = 0; i < dSae; i++) {
          for (let j = 0; j < i; j++) sum += row[i] * row[j] * v[i][k] * v[j][k];
        }
        return sum;
      })
    );
    await assertClose(pooledProducts(codes, V, path).pooled, tf.tensor2d(expected), 1e-5);
  });
}

eachBackend("Sparse and dense products agree in value and gradient", async () => {
  const codes = codesOf();
  const { W, V } = weightsOf(both);
  const g = target();
  await assertClose(linearTerm(codes, W!, "sparse"), linearTerm(codes, W!, "dense"), 1e-5);
  await assertClose(
    linearTermGrad(codes, g, dSae, "sparse"),
    linearTermGrad(codes, g, dSae, "dense"),
    1e-5,
  );
  const gPooled = tf.slice(g, [0, 0], [-1, K]);
  const [sparse, dense] = [pooledProducts(codes, V!, "sparse"), pooledProducts(codes, V!, "dense")];
  await assertClose(sparse.pooled, dense.pooled, 1e-5);
  await assertClose(
    pooledProductsGrad(codes, V!, sparse.S, gPooled, "sparse"),
    pooledProductsGrad(codes, V!, dense.S, gPooled, "dense"),
    1e-5,
  );
});

/** The definition on dense codes, left to automatic differentiation. */
function reference(
  weights: NfmWeights,
  f: tf.Tensor2D,
  r: tf.Tensor2D,
  keep: tf.Tensor2D | undefined,
) {
  return valueAndGrads({ ...weights } as Record<string, tf.Tensor>, (params) => {
    const { b, W, V, C, W1, b1, W2 } = params as unknown as NfmWeights;
    let prediction: tf.Tensor = tf.add(tf.zeros(r.shape), b);
    if (W) prediction = tf.add(prediction, tf.matMul(f, W));
    if (V) {
      const squares = tf.matMul(tf.square(f), tf.square(V));
      let p = tf.mul(0.5, tf.sub(tf.square(tf.matMul(f, V)), squares)) as tf.Tensor2D;
      if (keep) p = tf.mul(p, keep);
      const head = C ? tf.matMul(p, C) : tf.matMul(tf.relu(tf.add(tf.matMul(p, W1!), b1!)), W2!);
      prediction = tf.add(prediction, head);
    }
    return { loss: tf.mean(tf.squaredDifference(prediction, r)) as tf.Scalar };
  });
}

const shapes: NfmShape[] = [
  both,
  { ...both, parts: "linear", K: 0 },
  { ...both, parts: "interaction" },
  { ...both, head: "relu" },
];
for (const shape of shapes) {
  for (const path of ["dense", "sparse"] as const) {
    const name = `${shape.parts}, ${shape.head} head, ${path}`;
    eachBackend(`The gradients of the model are those of its loss (${name})`, async () => {
      const codes = codesOf();
      const weights = weightsOf(shape);
      const keep = shape.K > 0 ? tf.tensor2d([[0, 2, 2, 0]]).as2D(1, K) : undefined;
      const mask = keep && tf.tile(keep, [tokens, 1]) as tf.Tensor2D;
      const hand = nfmLoss(weights, codes, target(), { keep: mask, path });
      const auto = reference(weights, scatterRows(codes, dSae), target(), mask);
      await assertClose(hand.scalars.loss, auto.loss, 1e-4);
      for (const parameter of Object.keys(weights)) {
        await assertClose(hand.grads[parameter], auto.grads[parameter], 2e-4, parameter);
      }
    });
  }
}

eachBackend("Dense codes give what their pairs give, in prediction and gradient", async () => {
  const codes = codesOf();
  const f = scatterRows(codes, dSae);
  for (const shape of shapes) {
    const weights = weightsOf(shape);
    const [ofPairs, ofRows] = [codes, f].map((input) => nfmLoss(weights, input, target()));
    await assertClose(ofRows.scalars.loss, ofPairs.scalars.loss, 1e-5);
    for (const name of Object.keys(weights)) {
      await assertClose(ofRows.grads[name], ofPairs.grads[name], 1e-4, name);
    }
    const nfm = new Nfm(shape, weights, { scales: { code: 1.7, target: 0.3 } });
    await assertClose(nfm.predict(f), nfm.predict(codes), 1e-4);
  }
});

eachBackend("Codes of another width, or of more features than the model sees, are refused", () => {
  const nfm = new Nfm({ ...both, topN: 2 }, weightsOf(both));
  const refuses = (codes: Parameters<Nfm["predict"]>[0], message: string) =>
    assertThrows(() => nfm.predict(codes), RangeError, message);
  refuses(codesOf(), "3 active features a token: the model sees the 2 largest");
  refuses(tf.zeros([2, 9]), "codes of 9 features: the model has 8");
});

/** Gradients of rows, put into their places. */
function whole(gradient: Gradient, features: number): tf.Tensor {
  if (gradient instanceof tf.Tensor) return gradient;
  const { rows, values } = gradient;
  const [n, columns] = values.shape;
  return tf.scatterND(tf.reshape(rows, [n, 1]), values, [features, columns]);
}

for (const shape of shapes) {
  eachBackend(
    `The gradients of the rows in use are those of the loss (${shape.parts}, ${shape.head} head)`,
    async () => {
      const codes = codesOf();
      const weights = weightsOf(shape);
      const mask = shape.K > 0
        ? tf.tensor2d(new Rng(4).normals(tokens * K, 1), [tokens, K])
        : undefined;
      for (const keep of [undefined, mask]) {
        const used = await usedRows(codes, dSae);
        const rows = nfmRowLoss(weights, codes, target(), { used, keep });
        const auto = reference(weights, scatterRows(codes, dSae), target(), keep);
        await assertClose(rows.scalars.loss, auto.loss, 1e-4);
        assertEquals(Object.keys(rows.grads).sort(), Object.keys(auto.grads).sort());
        for (const parameter of Object.keys(weights)) {
          const gradient = whole(rows.grads[parameter], dSae);
          await assertClose(gradient, auto.grads[parameter], 2e-4, parameter);
        }
      }
    },
  );
}

eachBackend("Rows in use are named once, and what has the value 0 uses none", async () => {
  const codes = codesOf();
  const { rows, slots } = await usedRows(codes, dSae);
  const [found, places] = [await rows.data(), await slots.data()];
  const [indices, values] = [await codes.indices.data(), await codes.values.data()];
  assertEquals(new Set(found).size, found.length);
  indices.forEach((feature, i) => values[i] !== 0 && assertEquals(found[places[i]], feature));
  const active = new Set(indices.filter((_, i) => values[i] !== 0));
  assertEquals(new Set(found), active);

  const silent = { indices: codes.indices, values: tf.zerosLike(codes.values) };
  const used = await usedRows(silent, dSae);
  const { grads } = nfmRowLoss(weightsOf(both), silent, target(), { used });
  await assertClose(whole(grads.V, dSae), tf.zeros([dSae, K]), 0);
});

eachBackend("Finite differences agree with the gradients of the model", async () => {
  for (const shape of [both, { ...both, head: "relu" as const }]) {
    const codes = codesOf();
    const weights = weightsOf(shape);
    const { grads } = nfmLoss(weights, codes, target());
    for (const [name, tensor] of Object.entries(weights) as [string, tf.Tensor][]) {
      const direction = new Rng(3, name).normals(tensor.size, 1);
      const lossAt = async (h: number) => {
        const moved = tf.add(tensor, tf.mul(tf.tensor(direction, tensor.shape as [number]), h));
        const step = nfmLoss({ ...weights, [name]: moved }, codes, target());
        return (await step.scalars.loss.data())[0];
      };
      const h = 1e-3;
      const numeric = (await lossAt(h) - await lossAt(-h)) / (2 * h);
      const gradient = await grads[name].data<"float32">();
      const exact = gradient.reduce((all, g, i) => all + g * direction[i], 0);
      assertAlmostEquals(numeric, exact, 1e-2 * Math.max(1, Math.abs(exact)), name);
    }
  }
});

eachBackend("The pieces add up to the prediction, in the units of the residual", async () => {
  const codes = codesOf();
  for (const shape of shapes) {
    const nfm = new Nfm(shape, weightsOf(shape), { scales: { code: 1.7, target: 0.3 } });
    const { linear, bilinear, interaction } = nfm.pieces(codes);
    await assertClose(nfm.predict(codes), tf.add(linear, interaction), 1e-5);
    assertEquals(bilinear.shape, [tokens, shape.K]);
    // Without pairs there is no interaction; without linear weights the linear piece is the bias.
    const isZero = (await tf.max(tf.abs(interaction)).data())[0] === 0;
    assertEquals(isZero, shape.parts === "linear");
    if (shape.parts === "interaction") {
      const bias = tf.mul(tf.tile(tf.expandDims(nfm.weights.b, 0), [tokens, 1]), 0.3);
      await assertClose(linear, bias, 1e-6);
    }
  }
});

eachBackend("A saved model predicts the same bytes when loaded", async () => {
  const dir = await Deno.makeTempDir();
  const codes = codesOf();
  for (const shape of shapes) {
    const nfm = new Nfm(shape, weightsOf(shape), { scales: { code: 1.7, target: 0.3 } });
    await nfm.save(dir);
    const loaded = await Nfm.load(dir);
    assertEquals([loaded.shape, loaded.scales], [shape, nfm.scales]);
    await assertClose(loaded.predict(codes), nfm.predict(codes), 0);
  }
  const path = `${dir}/nfm_cfg.json`;
  const written = JSON.parse(await Deno.readTextFile(path));
  const fields = ["parts", "dSae", "dOut", "K", "head", "topN", "scales", "metadata"];
  assertEquals(Object.keys(written), fields);
  const cfg = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify({ ...cfg, K: 3 }));
  await assertRejects(() => Nfm.load(dir), Error, "its V has shape [8,4]");
  await Deno.remove(dir, { recursive: true });
});

/** Runs something and gives the size of the largest tensor and of all, in elements. */
function tensorSizes(fn: () => void): { largest: number; total: number } {
  const engine = tf.engine() as unknown as { trackTensor(t: tf.Tensor, backend: unknown): void };
  const track = engine.trackTensor;
  const sizes: number[] = [];
  engine.trackTensor = function (tensor, backend) {
    sizes.push(tensor.size);
    track.call(this, tensor, backend);
  };
  try {
    fn();
  } finally {
    engine.trackTensor = track;
  }
  return { largest: Math.max(...sizes), total: sizes.reduce((a, b) => a + b) };
}

eachBackend("No tensor of a step has features times K elements a token", () => {
  const big = { tokens: 32, n: 2, dSae: 100, K: 24, dOut: 3 };
  const sizesAt = (features: number) => {
    const rng = new Rng(5, "big");
    const codes = {
      indices: tf.tensor2d(
        Int32Array.from({ length: big.tokens * big.n }, () => rng.integer(features)),
        [big.tokens, big.n],
        "int32",
      ),
      values: tf.ones<tf.Rank.R2>([big.tokens, big.n]),
    };
    const shape: NfmShape = { ...both, dSae: features, dOut: big.dOut, K: big.K };
    const weights = weightsOf(shape);
    const r = tf.zeros<tf.Rank.R2>([big.tokens, big.dOut]);
    return (["dense", "sparse"] as const).map((path) =>
      tf.tidy(() => tensorSizes(() => void nfmLoss(weights, codes, r, { path })))
    );
  };
  const [dense, sparse] = sizesAt(big.dSae);
  // The largest are parameters [dSae, K] and, on the dense path, codes [tokens, dSae].
  assertEquals(dense.largest, Math.max(big.dSae * big.K, big.tokens * big.dSae));
  assertEquals(sparse.largest, big.dSae * big.K);
  // Four times the features: what grows on the sparse path is of the parameters' size only.
  const [, wider] = sizesAt(4 * big.dSae);
  assertEquals(wider.largest, 4 * big.dSae * big.K);
  const parametersGrow = 3 * big.dSae * (big.K + big.dOut);
  assert(wider.total - sparse.total <= 2 * parametersGrow, `${sparse.total} to ${wider.total}`);
});

eachBackend("No tensor of a step by rows grows with the number of features", async () => {
  const [tokens, n] = [16, 3];
  const sizesAt = async (features: number) => {
    // The same ten features, spread over all of them.
    const rng = new Rng(6);
    const indices = Int32Array.from(
      { length: tokens * n },
      () => rng.integer(10) * (features / 10),
    );
    const codes = {
      indices: tf.tensor2d(indices, [tokens, n], "int32"),
      values: tf.ones<tf.Rank.R2>([tokens, n]),
    };
    const weights = weightsOf({ ...both, dSae: features });
    const used = await usedRows(codes, features);
    const r = tf.zeros<tf.Rank.R2>([tokens, dOut]);
    return tensorSizes(() => void tf.tidy(() => void nfmRowLoss(weights, codes, r, { used })));
  };
  assertEquals(await sizesAt(1000), await sizesAt(100));
});

eachBackend("A step leaves only what it returns", async () => {
  const [codes, weights, r] = [codesOf(), weightsOf(both), target()];
  const before = tf.memory().numTensors;
  const { grads, scalars } = nfmLoss(weights, codes, r);
  tf.dispose([grads, scalars]);
  const used = await usedRows(codes, dSae);
  tf.dispose([nfmRowLoss(weights, codes, r, { used }) as unknown as tf.TensorContainer, {
    ...used,
  }]);
  const nfm = new Nfm(both, weights);
  tf.dispose(nfm.predict(codes));
  tf.dispose(Object.values(nfm.pieces(codes)));
  assertEquals(tf.memory().numTensors, before);
});

Deno.test("Parameters are counted by part, the K² of the ReLU head included", () => {
  const shape = { parts: "both", head: "relu", dSae: 7, dOut: 5, K: 3 } as const;
  assertEquals(parameterCount(shape), {
    linear: 35,
    embeddings: 21,
    head: 9 + 3 + 15,
    bias: 5,
    total: 35 + 21 + 27 + 5,
  });
  for (const shape of shapes) {
    const sizes = Object.values(weightShapes(shape)).map((size) => size.reduce((a, b) => a * b));
    assertEquals(parameterCount(shape).total, sizes.reduce((a, b) => a + b));
  }
});

eachBackend("An impossible model is refused, naming the value", () => {
  const make = (change: Partial<NfmShape>) => () =>
    new Nfm({ ...both, ...change }, weightsOf(both));
  assertThrows(make({ K: 0 }), RangeError, "K = 0");
  assertThrows(make({ topN: 9 }), RangeError, "topN = 9 active features of 8");
  assertThrows(make({ parts: "pairs" as "both" }), RangeError, 'parts "pairs"');
  assertThrows(make({ head: "mlp" as "relu" }), RangeError, 'head "mlp"');
  assertThrows(make({ head: "relu" }), RangeError, "W1 missing");
  assertThrows(make({ dSae: 9 }), RangeError, "W of shape [8,5]");
});

eachBackend(
  "A step over all features is the same where they are many and where they are few",
  async () => {
    // More features for each active one than are multiplied densely: the last of them are never used.
    const many = 50 * n;
    for (const head of ["linear", "relu"] as const) {
      const few = weightsOf({ ...both, head });
      const wide = Object.fromEntries(
        Object.entries(few).map(([name, w]) => {
          if (name !== "W" && name !== "V") return [name, w];
          return [name, tf.pad(w as tf.Tensor2D, [[0, many - dSae], [0, 0]])];
        }),
      ) as unknown as NfmWeights;
      const keep = tf.tensor2d(new Rng(4).normals(tokens * K, 1), [tokens, K]);
      const expected = nfmLoss(few, codesOf(), target(), { keep, path: "dense" });
      const found = nfmLoss(wide, codesOf(), target(), { keep });
      await assertClose(found.scalars.loss, expected.scalars.loss, 1e-5);
      assertEquals(Object.keys(found.grads).sort(), Object.keys(expected.grads).sort());
      for (const [name, gradient] of Object.entries(found.grads)) {
        const byRow = name === "W" || name === "V";
        const used = byRow ? tf.slice(gradient as tf.Tensor2D, 0, dSae) : gradient;
        await assertClose(used, expected.grads[name], 2e-4, name);
        if (byRow) {
          const rest = tf.slice(gradient as tf.Tensor2D, dSae);
          await assertClose(rest, tf.zerosLike(rest), 0, name);
        }
      }
    }
  },
);
