import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { Rng, type StoredTensor, tf, valueAndGrads } from "../../lib/tensor/mod.ts";
import { type Batch, fit, type FitOptions } from "../../lib/training/mod.ts";
import { eachBackend } from "../backends.ts";
import { inScratch, namesBelow, withFullDisk } from "../files/scratch.ts";

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

eachBackend(
  "A loss that is not finite is named by its own step, however many are read together",
  async () => {
    const before = tf.memory().numTensors;
    for (const readEvery of [1, 4, 100]) {
      const options = regression(20);
      await assertRejects(
        () =>
          fit({
            ...options,
            readEvery,
            loss: async (step, params, batch) => {
              const result = await options.loss(step, params, batch);
              if (step !== 6) return result;
              result.scalars.loss.dispose();
              return { ...result, scalars: { loss: tf.scalar(Infinity) } };
            },
          }),
        Error,
        "The loss is Infinity at step 7: its activations are finite, so lower the learningRate",
      );
    }
    assertEquals(tf.memory().numTensors, before);
  },
);

eachBackend("Neither how many numbers are read together nor other runs change a run", async () => {
  const runs = await Promise.all([1, 7, 100].map((readEvery) =>
    fit({
      ...regression(20),
      every: 3,
      readEvery,
    })
  ));
  const states = await Promise.all(runs.map(({ adam }) => adam.state()));
  assertEquals(states[1], states[0]);
  assertEquals(states[2], states[0]);
  assertEquals(runs[1].history, runs[0].history);
  assertEquals(runs[2].history, runs[0].history);
  assertEquals(runs[0].history.map(({ step }) => step), [3, 6, 9, 12, 15, 18, 20]);
  for (const { adam } of runs) adam.dispose();
});

eachBackend("A batch that leaves a tensor behind is an error too", async () => {
  const options = regression(5);
  const leaked: tf.Tensor[] = [];
  await assertRejects(
    () =>
      fit({
        ...options,
        batch: (step) => {
          if (step === 2) leaked.push(tf.scalar(1), tf.scalar(2));
          return options.batch(step);
        },
      }),
    Error,
    "Step 3 left 2 tensors behind",
  );
  tf.dispose(leaked);
});

eachBackend(
  "Clipping bounds the joint norm of the gradients and keeps their direction",
  async () => {
    // The gradient of a·u + b·v is (u, v) = (3, 4, 12), of norm 13; one plain step of Adam does not
    // see a factor, so its first moment is looked at.
    const moments = async (clipNorm?: number) => {
      const { adam, history } = await fit({
        label: "Clipped",
        schedule: { learningRate: 1, steps: 1 },
        clipNorm,
        parameters: () => ({ a: tf.tensor1d([0, 0]), b: tf.tensor1d([0]) }),
        batch: () => ({ u: tf.tensor1d([3, 4]), v: tf.tensor1d([12]) }),
        loss: (_, params, { u, v }) => {
          const { loss, grads } = valueAndGrads(params, ({ a, b }) => ({
            loss: tf.add(tf.sum(tf.mul(a, u)), tf.sum(tf.mul(b, v))) as tf.Scalar,
          }));
          return { grads, scalars: { loss } };
        },
      });
      const state = await adam.state();
      adam.dispose();
      return { grads: [...state["m/a"].data, ...state["m/b"].data].map((m) => m / 0.1), history };
    };
    const { grads, history } = await moments(6.5);
    [1.5, 2, 6].forEach((value, i) => assertAlmostEquals(grads[i], value, 1e-5));
    assertAlmostEquals(history[0].gradNorm, 13, 1e-5);
    (await moments(14)).grads.forEach((g, i) => assertAlmostEquals(g, [3, 4, 12][i], 1e-5));
    (await moments()).grads.forEach((g, i) => assertAlmostEquals(g, [3, 4, 12][i], 1e-5));
  },
);

/** A run whose evaluations, every second step, give these numbers. */
function evaluated(values: number[]): FitOptions<{ x: tf.Tensor2D; y: tf.Tensor2D }> {
  return {
    ...regression(2 * values.length),
    evaluateEvery: 2,
    evaluate: (_, step) => Promise.resolve({ held: values[step / 2 - 1] }),
  };
}

const falls = [5, 4, 3, 3.5, 2.95, 3.2, 1, 0];

