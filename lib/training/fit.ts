/**
 * The one training loop: Adam on a schedule, with a progress line, history,
 * checkpoints, exact resume and a Stop button.
 *
 * A trainer says how a batch is read and what its loss and gradients are; everything
 * else is the same for all. Batch and loss must be pure functions of the step, the
 * parameters and the trainer's stored state: then a run that was stopped and resumed
 * ends with the same bytes as one that was not.
 *
 * @module
 */
import { progress } from "../display/mod.ts";
import { Adam, type AdamOptions, type StoredTensor, tf } from "../tensor/mod.ts";
import { type HistoryRow, loadCheckpoint, saveCheckpoint } from "./checkpoint.ts";
import { learningRateAt, requireSchedule, type Schedule } from "./schedule.ts";
import { whileRunning } from "./stop.ts";

/** Parameters by name. */
export type Params = Record<string, tf.Tensor>;

/** What a step reads: a tensor, or several by name. */
export type Batch = tf.Tensor | Readonly<Record<string, tf.Tensor>>;

/** What one step computes; `fit` disposes of all of it. */
export interface StepResult {
  /** Gradients by parameter name. */
  grads: Params;
  /** What to report; `loss` must be finite. */
  scalars: { loss: tf.Scalar } & Record<string, tf.Scalar>;
}

/** State of a trainer that must survive a resume. */
export interface TrainerState {
  /** As it is now. */
  save(): Record<string, StoredTensor>;
  /** Back to what `save` gave. */
  restore(stored: Record<string, StoredTensor>): void;
}

/** Where and how often a run is kept. */
export interface CheckpointOptions {
  /** Folder of the checkpoint. */
  dir: string;
  /** Configuration, plain data: only a checkpoint of the same one is resumed. */
  config: unknown;
  /** Steps between checkpoints. Default 500; one is also written at a stop and at the end. */
  every?: number;
}

/** What is trained, and how. */
export interface FitOptions<B extends Batch> {
  /** Stands in front of the progress line. */
  label: string;
  /** Number of steps and their learning rates. */
  schedule: Schedule;
  /** Initial parameters; not called when a checkpoint is resumed. `fit` owns what it returns. */
  parameters: () => Params | Promise<Params>;
  /** Constants of Adam. */
  adam?: AdamOptions;
  /** The batch of a step; `fit` disposes of it. */
  batch: (step: number) => B | Promise<B>;
  /** Loss and gradients of a step. */
  loss: (step: number, params: Params, batch: B) => StepResult | Promise<StepResult>;
  /** Called after each update, for constraints on parameters. */
  afterUpdate?: (adam: Adam, step: number) => void;
  /** Tokens in a batch, for the rate in the progress line. */
  tokensPerStep?: number;
  /** Steps between rows of the history. Default: so that there are about 200 rows. */
  every?: number;
  /** Numbers to add to the history, for example on held-out documents. */
  evaluate?: (params: Params, step: number) => Promise<Record<string, number>>;
  /** Steps between evaluations. Default: never. */
  evaluateEvery?: number;
  /** State beside Adam's. */
  state?: TrainerState;
  /** Keep the run on disk. */
  checkpoint?: CheckpointOptions;
  /** Stops the run after the current step. */
  signal?: AbortSignal;
  /** Called after each step. */
  onStep?: (row: HistoryRow) => void;
}

/** What a run gives. */
export interface FitResult {
  /** Parameters and optimiser state; the caller disposes of it. */
  adam: Adam;
  /** Updates that were done in total, earlier runs included. */
  steps: number;
  /** True if the signal ended the run before its last step. */
  stopped: boolean;
  /** Numbers by step. */
  history: HistoryRow[];
}

/**
 * Trains.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { fit, openDevice, tf, valueAndGrads } from "interlens";
 *
 * await openDevice();
 * const { adam, steps, history } = await fit({
 *   label: "Find 3",
 *   schedule: { learningRate: 0.1, steps: 100 },
 *   parameters: () => ({ w: tf.tensor1d([0]) }),
 *   batch: () => tf.tensor1d([3]),
 *   loss: (_, params, target) => {
 *     const { loss, grads } = valueAndGrads(
 *       params,
 *       ({ w }) => ({ loss: tf.sum(tf.squaredDifference(w, target)) as tf.Scalar }),
 *     );
 *     return { grads, scalars: { loss } };
 *   },
 * });
 * assertEquals(steps, 100);
 * assert(history.at(-1)!.loss < 0.1);
 * adam.dispose();
 * ```
 *
 * @throws {RangeError} If the schedule is impossible; before any work.
 * @throws {Error} If the loss is not finite or a step leaves tensors behind, naming the step; if a
 * checkpoint of another configuration is in the way.
 */
export async function fit<B extends Batch>(
  options: FitOptions<B>,
): Promise<FitResult> {
  requireSchedule(options.schedule);
  const { signal } = options;
  return await whileRunning(signal, () => run(options));
}

