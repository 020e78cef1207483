/**
 * Several kinds of models, each tuned as much as the others.
 *
 * A baseline that was tried with one learning rate loses to a model that was tried with ten. Here
 * every kind gets the same number of configurations, each is trained on the training documents and
 * measured on the same validation documents, and all trials are reported. Test documents cannot be
 * read while tuning: the store that trainers get refuses.
 *
 * @module
 */
import { type ActivationReader, type Sae, trainSweep } from "../dictionary/mod.ts";
import { progress } from "../display/mod.ts";
import { Rng } from "../tensor/mod.ts";
import { evaluate, type EvaluateOptions, type Evaluation, type Reconstruct } from "./evaluate.ts";

/** Values to try by field; their combinations are the configurations. */
export type Space<C extends object> = { readonly [Field in keyof C]?: readonly C[Field][] };

/** A kind of model. */
export interface Contender<C extends object, M> {
  /** Values to try. */
  readonly space: Space<C>;
  /** Trains one configuration. */
  train(config: C, store: ActivationReader): Promise<M>;
  /** What a model makes of activations: all of x̂, the dictionary's part included. */
  reconstruct(model: M): Reconstruct;
  /** Numbers that a model has learnt, for the report. */
  parameters?(model: M): number;
  /** Tokens that a configuration is trained on, repetitions counted, for the report. */
  trainingTokens?(config: C): number;
  /** Frees a model that was not the best. */
  dispose?(model: M): void;
}

/** One configuration that was tried. */
export interface Trial<C extends object> {
  /** What was tried. */
  readonly config: C;
  /** On the validation documents; Infinity if the training failed. */
  readonly fvu: number;
  /** Why it failed. */
  readonly failure?: string;
  /** Numbers learnt. */
  readonly parameters?: number;
  /** Tokens trained on. */
  readonly trainingTokens?: number;
}

/** The best of a kind, and all that were tried. */
export interface Tuned<C extends object, M> {
  /** The best configuration. */
  readonly config: C;
  /** Its model; the caller disposes of it. */
  readonly model: M;
  /** What it makes of activations. */
  readonly reconstruct: Reconstruct;
  /** Its FVU on the validation documents: the least of several, so too low for a result. */
  readonly fvu: number;
  /** All trials, in the order in which they were made. */
  readonly trials: readonly Trial<C>[];
}

/** How much is tried. */
export interface TuneOptions {
  /** Configurations of each kind. */
  trials: number;
  /** Decides which of the configurations are tried, if there are more. Default 0. */
  seed?: number;
  /** Dictionary whose codes reconstructions start from. */
  sae?: Sae;
  /** Codes a token; default all that the dictionary keeps. */
  maxActive?: number;
  /** Validation tokens that are measured. Default: all. */
  maxTokens?: number;
  /**
   * Trains all configurations in one pass over the training documents, with all models in memory.
   * Default false: a pass for each round, in which every kind trains one.
   */
  together?: boolean;
  /**
   * Ends tuning; give it to the trainers too. Only rounds in which every kind trained to its end count.
   */
  signal?: AbortSignal;
}

/** Kinds by name. */
export type Contenders = Readonly<Record<string, Contender<object, unknown>>>;

/** What `tune` gives for each kind. */
export type TunedAll<T extends Contenders> = {
  readonly [Name in keyof T]: T[Name] extends Contender<infer C, infer M> ? Tuned<C, M> : never;
};

/** A configuration of a kind, and what became of it. */
interface Job {
  readonly name: string;
  readonly config: object;
  model?: unknown;
  error?: unknown;
}

interface Best {
  readonly model: unknown;
  readonly trial: Trial<object>;
}

/**
 * Trains `trials` configurations of each kind and keeps the best of each by its FVU on validation
 * documents. In each round every kind trains one, on one stream of batches (see `trainSweep`), so that
 * a run that is stopped has tried each equally often.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { memoryStore, openDevice, tf, tune } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3, 4), document: Int32Array.of(0, 0, 1, 1) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * const { share } = await tune(store, {
 *   share: {
 *     space: { factor: [0.2, 0.9, 1.5] },
 *     train: (config: { factor: number }) => Promise.resolve(config),
 *     reconstruct: ({ factor }: { factor: number }) => ({ x }) => tf.mul(x, factor),
 *   },
 * }, { trials: 3 });
 * assertEquals(share.config, { factor: 0.9 });
 * assertEquals(share.trials.length, 3);
 * ```
 *
 * @param store Activations in the dictionary's units.
 * @param contenders Kinds of models by name.
 * @param options How much is tried.
 * @throws {RangeError} If a kind has fewer configurations than `trials`; before any work.
 * @throws {Error} If all trials of a kind fail, or the signal comes before each kind had one.
 */
