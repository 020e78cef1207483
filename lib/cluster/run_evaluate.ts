/**
 * Units that measure a dictionary and models of its error side by side.
 *
 * @module
 */
import { measureSae, type Sae } from "../dictionary/mod.ts";
import { evaluate, type Evaluation, type EvaluationInput } from "../evaluation/mod.ts";
import type { Nfm } from "../interaction/mod.ts";
import { pairedBootstrap } from "../metrics/mod.ts";
import { openDevice, type SparseCodes, tf } from "../tensor/mod.ts";
import type { EvaluatedGain, EvaluateResult } from "./record.ts";
import type { RunUnitOptions } from "./run_unit.ts";
import { type EvaluatedModel, type EvaluateUnit, saeUnder, trainingOf } from "./unit.ts";
import { openNfm, openSae, openStore, requireRecord } from "./unit_files.ts";

/** A model that was loaded. */
interface Loaded {
  /** Active features of a token that it uses. */
  readonly topN?: number;
  /** Makes its reconstruction; runs inside `tf.tidy`. */
  reconstruct(input: EvaluationInput): tf.Tensor2D;
  dispose(): void;
}

/** Measures all models on the same tokens. */
export async function runEvaluate(
  unit: EvaluateUnit,
  { storage, signal }: RunUnitOptions,
): Promise<EvaluateResult> {
  const merged = await requireRecord(storage, { kind: "merge", data: unit.data });
  const dictionary = await requireRecord(storage, saeUnder(unit));
  const trained: [string, EvaluatedModel["trainer"], string][] = [];
  for (const [name, model] of Object.entries(unit.models)) {
    const { result } = await requireRecord(storage, trainingOf(unit, model));
    trained.push([name, model.trainer, result.artefact]);
  }
  await openDevice();
  using store = await openStore(storage, merged.result.artefact, unit);
  const sae = await openSae(storage, dictionary.result.artefact);
  const models: [string, Loaded][] = [];
  try {
    for (const [name, trainer, artefact] of trained) {
      signal?.throwIfAborted();
      models.push([
        name,
        trainer === "nfm"
          ? machine(await openNfm(storage, artefact))
          : secondary(await openSae(storage, artefact)),
      ]);
    }
    const { split } = unit;
    const { l0, deadFraction } = await measureSae(store, sae, { split });
    signal?.throwIfAborted();
    // Names of models may be any, so the dictionary has no name among them.
    const reconstructions = [
      ({ reconstruction }: EvaluationInput) => reconstruction!,
      ...models.map(([, { reconstruct }]) => reconstruct),
    ];
    const errors = await evaluate(
      store,
      { split, sae, maxActive: mostActive(sae, models.map(([, { topN }]) => topN ?? 1)) },
      Object.fromEntries(reconstructions.map((reconstruct, i) => [`${i}`, reconstruct])),
    );
    signal?.throwIfAborted();
    const measured = models.map(([name], i) => [name, errors[i + 1]] as const);
    return {
      split,
      tokens: errors[0].tokens,
      l0: l0!,
      deadFraction: deadFraction!,
      sae: errorOf(errors[0]),
      models: gains(unit, errors[0], new Map(measured)),
    };
  } finally {
    sae.dispose();
    for (const [, model] of models) model.dispose();
  }
}

function machine(nfm: Nfm): Loaded {
  const { training } = nfm.metadata as { training?: { input?: string } };
  const { topN } = nfm.shape;
  const onActivations = training?.input === "activations";
  return {
    topN: onActivations ? undefined : topN,
    reconstruct: ({ x, codes, reconstruction }) =>
      tf.add(
        reconstruction!,
        nfm.predict(onActivations ? x : largest(codes!, topN)),
      ) as tf.Tensor2D,
    dispose: () => nfm.dispose(),
  };
}

/** Codes that the machines need: all of a TopK dictionary, as many as any of them uses of another. */
function mostActive({ config }: Sae, topN: readonly number[]): number | undefined {
  return config.architecture === "topk" ? undefined : Math.max(1, ...topN);
}

/** The first ones: they come largest first. */
function largest({ indices, values }: SparseCodes, count: number): SparseCodes {
  if (indices.shape[1] === count) return { indices, values };
  return {
    indices: tf.slice(indices, [0, 0], [-1, count]) as tf.Tensor2D,
    values: tf.slice(values, [0, 0], [-1, count]) as tf.Tensor2D,
  };
}

function secondary(second: Sae): Loaded {
  return {
    reconstruct: ({ x, reconstruction }) =>
      tf.add(reconstruction!, second.reconstruct(tf.sub(x, reconstruction!))) as tf.Tensor2D,
    dispose: () => second.dispose(),
  };
}

const errorOf = ({ fvu, errorPercent, perDocument }: Evaluation) => ({
  fvu,
  errorPercent,
  perDocument,
});

function gains(
  { models, seed }: EvaluateUnit,
  alone: Evaluation,
  measured: ReadonlyMap<string, Evaluation>,
): Record<string, EvaluatedGain> {
  const over = (before: Evaluation, after: Evaluation) =>
    pairedBootstrap(before.perDocument, after.perDocument, { seed });
  return Object.fromEntries(
    Object.entries(models).map(([name, model]) => {
      const evaluation = measured.get(name)!;
      const linear = linearBeside(model, models);
      return [name, {
        ...errorOf(evaluation),
        reduction: over(alone, evaluation),
        ...linear !== undefined && { beyondLinear: over(measured.get(linear)!, evaluation) },
      }];
    }),
  );
}

/** Name of the machine without pairs that a machine with pairs is compared with. */
function linearBeside(
  model: EvaluatedModel,
  models: EvaluateUnit["models"],
): string | undefined {
  if (model.trainer !== "nfm" || (model.config.parts ?? "both") !== "both") return undefined;
  return Object.entries(models).find(([, other]) =>
    other.trainer === "nfm" && other.config.parts === "linear" &&
    other.tokens === model.tokens && (other.config.seed ?? 0) === (model.config.seed ?? 0) &&
    (other.config.input ?? "codes") === (model.config.input ?? "codes")
  )?.[0];
}
