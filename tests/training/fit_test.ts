import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { Rng, type StoredTensor, tf, valueAndGrads } from "../../lib/tensor/mod.ts";
import { type Batch, fit, type FitOptions } from "../../lib/training/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch } from "../files/scratch.ts";

/** Linear regression on data that a seed and a step name. */
function regression(steps: number): FitOptions<{ x: tf.Tensor2D; y: tf.Tensor2D }> {
  return {
    label: "Regression",
    schedule: { learningRate: 0.05, steps, warmupSteps: 2, decaySteps: 3 },
    every: 1,
    parameters: () => ({ w: tf.tensor2d(new Rng(1).normals(6, 1), [3, 2]) }),
    batch: (step) => {
      const x = tf.tensor2d(new Rng(2, "batch", step).normals(24, 1), [8, 3]);
      return { x, y: tf.tidy(() => tf.matMul(x, tf.tensor2d([[1, 0], [0, 2], [-1, 1]]))) };
    },
    loss: (_, params, { x, y }) => {
      const { loss, grads } = valueAndGrads(params, ({ w }) => ({
        loss: tf.mean(tf.squaredDifference(tf.matMul(x, w as tf.Tensor2D), y)) as tf.Scalar,
      }));
      return { grads, scalars: { loss } };
    },
  };
}

async function weights<B extends Batch>(
  options: FitOptions<B>,
): Promise<Record<string, StoredTensor>> {
  const { adam } = await fit(options);
  const state = await adam.state();
  adam.dispose();
  return state;
}

eachBackend("Fit reduces the loss and keeps a row a step", async () => {
  const { adam, history, steps, stopped } = await fit(regression(100));
  assertEquals([steps, stopped, history.length], [100, false, 100]);
  assert(history[99].loss < 0.02 * history[0].loss, `${history[0].loss} to ${history[99].loss}`);
  adam.dispose();
});

eachBackend("A run that stops and resumes ends with the bytes of one that did not", async () => {
  await inScratch(async (dir) => {
    const whole = await weights(regression(20));
    const stop = new AbortController();
    // The trainer's own state is part of the run: it counts the steps it saw.
    const counter = () => {
      let seen = 0;
      return {
        loss: (...args: Parameters<ReturnType<typeof regression>["loss"]>) => {
          seen++;
          return regression(20).loss(...args);
        },
        state: {
          save: () => ({
            seen: { dtype: "F32" as const, shape: [1], data: Float32Array.of(seen) },
          }),
          restore: (stored: Record<string, StoredTensor>) => void (seen = stored.seen.data[0]),
        },
        seen: () => seen,
      };
    };
    const checkpoint = { dir, config: { run: 1 } };
    const first = counter();
    const half = await fit({
      ...regression(20),
      ...first,
      checkpoint,
      signal: stop.signal,
      onStep: ({ step }) => step === 10 && stop.abort(),
    });
    assertEquals([half.steps, half.stopped], [10, true]);
    half.adam.dispose();

    const second = counter();
    const resumed = await fit({ ...regression(20), ...second, checkpoint });
    assertEquals([resumed.steps, resumed.stopped, second.seen()], [20, false, 20]);
    assertEquals(
      resumed.history.map(({ step }) => step),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
    assertEquals(await resumed.adam.state(), whole);
    resumed.adam.dispose();
  });
});

eachBackend(
  "A loss that is not finite stops with its step, and the checkpoint is kept",
  async () => {
    await inScratch(async (dir) => {
      const before = tf.memory().numTensors;
      const options = regression(20);
      const checkpoint = { dir, config: { run: 1 }, every: 5 };
      const poisoned: typeof options = {
        ...options,
        checkpoint,
        batch: async (step) => {
          const batch = await options.batch(step);
          if (step !== 7) return batch;
          batch.x.dispose();
          return { ...batch, x: tf.fill([8, 3], NaN) as tf.Tensor2D };
        },
      };
      await assertRejects(
        () => fit(poisoned),
        Error,
        "step 8: its activations have values that are not finite; the checkpoint of step 5 is kept",
      );
      assertEquals(tf.memory().numTensors, before);
      // With good data the run goes on from step 5 and ends where an undisturbed one ends.
      assertEquals(await weights({ ...options, checkpoint }), await weights(options));
    });
  },
);

eachBackend("A step that leaves a tensor behind is an error that names the step", async () => {
  const options = regression(5);
  let leaked: tf.Tensor | undefined;
  await assertRejects(
    () =>
      fit({
        ...options,
        loss: (step, params, batch) => {
          if (step === 3) leaked = tf.scalar(1);
          return options.loss(step, params, batch);
        },
      }),
    Error,
    "Step 4 left 1 tensors behind",
  );
  leaked?.dispose();
});

eachBackend("Fit evaluates when asked, and the numbers stand in the history", async () => {
  const { adam, history } = await fit({
    ...regression(6),
    every: 100,
    evaluateEvery: 2,
    evaluate: async ({ w }) => ({ first: (await w.data())[0] }),
  });
  assertEquals(history.map(({ step }) => step), [2, 4, 6]);
  assert(history.every(({ first }) => Number.isFinite(first)));
  adam.dispose();
});

eachBackend(
  "A checkpoint of another configuration is refused with the field that differs",
  async () => {
    await inScratch(async (dir) => {
      await weights({ ...regression(6), checkpoint: { dir, config: { seed: 0, k: { a: 1 } } } });
      await assertRejects(
        () => fit({ ...regression(6), checkpoint: { dir, config: { seed: 0, k: { a: 2 } } } }),
        Error,
        "differs in k.a (1, wanted 2)",
      );
      await Deno.writeTextFile(join(dir, "checkpoint.safetensors"), "not a checkpoint");
      await assertRejects(
        () => fit({ ...regression(6), checkpoint: { dir, config: { seed: 0, k: { a: 1 } } } }),
        Error,
        "checkpoint.safetensors",
      );
    });
  },
);