export async function tune<T extends Contenders>(
  store: ActivationReader,
  contenders: T,
  options: TuneOptions,
): Promise<TunedAll<T>> {
  const { trials, seed = 0, sae, maxActive, maxTokens, signal } = options;
  const names = Object.keys(contenders);
  const configs = new Map(
    names.map((name) => [name, configurations(name, contenders[name].space, { trials, seed })]),
  );
  const guarded = withoutTest(store);
  const rounds = Array.from(
    { length: trials },
    (_, round): Job[] => names.map((name) => ({ name, config: configs.get(name)![round] })),
  );
  const line = progress("Tuning", { total: trials * names.length, unit: "models" });
  const tried = new Map<string, Trial<object>[]>(names.map((name) => [name, []]));
  const best = new Map<string, Best>();
  try {
    for (const jobs of options.together ? [rounds.flat()] : rounds) {
      if (signal?.aborted) break;
      await trainSweep(guarded, jobs.map((job) => (store) => trainJob(contenders, job, store)));
      const mistake = jobs.find(({ error }) => isMistake(error))?.error;
      if (signal?.aborted || mistake) {
        // When it was stopped, a model may not be trained to its end.
        for (const { name, model } of jobs) if (model) contenders[name].dispose?.(model);
        if (mistake) throw mistake;
        break;
      }
      const scores = await score(jobs, contenders, (reconstructions) =>
        evaluate(
          guarded,
          { split: "validation", sae, maxActive, maxTokens },
          reconstructions,
        ));
      for (const [i, { name, config, model, error }] of jobs.entries()) {
        const trial: Trial<object> = {
          config,
          fvu: scores[i],
          ...error !== undefined && { failure: (error as Error).message },
          ...model !== undefined && { parameters: contenders[name].parameters?.(model) },
          trainingTokens: contenders[name].trainingTokens?.(config),
        };
        tried.get(name)!.push(trial);
        if (model === undefined) continue;
        const before = best.get(name);
        const better = !before || trial.fvu < before.trial.fvu;
        if (better) best.set(name, { model, trial });
        const loser = better ? before?.model : model;
        if (loser !== undefined) contenders[name].dispose?.(loser);
      }
      line.update([...tried.values()].reduce((sum, trials) => sum + trials.length, 0));
    }
    for (const name of names) {
      if (best.has(name)) continue;
      const failure = tried.get(name)!.at(-1)?.failure;
      throw new Error(
        failure === undefined
          ? "Tuning was stopped before each kind had a trial: call it again, for longer"
          : `All ${
            tried.get(name)!.length
          } trials of "${name}" failed, the last one with: ${failure}`,
      );
    }
  } catch (error) {
    line.stop("failed");
    for (const [name, { model }] of best) contenders[name].dispose?.(model);
    throw error;
  }
  if (signal?.aborted) line.stop("stopped");
  else line.finish();
  return Object.fromEntries(names.map((name) => {
    const { model, trial } = best.get(name)!;
    return [name, {
      config: trial.config,
      model,
      reconstruct: contenders[name].reconstruct(model),
      fvu: trial.fvu,
      trials: tried.get(name)!,
    }];
  })) as unknown as TunedAll<T>;
}

/** Trains one configuration, and keeps an error for the report: the others go on. */
async function trainJob(contenders: Contenders, job: Job, store: ActivationReader): Promise<void> {
  try {
    job.model = await contenders[job.name].train(job.config, store);
  } catch (error) {
    job.error = error;
  }
}

/** An impossible configuration, or a trainer that reads test documents: no trial that failed. */
function isMistake(error: unknown): boolean {
  return error !== undefined && (error instanceof RangeError || !(error instanceof Error));
}

/** FVU of each job's model, in one pass over the validation documents; Infinity if it failed. */
async function score(
  jobs: readonly Job[],
  contenders: Contenders,
  measure: (reconstructions: Record<string, Reconstruct>) => Promise<Record<string, Evaluation>>,
): Promise<number[]> {
  const trained = jobs.flatMap(({ name, model }, i) =>
    model === undefined ? [] : [[`${i}`, contenders[name].reconstruct(model)] as const]
  );
  const measured = trained.length > 0 ? await measure(Object.fromEntries(trained)) : {};
  // A model that gives NaN is as bad as one that could not be trained.
  return jobs.map((_, i) => {
    const fvu = measured[i]?.fvu;
    return fvu === undefined || Number.isNaN(fvu) ? Infinity : fvu;
  });
}

