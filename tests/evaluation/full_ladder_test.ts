import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { memoryStore, Sae } from "../../lib/dictionary/mod.ts";
import { affineSkip, fullLadder } from "../../lib/evaluation/mod.ts";
import { parameterCount } from "../../lib/interaction/mod.ts";
import { openDevice, Rng, tf } from "../../lib/tensor/mod.ts";

await openDevice();

/** x = (a, b, a·b or 0, c), of which the dictionary knows a and b; c is in no code. */
function world(product: boolean) {
  const draw = (seed: number) => {
    const rng = new Rng(seed, "ladder world");
    const rows = Array.from({ length: 800 }, () => {
      const [a, b] = [2 * rng.uniform(), 2 * rng.uniform()];
      return [a, b, product ? a * b : 0.1 * rng.normal(), 1 + rng.normal()];
    });
    return {
      rows: Float32Array.from(rows.flat()),
      document: Int32Array.from(rows, (_, i) => i >> 4),
    };
  };
  const splits = { train: draw(0), validation: draw(1), test: draw(2) };
  const W_dec = tf.tensor2d([[1, 0, 0, 0], [0, 1, 0, 0]]);
  const sae = new Sae({ architecture: "topk", dIn: 4, dSae: 2, k: 2 }, {
    W_enc: tf.transpose(W_dec),
    b_enc: tf.zeros([2]),
    W_dec,
    b_dec: tf.tensor1d([0, 0, product ? 1 : 0, 1]),
  });
  return { store: memoryStore(4, splits, { ladder: product }), sae };
}

const nfm = { K: 4, steps: 150, batchSize: 100, learningRate: 3e-2 };

Deno.test("Every rung of the ladder removes what it is there for, on documents none has seen", async () => {
  const { store, sae } = world(true);
  const before = tf.memory().numTensors;
  const ladder = await fullLadder(store, sae, {
    nfm,
    secondary: {
      ...{ architecture: "standard", dSae: 8, l1Coefficient: 0.1 },
      ...{ steps: 200, batchSize: 100, learningRate: 1e-2 },
    },
    wider: { steps: 20, batchSize: 100, learningRate: 1e-2 },
    split: "test",
    cache: false,
  });
  assertEquals(tf.memory().numTensors, before);
  const { rows, gain, tokens } = ladder;
  assertEquals(tokens, 800);
  assertEquals(
    rows.map(({ rung }) => rung),
    ["R0", "R1", "R2", "R3", "R4", "R5", "R5", "R5", "R5"],
  );
  const [R0, R1, R2, R3, R4, skip, secondary, asWide, wider] = rows;
  // The dictionary's own mean of a·b is 1, so an affine map has most of what is linear in it.
  assert(R1.reduction.low > 0.1, JSON.stringify(R1.reduction));
  assertEquals(gain, R3.beyondR2);
  assert(gain.low > 0, JSON.stringify(gain));
  assert(R4.beyondR2.low > 0, JSON.stringify(R4.beyondR2));
  // c is in x and in no function of the codes.
  assert(skip.beyondR2.low > 5 * R3.beyondR2.high, JSON.stringify([skip.beyondR2, R3.beyondR2]));
  assert(secondary.reduction.low > 0.2, JSON.stringify(secondary.reduction));
  assertEquals([R0.parameters, asWide.parameters], [0, 0]);
  const pairs = parameterCount({ parts: "both", head: "linear", K: 4, dSae: 2, dOut: 4 }).total;
  assertEquals(R3.parameters - R2.parameters, pairs);
  assert(Math.abs(R4.parameters - R3.parameters) <= 7, `${R4.parameters} and ${R3.parameters}`);
  assert(Math.abs(wider.parameters - pairs) <= 9, `${wider.parameters} and ${pairs}`);
  for (const { fvu, reduction } of rows) {
    assert(fvu.low <= fvu.estimate && fvu.estimate <= fvu.high);
    assertAlmostEquals(reduction.estimate, 1 - fvu.estimate / R0.fvu.estimate, 1e-9);
  }
});

Deno.test("Pairs gain nothing where there is no product", async () => {
  const { store, sae } = world(false);
  const { gain, rows } = await fullLadder(store, sae, { nfm, split: "test", cache: false });
  assertEquals(rows.length, 6);
  assert(gain.low <= 0 && gain.estimate < 0.002, JSON.stringify(gain));
});

Deno.test("An affine skip leaves what is orthogonal to x, also where columns differ a thousandfold", async () => {
  const rng = new Rng(0, "skip");
  const rows = Array.from({ length: 500 }, () => {
    const [a, b] = [1000 + 100 * rng.normal(), 0.1 * rng.normal()];
    return [a, b, a / 100 + 5 * b + 0.2 * rng.normal()];
  });
  const split = {
    rows: Float32Array.from(rows.flat()),
    document: Int32Array.from(rows, (_, i) => i % 10),
  };
  const store = memoryStore(3, { train: split, validation: split, test: split });
  const blind = (x: tf.Tensor2D) => tf.mul(x, tf.tensor1d([1, 1, 0])) as tf.Tensor2D;
  const before = tf.memory().numTensors;
  const { A, c } = await affineSkip(store, blind, { ridge: 1e-6 });
  const x = await store.split("test").rows(0, 500);
  const left = tf.tidy(() =>
    tf.sub(x, tf.addN([blind(x), tf.matMul(x, A), tf.tile(tf.reshape(c, [1, 3]), [500, 1])]))
  );
  const error = Math.max(...[...await left.data()].map(Math.abs));
  assert(error < 0.02, `${error}`);
  tf.dispose([A, c, x, left]);
  assertEquals(tf.memory().numTensors, before);
  await assertRejects(() => affineSkip(store, blind, { ridge: -1 }), RangeError, "ridge of -1");
});
