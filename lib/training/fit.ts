/**
 * The one training loop: Adam on a schedule, with a progress line, history, clipping, evaluation on
 * held-out documents, early stop, checkpoints, exact resume and a Stop button.
 *
 * A trainer says how a batch is read and what its loss and gradients are; everything
 * else is the same for all. Batch and loss must be pure functions of the step, the
 * parameters and the trainer's stored state: then a run that was stopped, or killed, and resumed
 * ends with the same bytes as one that was not.
 *
 * What a step reports stays on the device until the numbers of several steps are read together. A
 * loss that is not finite is therefore found a few steps late, but always before a checkpoint is
 * written, and the error names the step at which it appeared.
 *
 * @module
 */
import { progress } from "../display/mod.ts";
import {
  Adam,
  type AdamOptions,
  clipByGlobalNorm,
  type Gradient,
  type StoredTensor,
  tf,
} from "../tensor/mod.ts";
import {
  type HistoryRow,
  loadCheckpoint,
  removeHalfWritten,
  saveCheckpoint,
} from "./checkpoint.ts";
import { type BestEvaluation, type EarlyStop, EarlyStopper } from "./early_stop.ts";
import { PendingScalars } from "./pending_scalars.ts";
import { learningRateAt, requireSchedule, type Schedule } from "./schedule.ts";
import { whileRunning } from "./stop.ts";

/** Parameters by name. */
export type Params = Record<string, tf.Tensor>;

/** What a step reads: a tensor, or several by name. */
export type Batch = tf.Tensor | Readonly<Record<string, tf.Tensor>>;

/** What one step computes; `fit` disposes of all of it. */
export interface StepResult<G extends Gradient = tf.Tensor> {
  /** Gradients by parameter name: of whole parameters, or of the rows that a step used. */
  grads: Record<string, G>;
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
  /** Most steps between checkpoints. Default 500; one is also written at a stop and at the end. */
  every?: number;
  /** Most seconds between checkpoints. Default 300. */
  everySeconds?: number;
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
  loss: (
    step: number,
    params: Params,
    batch: B,
  ) => StepResult<Gradient> | Promise<StepResult<Gradient>>;
  /**
   * Scales the gradients of a step so that their joint Euclidean norm is at most this; the norm
   * before it is reported as `gradNorm`. Default: they stay as they are.
   */
  clipNorm?: number;
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
  /** Ends the run when an evaluated number no longer improves. Default: never. */
  earlyStop?: EarlyStop;
  /**
   * Most steps whose numbers are read from the device together; at most a quarter of a second's
   * worth is. Default 32, or 1 with `onStep`.
   */
  readEvery?: number;
  /** State beside Adam's. */
  state?: TrainerState;
  /** Keep the run on disk. */
  checkpoint?: CheckpointOptions;
  /** Stops the run after the current step. */
  signal?: AbortSignal;
  /** Called after each step; so the numbers of every step are read on their own. */
  onStep?: (row: HistoryRow) => void;
}