/** `trials` different combinations of the values. */
function configurations(
  name: string,
  space: Space<Record<string, unknown>>,
  { trials, seed }: { trials: number; seed: number },
): object[] {
  const fields = Object.keys(space);
  const sizes = fields.map((field) => space[field]!.length);
  const count = sizes.reduce((product, size) => product * size, 1);
  if (!Number.isInteger(trials) || trials < 1 || trials > count) {
    throw new RangeError(
      `Cannot try ${trials} configurations of "${name}": its values make ${count}; give a number ` +
        `in 1…${count}, or more values`,
    );
  }
  const rng = new Rng(seed, "tune", name);
  const chosen = new Set<number>();
  if (trials === count) { for (let i = 0; i < count; i++) chosen.add(i); }
  while (chosen.size < trials) chosen.add(rng.integer(count));
  return [...chosen].map((number) => {
    let rest = number;
    return Object.fromEntries(fields.map((field, f) => {
      const value = space[field]![rest % sizes[f]];
      rest = Math.floor(rest / sizes[f]);
      return [field, value];
    }));
  });
}

/** The store without its test documents. */
function withoutTest(store: ActivationReader): ActivationReader {
  const { target } = store as { target?: ActivationReader };
  return {
    dModel: store.dModel,
    manifest: store.manifest,
    normalizer: store.normalizer,
    hook: store.hook,
    model: store.model,
    split: (name) => {
      if (name !== "test") return store.split(name);
      throw new RangeError(
        "Cannot read test documents while tuning: configurations are chosen on validation " +
          "documents; measure what was chosen afterwards",
      );
    },
    ...target && { target: withoutTest(target) },
  };
}

/**
 * What was chosen, on test documents, with the dictionary alone beside it.
 *
 * ```ts
 * import { assertAlmostEquals } from "@std/assert";
 * import { memoryStore, openDevice, tf, evaluateTuned, tune } from "interlens";
 *
 * await openDevice();
 * const split = { rows: Float32Array.of(1, 2, 3, 4), document: Int32Array.of(0, 0, 1, 1) };
 * const store = memoryStore(1, { train: split, validation: split, test: split });
 * const tuned = await tune(store, {
 *   identity: {
 *     space: {},
 *     train: () => Promise.resolve(null),
 *     reconstruct: () => ({ x }) => tf.clone(x),
 *   },
 * }, { trials: 1 });
 * const { identity } = await evaluateTuned(store, tuned, { split: "test" });
 * assertAlmostEquals(identity.fvu, 0);
 * ```
 *
 * @param store Activations.
 * @param tuned What `tune` gave.
 * @param options Which documents, and the dictionary.
 * @returns By name; with a dictionary, `dictionary` is it alone.
 */
export async function evaluateTuned<Name extends string>(
  store: ActivationReader,
  tuned: Readonly<Record<Name, { readonly reconstruct: Reconstruct }>>,
  options: EvaluateOptions & { split: "validation" | "test" },
): Promise<Record<Name, Evaluation> & { dictionary?: Evaluation }> {
  const reconstructions: Record<string, Reconstruct> = Object.fromEntries(
    (Object.keys(tuned) as Name[]).map((name) => [name, tuned[name].reconstruct]),
  );
  if (options.sae) reconstructions.dictionary = ({ reconstruction }) => reconstruction!;
  return await evaluate(store, options, reconstructions) as Record<Name, Evaluation>;
}

/**
 * All trials as rows of a table: one a trial, the chosen ones marked.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { trialRows } from "interlens";
 *
 * const trials = [{ config: { K: 8 }, fvu: 0.3 }, { config: { K: 16 }, fvu: 0.2 }];
 * assertEquals(trialRows({ NFM: { trials, config: trials[1].config } }), [
 *   { model: "NFM", configuration: "K 8", FVU: 0.3, chosen: "" },
 *   { model: "NFM", configuration: "K 16", FVU: 0.2, chosen: "yes" },
 * ]);
 * ```
 */
export function trialRows(
  tuned: Readonly<
    Record<string, { readonly config: object; readonly trials: readonly Trial<object>[] }>
  >,
): Record<string, string | number>[] {
  return Object.entries(tuned).flatMap(([model, { config, trials }]) =>
    trials.map((trial) => ({
      model,
      configuration: Object.entries(trial.config).map(([field, value]) => `${field} ${value}`).join(
        ", ",
      ),
      ...trial.parameters !== undefined && { parameters: trial.parameters },
      ...trial.trainingTokens !== undefined && { "training tokens": trial.trainingTokens },
      FVU: trial.fvu,
      chosen: trial.config === config ? "yes" : trial.failure ?? "",
    }))
  );
}
