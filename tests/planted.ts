import type { ActivationReader, SplitName } from "../lib/dictionary/mod.ts";
import { Rng, tf } from "../lib/tensor/mod.ts";

/** Activations in memory, with the shuffling of a store: a permutation an epoch. */
export class MemoryStore implements ActivationReader {
  readonly manifest: unknown;
  readonly normalizer = null;

  constructor(
    readonly dModel: number,
    /** Rows of each split, `[tokens · dModel]`, and the document of each token. */
    readonly splits: Record<SplitName, { rows: Float32Array; document: Int32Array }>,
    name: unknown = "memory",
  ) {
    this.manifest = { name };
  }

  split(name: SplitName) {
    const { rows, document } = this.splits[name];
    const { dModel } = this;
    const tokens = document.length;
    const batch = (indices: ArrayLike<number>) => {
      const out = new Float32Array(indices.length * dModel);
      Array.from(
        indices,
        (token, i) => out.set(rows.subarray(token * dModel, (token + 1) * dModel), i * dModel),
      );
      return tf.tensor2d(out, [indices.length, dModel]);
    };
    return {
      tokens,
      document,
      batch,
      rows: (start: number, count: number) =>
        tf.tensor2d(rows.slice(start * dModel, (start + count) * dModel), [count, dModel]),
      shuffledBatch: (step: number, batchSize: number, seed: number) => {
        const perEpoch = Math.floor(tokens / batchSize);
        const order = new Rng(seed, "epoch", Math.floor(step / perEpoch)).permutation(tokens);
        const start = (step % perEpoch) * batchSize;
        return batch(order.subarray(start, start + batchSize));
      },
    };
  }
}

/** A store whose rows a function makes: 20 tokens a document, splits of the given sizes. */
export function memoryStore(
  dModel: number,
  sizes: Record<SplitName, number>,
  row: (rng: Rng) => ArrayLike<number>,
  seed = 0,
): MemoryStore {
  let document = 0;
  const make = (name: SplitName) => {
    const rng = new Rng(seed, "planted", name);
    const rows = new Float32Array(sizes[name] * dModel);
    const documents = new Int32Array(sizes[name]);
    for (let token = 0; token < sizes[name]; token++) {
      if (token % 20 === 0) document++;
      documents[token] = document;
      rows.set(row(rng), token * dModel);
    }
    return { rows, document: documents };
  };
  const splits = { train: make("train"), validation: make("validation"), test: make("test") };
  return new MemoryStore(dModel, splits, { sizes, seed, dModel });
}

/** Unit vectors in random directions. */
export function directions(count: number, dModel: number, seed: number): Float64Array[] {
  const rng = new Rng(seed, "directions");
  return Array.from({ length: count }, () => {
    const vector = Float64Array.from({ length: dModel }, () => rng.normal());
    const norm = Math.hypot(...vector);
    return vector.map((value) => value / norm);
  });
}