/** What a run gives. */
export interface FitResult {
  /** Parameters and optimiser state; the caller disposes of it. */
  adam: Adam;
  /** Updates that were done in total, earlier runs included. */
  steps: number;
  /** True if the signal ended the run before its end. */
  stopped: boolean;
  /** True if `earlyStop` ended it before its last step. */
  endedEarly: boolean;
  /** The best evaluation, if `earlyStop` watched. */
  best?: BestEvaluation;
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
 * @throws {RangeError} If the schedule or another option is impossible; before any work.
 * @throws {Error} If the loss is not finite or a step leaves tensors behind, naming the step; if a
 * checkpoint of another configuration is in the way; if a checkpoint cannot be written: the one
 * before is kept.
 */
export async function fit<B extends Batch>(
  options: FitOptions<B>,
): Promise<FitResult> {
  check(options);
  return await whileRunning(options.signal, async () => {
    running++;
    try {
      return await run(options);
    } finally {
      running--;
    }
  });
}

/** Runs of this process: with several of them, a tensor that appears may be another one's. */
let running = 0;

/** Milliseconds of steps whose numbers may wait. */
const READ_MS = 250;

async function run<B extends Batch>(options: FitOptions<B>): Promise<FitResult> {
  const { schedule, checkpoint, signal, state, clipNorm } = options;
  const { steps } = schedule;
  const every = options.every ?? Math.max(1, Math.floor(steps / 200));
  const readEvery = options.onStep ? 1 : options.readEvery ?? 32;
  const evaluatesAt = (step: number) =>
    !!options.evaluate && !!options.evaluateEvery && step % options.evaluateEvery === 0;
  const stopper = options.earlyStop && new EarlyStopper(options.earlyStop);

  if (checkpoint) await removeHalfWritten(checkpoint.dir);
  const resumed = checkpoint && await loadCheckpoint(checkpoint.dir, checkpoint.config);
  // A stop adds a row at its step, which a run that went through does not have.
  const history: HistoryRow[] = (resumed?.history ?? []).filter(({ step }) =>
    resumed!.step === steps || step % every === 0 || evaluatesAt(step)
  );
  if (resumed) state?.restore(resumed.state);
  for (const row of history) if (evaluatesAt(row.step)) stopper?.add(row);
  const adam = resumed
    ? Adam.restore(resumed.adam, resumed.step, options.adam)
    : new Adam(await options.parameters(), options.adam);
  let best: Params | undefined = options.earlyStop?.keepBest && resumed?.best
    ? uploaded(resumed.best)
    : undefined;

  let keptAt = adam.step;
  let keptTime = performance.now();
  const keep = async () => {
    if (!checkpoint || keptAt === adam.step) return;
    try {
      await saveCheckpoint(checkpoint.dir, checkpoint.config, {
        step: adam.step,
        history,
        adam: await adam.state(),
        state: state?.save() ?? {},
        best: best && await downloaded(best),
      });
    } catch (error) {
      if (keptAt === 0 || !(error instanceof Error)) throw error;
      throw new Error(`${error.message}; the checkpoint of step ${keptAt} is kept`, {
        cause: error,
      });
    }
    keptAt = adam.step;
    keptTime = performance.now();
  };

  const line = progress(options.label, { total: steps, unit: "steps" });
  const clock = new Clock(adam.step);
  const pending = new PendingScalars();
  let readTime = performance.now();
  let row: HistoryRow | undefined;
  /** Reads what the steps so far reported, the last of them with its evaluation. */
  const settle = async (evaluates = false) => {
    const rows = await pending.read();
    readTime = performance.now();
    const bad = rows.find(({ loss }) => !Number.isFinite(loss));
    if (bad) throw await lossError(bad, options, checkpoint && keptAt);
    for (row of rows) {
      if (evaluates && row.step === adam.step) {
        Object.assign(row, await options.evaluate!(adam.values, row.step));
        if (stopper?.add(row) && options.earlyStop!.keepBest) {
          if (best) tf.dispose(best);
          best = copied(adam.values);
        }
      }
      if (evaluatesAt(row.step) || row.step % every === 0) history.push(row);
      options.onStep?.(row);
    }
    if (row) {
      const { step: _, ...numbers } = row;
      const rate = clock.tokensPerSecond(adam.step, options.tokensPerStep);
      line.update(adam.step, rate === undefined ? numbers : { ...numbers, "tokens/s": rate });
    }
  };

  const first = adam.step;
  try {
    while (adam.step < steps && !signal?.aborted && !stopper?.done) {
      const step = adam.step;
      let params = adam.values;
      const [before, alone] = [tf.memory().numTensors, running === 1];
      const batch = await options.batch(step);
      try {
        let { grads, scalars } = await options.loss(step, params, batch);
        if (clipNorm !== undefined) {
          const clipped = clipByGlobalNorm(grads, clipNorm);
          grads = clipped.grads;
          scalars = { ...scalars, gradNorm: clipped.norm };
        }
        pending.add(step + 1, scalars);
        adam.apply(grads, learningRateAt(schedule, step));
        options.afterUpdate?.(adam, step);
      } finally {
        tf.dispose(batch as tf.TensorContainer);
      }
      // A leak of one tensor a step ends in an out-of-memory error hours later. Counted where nothing
      // is being read; what the first step makes may be meant to stay.
      params = adam.values;
      const left = tf.memory().numTensors - before - 1; // the numbers that wait to be read
      if (step > first && left > 0 && alone && running === 1) {
        throw new Error(
          `Step ${step + 1} left ${left} tensors behind: dispose of what batch and loss make`,
        );
      }

      const evaluates = evaluatesAt(adam.step);
      const keeps = !!checkpoint && (adam.step % (checkpoint.every ?? 500) === 0 ||
        performance.now() - keptTime > 1000 * (checkpoint.everySeconds ?? 300));
      if (
        evaluates || keeps || pending.size >= readEvery || performance.now() - readTime > READ_MS
      ) await settle(evaluates);
      if (keeps) await keep();
      await clock.yieldSometimes();
    }
    await settle();
    if (row && history.at(-1) !== row) history.push(row);
    await keep();
    if (best) { for (const name of Object.keys(best)) adam.assign(name, best[name]); }
  } catch (error) {
    line.stop("failed");
    pending.dispose();
    if (best) tf.dispose(best);
    adam.dispose();
    throw error;
  }
  const endedEarly = adam.step < steps && !!stopper?.done;
  const stopped = adam.step < steps && !endedEarly;
  if (stopped) line.stop("stopped");
  else if (endedEarly) {
    line.stop(`no better ${options.earlyStop!.metric} since step ${stopper!.best!.step}: ended`);
  } else line.finish();
  return { adam, steps: adam.step, stopped, endedEarly, best: stopper?.best, history };
}

function check<B extends Batch>(options: FitOptions<B>): void {
  const { schedule, clipNorm, earlyStop, evaluate, evaluateEvery, every, readEvery } = options;
  requireSchedule(schedule);
  if (clipNorm !== undefined && !(clipNorm > 0)) {
    throw new RangeError(`Cannot clip gradients to a norm of ${clipNorm}: expected above 0`);
  }
  for (const [name, value] of Object.entries({ evaluateEvery, every, readEvery })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
      throw new RangeError(`Cannot train with ${name} = ${value}: expected an integer from 1 on`);
    }
  }
  if (!earlyStop) return;
  new EarlyStopper(earlyStop); // refuses impossible options
  if (!evaluate || !evaluateEvery) {
    throw new RangeError(
      `Cannot stop early by "${earlyStop.metric}" without evaluations: give evaluate and ` +
        "evaluateEvery",
    );
  }
}