eachBackend("A run ends when held-out numbers no longer improve", async () => {
  const cases: [number, number | undefined, number, boolean, number][] = [
    // Patience, minDelta, steps done, ended early, step of the best.
    [1, undefined, 8, true, 6],
    [2, undefined, 16, false, 16],
    [2, 0.1, 10, true, 6],
    [3, 0.1, 12, true, 6],
    [4, 0.1, 16, false, 16],
  ];
  for (const [patience, minDelta, steps, endedEarly, bestStep] of cases) {
    const run = await fit({
      ...evaluated(falls),
      earlyStop: { metric: "held", patience, minDelta },
    });
    assertEquals([run.steps, run.endedEarly, run.stopped], [steps, endedEarly, false]);
    assertEquals(run.best, { step: bestStep, value: falls[bestStep / 2 - 1] });
    run.adam.dispose();
  }
  const rises = await fit({
    ...evaluated([1, 2, 3, 2, 1, 9]),
    earlyStop: { metric: "held", patience: 2, goal: "max" },
  });
  assertEquals([rises.steps, rises.best], [10, { step: 6, value: 3 }]);
  rises.adam.dispose();
});

eachBackend("The parameters of the best evaluation are kept, through a resume too", async () => {
  await inScratch(async (dir) => {
    const before = tf.memory().numTensors;
    const options: ReturnType<typeof evaluated> = {
      ...evaluated(falls),
      earlyStop: { metric: "held", patience: 2, minDelta: 0.1, keepBest: true },
    };
    const sixth = await fit({ ...options, earlyStop: undefined, ...abortsAt(6) });
    const expected = await sixth.adam.values.w.data();
    const whole = await fit(options);
    assertEquals([whole.steps, whole.best?.step], [10, 6]);
    assertEquals(await whole.adam.values.w.data(), expected);

    // Stopped after the best evaluation, gone on from the file, and asked once more when it is over.
    const checkpoint = { dir, config: {} };
    const stop = abortsAt(9);
    (await fit({ ...options, ...stop, checkpoint })).adam.dispose();
    for (let again = 0; again < 2; again++) {
      const { adam, steps, endedEarly } = await fit({ ...options, checkpoint });
      assertEquals([steps, endedEarly], [10, true]);
      assertEquals(await adam.values.w.data(), expected);
      adam.dispose();
    }
    sixth.adam.dispose();
    whole.adam.dispose();
    assertEquals(tf.memory().numTensors, before);
  });
});

eachBackend("Early stopping that could never happen is refused before any work", async () => {
  const earlyStop = { metric: "held", patience: 2 };
  const options = regression(6);
  const cases: [Partial<typeof options>, string][] = [
    [{ earlyStop }, 'Cannot stop early by "held" without evaluations'],
    [
      { ...evaluated([1, 2, 3]), earlyStop: { ...earlyStop, patience: 0 } },
      "a patience of at least",
    ],
    [{ ...evaluated([1, 2, 3]), earlyStop: { ...earlyStop, minDelta: -1 } }, "minDelta = -1"],
    [{ clipNorm: 0 }, "a norm of 0"],
    [{ readEvery: 0 }, "readEvery = 0"],
    [{ evaluateEvery: 1.5 }, "evaluateEvery = 1.5"],
  ];
  for (const [change, message] of cases) {
    await assertRejects(() => fit({ ...options, ...change }), RangeError, message);
  }
  await assertRejects(
    () => fit({ ...evaluated([1, 2, 3]), earlyStop: { ...earlyStop, metric: "fvu" } }),
    RangeError,
    'Cannot stop by "fvu": an evaluation gives "loss", "held"',
  );
});

eachBackend("A disk that fills up during a checkpoint leaves the one before", async () => {
  await inScratch(async (dir) => {
    const checkpoint = { dir, config: { run: 1 }, every: 5 };
    const options = { ...regression(20), checkpoint };
    // Room for the first checkpoint and a part of the second one.
    const probe = `${dir}/probe`;
    await weights({ ...regression(5), checkpoint: { ...checkpoint, dir: probe } });
    const { size } = await Deno.stat(`${probe}/checkpoint.safetensors`);
    await withFullDisk(size + 300, async () => {
      await assertRejects(
        () => fit(options),
        Error,
        "the disk is full after",
      );
    });
    assertEquals(namesBelow(dir).filter((name) => !name.includes("probe")), [
      "checkpoint.safetensors",
    ]);
    const steps: number[] = [];
    const resumed = await weights({ ...options, onStep: ({ step }) => steps.push(step) });
    assertEquals(steps[0], 6);
    assertEquals(resumed, await weights(regression(20)));
  });
});

eachBackend("What a killed process left half-written is removed by the next run", async () => {
  await inScratch(async (dir) => {
    await Deno.writeTextFile(`${dir}/.checkpoint.safetensors.1-2.tmp`, "half");
    await weights({ ...regression(5), checkpoint: { dir, config: {} } });
    assertEquals(namesBelow(dir), ["checkpoint.safetensors"]);
  });
});

/** A signal that a run's own steps fire. */
function abortsAt(last: number) {
  const stop = new AbortController();
  return {
    signal: stop.signal,
    onStep: ({ step }: { step: number }) => step === last && stop.abort(),
  };
}
