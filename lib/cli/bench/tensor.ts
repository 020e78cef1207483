/**
 * Speed of tensor work: the matrix product that all else is compared with, Adam, sparse codes.
 *
 * @module
 */
import {
  Adam,
  bilinearPool,
  embeddingBag,
  Rng,
  scatterRows,
  type SparseCodes,
  tf,
  valueAndGrads,
} from "../../tensor/mod.ts";
import { formatNumber } from "../../display/mod.ts";
import { type BenchRow, finish, milliseconds, type Spread, time } from "./measure.ts";

/** Normal numbers. */
export const random = (shape: number[], std = 1): tf.Tensor =>
  tf.tensor(new Rng(0, ...shape).normals(shape.reduce((a, b) => a * b, 1), std), shape);

/** A square matrix, to time its product with itself at any moment. */
export class Square implements Disposable {
  readonly #a: tf.Tensor2D;

  /** @param n Rows and columns. */
  constructor(n: number) {
    this.#a = random([n, n]) as tf.Tensor2D;
  }

  /** The mean of some products. */
  async time(): Promise<{ ms: number; operations: number }> {
    const times = 4;
    const ms = await milliseconds(async () => {
      for (let i = 0; i < times; i++) await finish(tf.matMul(this.#a, this.#a));
    });
    return { ms: ms / times, operations: 2 * this.#a.shape[0] ** 3 };
  }

  [Symbol.dispose](): void {
    this.#a.dispose();
  }
}

/** The matrix product, n³. */
export async function benchProduct(n: number): Promise<BenchRow & { ms: Spread }> {
  const square = random([n, n]) as tf.Tensor2D;
  const row = await time(`matrix product, ${n}³`, () => tf.matMul(square, square), {
    rate: (ms) => `${formatNumber(2 * n ** 3 / ms / 1e6)} GFLOP/s`,
  });
  square.dispose();
  return row;
}

function randomCodes(tokens: number, k: number, features: number): SparseCodes {
  const rng = new Rng(1);
  const indices = Int32Array.from({ length: tokens * k }, () => rng.integer(features));
  const values = Float32Array.from({ length: tokens * k }, () => rng.uniform());
  return {
    indices: tf.tensor2d(indices, [tokens, k], "int32"),
    values: tf.tensor2d(values, [tokens, k]),
  };
}

/** Adam, fused and by tfjs. */
export async function benchAdam(): Promise<BenchRow[]> {
  const shape = [576, 16_384];
  const adam = new Adam({ w: random(shape, 0.01) });
  const plain = tf.variable(random(shape, 0.01));
  const reference = tf.train.adam(1e-3);
  const gradient = random(shape, 0.01);
  const fused = await time("Adam, 9.4 M parameters", () => {
    adam.apply({ w: tf.clone(gradient) }, 1e-3);
    return tf.clone(adam.values.w);
  }, { rate: (ms) => `${formatNumber(9.437 / ms)} G parameters/s` });
  const portable = await time("the same by tf.train.adam", () => {
    reference.applyGradients([{ name: plain.name, tensor: gradient }]);
    return tf.clone(plain);
  }, { rate: (ms) => `${formatNumber(ms / fused.ms.median)} × as long` });
  adam.dispose();
  reference.dispose();
  tf.dispose([plain, gradient]);
  return [fused, portable];
}

/** Sparse codes times matrices, and the pooling of factorization machines. */
export async function benchSparse(): Promise<BenchRow[]> {
  const [tokens, k, features, K] = [1000, 100, 50_000, 150];
  const codes = randomCodes(tokens, k, features);
  const V = random([features, K], 0.05) as tf.Tensor2D;
  const step = (pool: (V: tf.Tensor2D) => tf.Tensor2D) => () => {
    const { loss, grads } = valueAndGrads({ V }, ({ V }) => ({
      loss: tf.sum(pool(V as tf.Tensor2D)) as tf.Scalar,
    }));
    loss.dispose();
    return grads.V;
  };
  const shape = `${tokens} tokens, ${k} of ${features.toLocaleString("en")} features, K = ${K}`;
  const sparse = await time(
    `NFM pooling and gradient, ${shape}`,
    step((V) => bilinearPool(codes, V, { frozenCodes: true })),
    { rate: (ms) => `${formatNumber(tokens / ms * 1000)} tokens/s` },
  );
  const dense = await time(
    "the same with dense codes",
    step((V) =>
      tf.tidy(() => {
        const f = scatterRows(codes, features);
        const s = tf.square(tf.matMul(f, V));
        return tf.mul(0.5, tf.sub(s, tf.matMul(tf.square(f), tf.square(V)))) as tf.Tensor2D;
      })
    ),
    { repetitions: 3, rate: (ms) => `${formatNumber(ms / sparse.ms.median)} × as long` },
  );
  const W = random([features, 576], 0.05) as tf.Tensor2D;
  const linear = await time(
    `sparse codes times a matrix, ${tokens} × ${k} into 576`,
    () => embeddingBag(codes, W),
    { rate: (ms) => `${formatNumber(tokens / ms * 1000)} tokens/s` },
  );
  tf.dispose([codes.indices, codes.values, V, W]);
  return [sparse, dense, linear];
}
