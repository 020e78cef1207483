import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  bilinearPool,
  embeddingBag,
  keepLargest,
  Rng,
  scatterRows,
  type SparseCodes,
  tf,
  topK,
  valueAndGrads,
} from "../../lib/tensor/mod.ts";
import { eachBackend } from "../backends.ts";

const TOKENS = 5, ACTIVE = 3, FEATURES = 7, COLUMNS = 4;

function problem() {
  const rng = new Rng(1);
  const indices = Array.from(
    { length: TOKENS },
    () => [...rng.permutation(FEATURES).slice(0, ACTIVE)],
  );
  // An unused entry: index 0, value 0.
  indices[1][2] = 0;
  const values = rng.normals(TOKENS * ACTIVE, 1);
  values[1 * ACTIVE + 2] = 0;
  return {
    codes: {
      indices: tf.tensor2d(indices, [TOKENS, ACTIVE], "int32"),
      values: tf.tensor2d(values, [TOKENS, ACTIVE]),
    },
    W: tf.tensor2d(rng.normals(FEATURES * COLUMNS, 1), [FEATURES, COLUMNS]),
    target: tf.tensor2d(rng.normals(TOKENS * COLUMNS, 1), [TOKENS, COLUMNS]),
  };
}

async function assertClose(
  actual: tf.Tensor,
  expected: tf.Tensor,
  tolerance = 1e-5,
) {
  assertEquals(actual.shape, expected.shape);
  const [a, b] = await Promise.all([actual.data(), expected.data()]);
  a.forEach((value, i) => assertAlmostEquals(value, b[i], tolerance * (1 + Math.abs(b[i]))));
}

/** ½((fV)² - f²V²) with dense codes, as the definition has it. */
function densePool(codes: SparseCodes, V: tf.Tensor2D): tf.Tensor2D {
  const f = scatterRows(codes, FEATURES);
  const squares = tf.matMul(tf.square(f), tf.square(V));
  return tf.mul(0.5, tf.sub(tf.square(tf.matMul(f, V)), squares));
}

eachBackend(
  "keepLargest() keeps entries in their places, and passes gradients to them",
  async () => {
    const x = tf.tensor3d([[[3, 0, 5, 4], [0, 0, 0, 1]]]);
    const g = tf.tensor3d([[[1, 2, 3, 4], [5, 6, 7, 8]]]);
    const { value, grad } = tf.valueAndGrad((x) => tf.mul(keepLargest(x, 2), g))(x);
    await assertClose(value, tf.tensor3d([[[0, 0, 15, 16], [0, 0, 0, 8]]]));
    // An entry that is 0 is not active, whether it is among the largest or not.
    await assertClose(grad, tf.tensor3d([[[0, 0, 3, 4], [0, 0, 0, 8]]]));
    assertThrows(() => keepLargest(x, 5), RangeError, "top 5 of 4");
  },
);

eachBackend("embeddingBag() equals the dense product", async () => {
  const { codes, W } = problem();
  await assertClose(
    embeddingBag(codes, W),
    tf.matMul(scatterRows(codes, FEATURES), W),
  );
});

eachBackend("bilinearPool() equals the dense form", async () => {
  const { codes, W } = problem();
  await assertClose(bilinearPool(codes, W), densePool(codes, W));
});

eachBackend(
  "bilinearPool() of one active feature is 0, of two their product",
  async () => {
    const V = tf.tensor2d([[1, -2], [3, 4], [0.5, 6]]);
    const one = {
      indices: tf.tensor2d([[2, 0]], [1, 2], "int32"),
      values: tf.tensor2d([[1.5, 0]]),
    };
    assertEquals([...await bilinearPool(one, V).data()], [0, 0]);
    const two = {
      indices: tf.tensor2d([[2, 0]], [1, 2], "int32"),
      values: tf.tensor2d([[1.5, 2]]),
    };
    // f_i f_j v_ik v_jk = 1.5 · 2 · {0.5 · 1, 6 · -2}.
    assertEquals([...await bilinearPool(two, V).data()], [1.5, -36]);
  },
);

for (const [name, op] of Object.entries({ embeddingBag, bilinearPool })) {
  eachBackend(
    `${name}() has the gradients of central differences`,
    async () => {
      const { codes, W, target } = problem();
      const loss = (values: tf.Tensor, W: tf.Tensor) =>
        tf.sum(
          tf.mul(
            op(
              { indices: codes.indices, values: values as tf.Tensor2D },
              W as tf.Tensor2D,
            ),
            target,
          ),
        ) as tf.Scalar;
      const { grads } = valueAndGrads(
        { values: codes.values, W },
        ({ values, W }) => ({ loss: loss(values, W) }),
      );
      // Both losses are at most quadratic in each single number, so central differences are exact
      // up to float32 rounding.
      const step = 0.25;
      for (
        const [parameter, at] of [["values", 4], ["values", 13], ["W", 9], [
          "W",
          26,
        ]] as const
      ) {
        const tensors = {
          values: codes.values as tf.Tensor,
          W: W as tf.Tensor,
        };
        const shape = tensors[parameter].shape;
        const start = await tensors[parameter].data();
        const losses = [];
        for (const sign of [1, -1]) {
          const moved = Float32Array.from(start);
          moved[at] += sign * step;
          const changed = { ...tensors, [parameter]: tf.tensor(moved, shape) };
          losses.push((await loss(changed.values, changed.W).data())[0]);
        }
        const expected = (losses[0] - losses[1]) / (2 * step);
        const actual = (await grads[parameter].data())[at];
        assertAlmostEquals(
          actual,
          expected,
          1e-4 * (1 + Math.abs(expected)),
          `${parameter}[${at}]`,
        );
      }
    },
  );

  eachBackend(
    `${name}() gives the same weight gradient with frozen codes`,
    async () => {
      const { codes, W, target } = problem();
      const gradient = (frozenCodes: boolean) =>
        valueAndGrads({ W }, ({ W }) => ({
          loss: tf.sum(
            tf.mul(op(codes, W as tf.Tensor2D, { frozenCodes }), target),
          ) as tf.Scalar,
        })).grads.W;
      await assertClose(gradient(true), gradient(false), 0);
    },
  );

  eachBackend(`${name}() leaves no tensor behind`, () => {
    const { codes, W } = problem();
    const before = tf.memory().numTensors;
    const { loss, grads } = valueAndGrads({ W }, ({ W }) => ({
      loss: tf.sum(op(codes, W as tf.Tensor2D)) as tf.Scalar,
    }));
    tf.dispose([loss, grads]);
    assertEquals(tf.memory().numTensors, before);
  });
}

eachBackend(
  "topK() keeps the largest entries and scatterRows() puts them back",
  async () => {
    const x = tf.tensor2d([[0.1, 5, -2, 4], [3, 2, 1, 0]]);
    const codes = topK(x, 2);
    assertEquals([...await codes.indices.data()], [1, 3, 0, 1]);
    assertEquals([...await scatterRows(codes, 4).data()], [
      0,
      5,
      0,
      4,
      3,
      2,
      0,
      0,
    ]);
  },
);

Deno.test("topK() refuses more active features than there are", () => {
  assertThrows(
    () => topK(tf.zeros([2, 4]), 5),
    RangeError,
    "top 5 of 4 features",
  );
  assertThrows(() => topK(tf.zeros([2, 4]), 0), RangeError, "k must be in 1…4");
});
