/**
 * Several trainings on one stream of batches: each batch is read once and given to all of them.
 *
 * The trainings take turns, one batch at a time, and know nothing of each other, so each gives the
 * bytes that it gives alone. All of them are in memory at once.
 *
 * @module
 */
import { tf } from "../tensor/mod.ts";
import type { ActivationReader } from "./reader.ts";

/** A batch that a training waits for. */
interface Request {
  readonly run: number;
  /** Tells apart what is read. */
  readonly key: string;
  /** Tokens that were drawn before it. */
  readonly place: number;
  readonly read: () => tf.Tensor2D | Promise<tf.Tensor2D>;
  readonly resolve: (x: tf.Tensor2D) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Trains several configurations in one pass over the training split.
 *
 * Trainings with the same `batchSize` and `seed` share every batch; others run beside them and read
 * their own. They may have different lengths, be of different kinds, and go on from checkpoints at
 * different steps: those ahead wait.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, Rng, trainSae, trainSweep } from "interlens";
 *
 * await openDevice();
 * const rng = new Rng(0);
 * const split = { rows: rng.normals(800, 1), document: Int32Array.from({ length: 200 }, (_, i) => i % 20) };
 * const store = memoryStore(4, { train: split, validation: split, test: split });
 * const results = await trainSweep(
 *   store,
 *   [1, 2, 4].map((k) => (store) =>
 *     trainSae(store, { architecture: "topk", dSae: 16, k, steps: 30, batchSize: 64 }, {
 *       cache: false,
 *     })
 *   ),
 * );
 * assertEquals(results.map(({ sae }) => sae.config.k), [1, 2, 4]);
 * assert(results[2].metrics.fvu < results[0].metrics.fvu);
 * for (const { sae } of results) sae.dispose();
 * ```
 *
 * @param store Activations.
 * @param runs Trainings: each trains on the store that it is given, and does not wait for another.
 * @returns What they return, in their order.
 * @throws The first error of one of them, when all have ended; cached results of the others stay.
 */
export async function trainSweep<T>(
  store: ActivationReader,
  runs: readonly ((store: ActivationReader) => Promise<T>)[],
): Promise<T[]> {
  const waiting: Request[] = [];
  /** Resolved when a training waits for a batch or has ended. */
  const pauses = runs.map(() => Promise.withResolvers<void>());
  const shared = (run: number, reader: ActivationReader, name: string): ActivationReader => ({
    ...viewOf(reader),
    split: (split) => {
      const inner = reader.split(split);
      if (split !== "train") return inner;
      return {
        tokens: inner.tokens,
        // A getter: a store on disk reads this column when it is asked for.
        get document() {
          return inner.document;
        },
        rows: (start, count) => inner.rows(start, count),
        order: inner.order,
        shuffledBatch: (step, batchSize, seed) =>
          new Promise((resolve, reject) => {
            waiting.push({
              run,
              key: `${name}/${step}/${batchSize}/${seed}`,
              place: step * batchSize,
              read: () => inner.shuffledBatch(step, batchSize, seed),
              resolve,
              reject,
            });
            pauses[run].resolve();
          }),
      };
    },
    ...targetsOf(reader, (target) => shared(run, target, `${name} target`)),
  });

  const ended: Promise<T>[] = [];
  for (const [run, train] of runs.entries()) {
    const result = Promise.resolve(shared(run, store, "store")).then(train);
    ended.push(result);
    result.then(() => pauses[run].resolve(), () => pauses[run].resolve());
    await pauses[run].promise;
  }
  while (waiting.length > 0) {
    const { key, read } = waiting.reduce((a, b) => b.place < a.place ? b : a);
    const group = waiting.filter((request) => request.key === key);
    waiting.splice(0, Infinity, ...waiting.filter((request) => request.key !== key));
    let x: tf.Tensor2D | undefined;
    let failure: unknown;
    try {
      x = await read();
    } catch (error) {
      failure = error;
    }
    for (const [i, { run, resolve, reject }] of group.entries()) {
      pauses[run] = Promise.withResolvers();
      if (!x) reject(failure);
      else resolve(i === group.length - 1 ? x : tf.clone(x));
      await pauses[run].promise;
    }
  }
  const results = await Promise.allSettled(ended);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<T>).value);
}

function viewOf(reader: ActivationReader): Omit<ActivationReader, "split"> {
  const { dModel, manifest, normalizer, hook, model } = reader;
  return { dModel, manifest, normalizer, hook, model };
}

/** A store of pairs reads its targets from a store of its own. */
function targetsOf(
  reader: ActivationReader,
  view: (target: ActivationReader) => ActivationReader,
): { target?: ActivationReader } {
  const { target } = reader as { target?: ActivationReader };
  return target ? { target: view(target) } : {};
}