/** Says at which step, why as far as that can be told, and what is left. */
async function lossError<B extends Batch>(
  { step, loss }: HistoryRow,
  options: FitOptions<B>,
  keptAt: number | undefined,
): Promise<Error> {
  const batch = await options.batch(step - 1);
  const cause = await allFinite(batch)
    ? "its activations are finite, so lower the learningRate"
    : "its activations have values that are not finite";
  tf.dispose(batch as tf.TensorContainer);
  return new Error(
    `The loss is ${loss} at step ${step}: ${cause}` +
      (keptAt ? `; the checkpoint of step ${keptAt} is kept` : ""),
  );
}

function tensorsOf(batch: Batch): tf.Tensor[] {
  return batch instanceof tf.Tensor ? [batch] : Object.values(batch);
}

async function allFinite(batch: Batch): Promise<boolean> {
  for (const tensor of tensorsOf(batch).filter(({ dtype }) => dtype === "float32")) {
    const finite = tf.tidy(() => tf.all(tf.isFinite(tensor)));
    const [ok] = await finite.data();
    finite.dispose();
    if (!ok) return false;
  }
  return true;
}

function copied(params: Params): Params {
  return Object.fromEntries(
    Object.entries(params).map(([name, tensor]) => [name, tf.keep(tf.clone(tensor))]),
  );
}

function uploaded(stored: Record<string, StoredTensor>): Params | undefined {
  const entries = Object.entries(stored);
  if (entries.length === 0) return undefined;
  return Object.fromEntries(
    entries.map(([name, { data, shape }]) => [name, tf.keep(tf.tensor(data, shape, "float32"))]),
  );
}

async function downloaded(params: Params): Promise<Record<string, StoredTensor>> {
  const stored: Record<string, StoredTensor> = {};
  for (const [name, tensor] of Object.entries(params)) {
    stored[name] = { dtype: "F32", shape: [...tensor.shape], data: await tensor.data<"float32">() };
  }
  return stored;
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