async function run<B extends Batch>(options: FitOptions<B>): Promise<FitResult> {
  const { schedule, checkpoint, signal, state } = options;
  const { steps } = schedule;
  const every = options.every ?? Math.max(1, Math.floor(steps / 200));
  const checkpointEvery = checkpoint?.every ?? 500;

  const resumed = checkpoint && await loadCheckpoint(checkpoint.dir, checkpoint.config);
  const history: HistoryRow[] = resumed?.history ?? [];
  if (resumed) state?.restore(resumed.state);
  const adam = resumed
    ? Adam.restore(resumed.adam, resumed.step, options.adam)
    : new Adam(await options.parameters(), options.adam);
  let keptAt = adam.step;
  const keep = async () => {
    if (!checkpoint || keptAt === adam.step) return;
    await saveCheckpoint(checkpoint.dir, checkpoint.config, {
      step: adam.step,
      history,
      adam: await adam.state(),
      state: state?.save() ?? {},
    });
    keptAt = adam.step;
  };

  const line = progress(options.label, { total: steps, unit: "steps" });
  const clock = new Clock(adam.step);
  let tensors: number | undefined;
  let row: HistoryRow | undefined;
  try {
    while (adam.step < steps && !signal?.aborted) {
      const step = adam.step;
      const batch = await options.batch(step);
      const { grads, scalars } = await options.loss(step, adam.values, batch);
      const numbers = await readScalars(scalars);
      if (!Number.isFinite(numbers.loss)) {
        const cause = await allFinite(batch)
          ? "its activations are finite, so lower the learningRate"
          : "its activations have values that are not finite";
        tf.dispose(batch as tf.TensorContainer);
        tf.dispose(grads);
        throw new Error(
          `The loss is ${numbers.loss} at step ${step + 1}: ${cause}` +
            (checkpoint && keptAt > 0 ? `; the checkpoint of step ${keptAt} is kept` : ""),
        );
      }
      tf.dispose(batch as tf.TensorContainer);
      adam.apply(grads, learningRateAt(schedule, step));
      options.afterUpdate?.(adam, step);

      // Counted here, where nothing is being read: a leak of one tensor a step ends in an
      // out-of-memory error hours later.
      const now = tf.memory().numTensors;
      tensors ??= now;
      if (now !== tensors) {
        throw new Error(
          `Step ${step + 1} left ${
            now - tensors
          } tensors behind: dispose of what batch and loss make`,
        );
      }

      row = { step: adam.step, ...numbers };
      const evaluates = !!options.evaluateEvery && adam.step % options.evaluateEvery === 0;
      if (evaluates && options.evaluate) {
        Object.assign(row, await options.evaluate(adam.values, adam.step));
        tensors = undefined; // the parameters were read again, which counts as tensors
      }
      if (evaluates || adam.step % every === 0) history.push(row);
      options.onStep?.(row);
      if (adam.step % checkpointEvery === 0) {
        await keep();
        tensors = undefined;
      }
      const rate = clock.tokensPerSecond(adam.step, options.tokensPerStep);
      line.update(adam.step, rate === undefined ? numbers : { ...numbers, "tokens/s": rate });
      await clock.yieldSometimes();
    }
    if (row && history.at(-1) !== row) history.push(row);
    await keep();
  } catch (error) {
    line.stop("failed");
    adam.dispose();
    throw error;
  }
  const stopped = adam.step < steps;
  if (stopped) line.stop("stopped");
  else line.finish();
  return { adam, steps: adam.step, stopped, history };
}

async function readScalars(
  scalars: Record<string, tf.Scalar>,
): Promise<{ loss: number } & Record<string, number>> {
  const names = Object.keys(scalars);
  const tensors = Object.values(scalars);
  const stacked = tf.stack(tensors); // one transfer from the device instead of one each
  const values = await stacked.data();
  tf.dispose([...tensors, stacked]);
  return Object.fromEntries(names.map((name, i) => [name, values[i]])) as { loss: number };
}

async function allFinite(batch: Batch): Promise<boolean> {
  for (const tensor of batch instanceof tf.Tensor ? [batch] : Object.values(batch)) {
    const finite = tf.tidy(() => tf.all(tf.isFinite(tensor)));
    const [ok] = await finite.data();
    finite.dispose();
    if (!ok) return false;
  }
  return true;
}

/** The rate of a run, and when to let the event loop turn. */
class Clock {
  readonly #start = performance.now();
  readonly #first: number;
  #yielded = performance.now();

  constructor(first: number) {
    this.#first = first;
  }

  tokensPerSecond(step: number, tokensPerStep: number | undefined): number | undefined {
    if (tokensPerStep === undefined) return undefined;
    return (step - this.#first) * tokensPerStep / ((performance.now() - this.#start) / 1000);
  }

  /** Without a turn of the event loop no interrupt is seen and no display is drawn. */
  async yieldSometimes(): Promise<void> {
    if (performance.now() - this.#yielded < 50) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.#yielded = performance.now();
  }
}
