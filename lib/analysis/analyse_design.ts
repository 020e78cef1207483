/**
 * A crossed design from stimuli to verdict: two features chosen on some frames, and everything tested on
 * the others.
 *
 * @module
 */
import { splitFrames, type StimulusDesign } from "../corpus/mod.ts";
import type { Sae } from "../dictionary/mod.ts";
import { type Nfm, untrainedNfm } from "../interaction/mod.ts";
import { type EffectTest, maxT, vectorContrast, type VectorEffect } from "../metrics/mod.ts";
import { Rng } from "../tensor/mod.ts";
import {
  columnMeans,
  contrastRows,
  type EffectName,
  strongest,
  takeFrames,
  takeRows,
  tOfColumns,
} from "./frames.ts";
import { type MainEffects, mainEffects } from "./main_effects.ts";
import {
  cellsOf,
  columnOf,
  type MeasureOptions,
  measureStimuli,
  type StimulusCodes,
  type StimulusReader,
  vectorCellsOf,
} from "./measure.ts";
import { type NfmRows, stimulusRows } from "./nfm_rows.ts";
import { type DesignMeasure, type MeasuredPair, pairMeasures } from "./pair_measures.ts";

/** What a design is measured with. */
export interface DesignSubject {
  readonly model: StimulusReader;
  readonly sae: Sae;
  /** A machine of parts `"both"`, with the record of its training. */
  readonly nfm: Nfm;
}

/** How a design is analysed. */
export interface DesignOptions extends Omit<MeasureOptions, "at" | "faithful"> {
  /**
   * Where every text is read: `"target"` (default), the aligned token, or `"mean"`, over its tokens, the
   * machine applied token by token. What both factors do to one token is an interaction in either; a
   * factor whose feature is active at its own word only moves it in the mean alone.
   */
  at?: "target" | "mean";
  /** Share of the frames that features, dimensions and directions are chosen on; default 0.5. */
  share?: number;
  /** Names the split of the frames, the random K and all draws; default 0. */
  seed?: number;
  /** Changes of signs of a test; default 10,000. */
  draws?: number;
  /** Permutations of the labels that the whole choice is repeated on; default 200. */
  permutations?: number;
  /** Untrained machines that the whole choice is repeated on; default 20. */
  untrained?: number;
}

/** A feature that a factor moves. */
export interface ChosenFeature {
  readonly feature: number;
  /** Of the factor's effect over the selection frames. */
  readonly t: number;
  /** Adjusted for all features (max-T over changes of signs), on the selection frames. */
  readonly p: number;
}

/** The three effects of a vector. */
export type VectorTest = Readonly<Record<EffectName, VectorEffect>>;

/** Everything about a design; tests are on confirmation frames unless they say otherwise. */
export interface DesignAnalysis {
  readonly design: StimulusDesign;
  /** Where it was read. */
  readonly at: "target" | "mean";
  /** Numbers of frames: chosen on, tested on, and left out because a target is a sink. */
  readonly frames: {
    readonly selection: number;
    readonly confirmation: number;
    readonly leftOut: readonly string[];
  };
  readonly chosen: { readonly a: ChosenFeature; readonly b: ChosenFeature };
  readonly pair: MeasuredPair;
  /** Whether the factors move the features that were chosen for them, in frames that did not choose. */
  readonly gate: { readonly a: EffectTest; readonly b: EffectTest; readonly passed: boolean };
  /** Features, terms and dimensions. */
  readonly measures: readonly DesignMeasure[];
  /** The same of an untrained machine, with dimension and directions chosen for it in the same way. */
  readonly untrained: readonly DesignMeasure[];
  /** Is there any direction in which the factors interact? Over all frames: nothing is chosen. */
  readonly vectors: {
    /** Of the activation at the hook point, in the units of the model. */
    readonly residual: VectorTest;
    readonly linear: VectorTest;
    readonly interaction: VectorTest;
    /** Of an untrained machine. */
    readonly untrained: VectorTest;
  };
  /** Which factor moves more: of the activation and of the machine's two terms. */
  readonly main: {
    readonly residual: MainEffects;
    readonly linear: MainEffects;
    readonly interaction: MainEffects;
  };
  /**
   * t of the interaction in the top K on confirmation frames, positive where it has the sign that it
   * had on the selection frames; and the same where there is nothing to find.
   */
  readonly replication: {
    readonly t: number;
    /** The whole choice repeated with permuted labels. */
    readonly permuted: Float64Array;
    /** The whole choice repeated on machines that were not trained. */
    readonly untrained: Float64Array;
  };
}

/** Fewest frames that can be split and tested. */
const FEWEST_FRAMES = 8;

/**
 * Analyses a design: measures every stimulus, chooses a feature for each factor and a
 * dimension on one part of the frames, and tests both, the machine's terms and its dimensions on the
 * other part, beside machines that were not trained and labels that mean nothing.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import {
 *   analyseDesign,
 *   loadStimuli,
 *   memoryStore,
 *   openDevice,
 *   randomModel,
 *   Rng,
 *   trainNfm,
 *   trainSae,
 * } from "interlens";
 *
 * await openDevice();
 * using model = randomModel({ nLayers: 1 }, 0); // one that was trained, in earnest
 * const split = { rows: new Rng(0).normals(400 * 16, 1), document: new Int32Array(400) };
 * const store = memoryStore(16, { train: split, validation: split, test: split });
 * const config = { steps: 5, batchSize: 100 };
 * const once = { cache: false };
 * const { sae } = await trainSae(store, { architecture: "topk", dSae: 32, k: 8, ...config }, once);
 * const { nfm } = await trainNfm(store, sae, { parts: "both", K: 4, ...config, ...once });
 * const analysis = await analyseDesign({ model, sae, nfm }, await loadStimuli("paris_folk"), {
 *   hook: "blocks.0.hook_resid_post",
 *   draws: 99,
 *   permutations: 9,
 *   untrained: 2,
 * });
 * assertEquals(analysis.measures.length, 7);
 * assert(analysis.measures.every(({ test }) => test.interaction.p > 0));
 * ```
 *
 * @param subject Model, dictionary and machine, which belong together.
 * @param design The stimuli.
 * @param options How to read, split and draw.
 * @returns Numbers only; `designPanels` and `designNulls` draw them.
 * @throws {RangeError} If fewer than 8 frames can be used, the machine lacks a term or has no record of
 * its training, or as `measureStimuli` and `splitFrames`.
 */
export async function analyseDesign(
  { model, sae, nfm }: DesignSubject,
  design: StimulusDesign,
  options: DesignOptions = {},
): Promise<DesignAnalysis> {
  const { share = 0.5, seed = 0, draws = 10_000, permutations = 200, untrained = 20 } = options;
  const { frames, selection, confirmation, leftOut, codes } = await measuredFrames(
    { model, sae },
    design,
    { ...options, share, seed },
  );
  const [chosenOn, testedOn] = [takeFrames(codes, selection), takeFrames(codes, confirmation)];
  const chosen = chooseFeatures(chosenOn, { seed });
  const tests = { draws, seed };

  // Every number of a machine that a choice needs, for all frames.
  const look = async (machine: Nfm) => {
    const random = new Rng(seed, "random K", design.name).integer(machine.shape.K);
    const rows = await stimulusRows({ sae, nfm: machine }, codes, { k: { top: 0, random } });
    return { machine, rows, choice: chooseInRows(rows, selection, confirmation), random };
  };
  const measure = async ({ machine, choice, random }: Awaited<ReturnType<typeof look>>) => {
    const pair = {
      a: chosen.a.feature,
      b: chosen.b.feature,
      k: { top: choice.k, random: random === choice.k ? (random + 1) % machine.shape.K : random },
    };
    return {
      pair,
      ...await pairMeasures({ sae, nfm: machine }, testedOn, pair, { ...tests, ...choice }),
    };
  };
  const vectors = ({ rows }: { rows: NfmRows }, term: "linear" | "interaction") =>
    vectorTest(takeRows(rows[term], rows.dOut, frames), rows.dOut, tests);

  const main = (matrix: Float32Array, width: number) =>
    mainEffects(matrix, width, { selection, confirmation, seed });

  const trained = await look(nfm);
  const { pair, measures } = await measure(trained);
  const untrainedT = new Float64Array(untrained);
  let control: readonly DesignMeasure[] = [];
  let untrainedVectors: VectorTest | undefined;
  for (let i = 0; i < Math.max(1, untrained); i++) {
    options.signal?.throwIfAborted();
    const machine = untrainedNfm(nfm, { seed: 1000 + seed * 100 + i });
    const seen = await look(machine);
    if (i < untrained) untrainedT[i] = seen.choice.t;
    if (i === 0) {
      control = (await measure(seen)).measures;
      untrainedVectors = vectors(seen, "interaction");
    }
    machine.dispose();
  }
  const [featureA, featureB] = measures;
  return {
    design,
    at: options.at ?? "target",
    frames: { selection: selection.length, confirmation: confirmation.length, leftOut },
    chosen,
    pair,
    gate: {
      a: featureA.test.factorA,
      b: featureB.test.factorB,
      passed: featureA.test.manipulated.a && featureB.test.manipulated.b,
    },
    measures,
    untrained: control,
    vectors: {
      residual: vectorTest(takeRows(codes.activations, codes.dModel, frames), codes.dModel, tests),
      linear: vectors(trained, "linear"),
      interaction: vectors(trained, "interaction"),
      untrained: untrainedVectors!,
    },
    main: {
      residual: main(codes.activations, codes.dModel),
      linear: main(trained.rows.linear, trained.rows.dOut),
      interaction: main(trained.rows.interaction, trained.rows.dOut),
    },
    replication: {
      t: trained.choice.t,
      permuted: permutedReplications(trained.rows, selection, confirmation, permutations, seed),
      untrained: untrainedT,
    },
  };
}

/** Measures a design and splits the frames whose targets are no sinks, by their numbers. */
async function measuredFrames(
  { model, sae }: Pick<DesignSubject, "model" | "sae">,
  design: StimulusDesign,
  { share, seed, ...options }: DesignOptions & { share: number; seed: number },
) {
  const { hook, normalizer, batchSize, maxNorm, signal, at = "target" } = options;
  const measuring = { hook, normalizer, batchSize, maxNorm, signal, at };
  const codes: StimulusCodes = await measureStimuli(model, sae, design, measuring);
  const sinks = new Set(codes.sinks.map((stimulus) => Math.floor(stimulus / 4)));
  const number = new Map(design.frames.map((frame, i) => [frame, i]));
  const frames = design.frames.map((_, i) => i).filter((frame) => !sinks.has(frame));
  if (frames.length < FEWEST_FRAMES) {
    throw new RangeError(
      `Cannot analyse "${design.name}" with ${frames.length} frames whose targets are no sinks: ` +
        `expected at least ${FEWEST_FRAMES} of its ${design.frames.length}`,
    );
  }
  const usable = takeFrames(codes, frames).design;
  const split = splitFrames(usable, { share, seed });
  const numbers = ({ frames }: StimulusDesign) => frames.map((frame) => number.get(frame)!);
  return {
    codes,
    frames,
    selection: numbers(split.selection),
    confirmation: numbers(split.confirmation),
    leftOut: [...sinks].map((frame) => design.frames[frame]),
  };
}

/**
 * The feature that each factor moves most, by Student's t over frames; two different ones.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { chooseFeatures, type StimulusDesign } from "interlens";
 *
 * // Twelve frames, three features: A moves the first, B the last.
 * const frames = Array.from({ length: 12 }, (_, i) => `${i}`);
 * const design = { name: "tiny", frames } as unknown as StimulusDesign;
 * const features = frames.flatMap((_, i) =>
 *   [[1, 1], [1, 0], [0, 1], [0, 0]].flatMap(([a, b]) => [a + i / 20, i % 3, b + i / 30])
 * );
 * const { a, b } = chooseFeatures({ design, features: Float32Array.from(features), dSae: 3 });
 * assertEquals([a.feature, b.feature], [0, 2]);
 * ```
 *
 * @param codes Measured stimuli of the frames to choose on.
 * @throws {RangeError} If fewer than two features are ever active.
 */
export function chooseFeatures(
  { design, features, dSae }: Pick<StimulusCodes, "design" | "features" | "dSae">,
  { draws = 999, seed = 0 }: { draws?: number; seed?: number } = {},
): { a: ChosenFeature; b: ChosenFeature } {
  const active = Array.from({ length: dSae }, (_, j) => j)
    .filter((j) => columnOf(features, dSae, j).some((value) => value !== 0));
  if (active.length < 2) {
    throw new RangeError(
      `Cannot choose two features for "${design.name}": ${active.length} are ever active at its targets`,
    );
  }
  const cells = active.map((j) => cellsOf(design, columnOf(features, dSae, j)));
  const choose = (effect: "factorA" | "factorB", except?: number): ChosenFeature => {
    const tests = maxT(cells, { effect, draws, seed });
    const at = strongest(tests.map(({ t }) => t), except);
    return { feature: active[at], t: tests[at].t, p: tests[at].p };
  };
  const a = choose("factorA");
  return { a, b: choose("factorB", active.indexOf(a.feature)) };
}

/** Dimension and directions by the selection frames, and what the dimension does in the others. */
function chooseInRows(
  rows: NfmRows,
  selection: readonly number[],
  confirmation: readonly number[],
) {
  const { K, dOut } = rows;
  const contrast = (matrix: Float32Array, width: number, frames: readonly number[]) =>
    contrastRows(takeRows(matrix, width, frames), width).interaction;
  const chosenBy = tOfColumns(contrast(rows.pooled, K, selection), K);
  const k = strongest(chosenBy);
  const tested = tOfColumns(contrast(rows.pooled, K, confirmation), K);
  return {
    k,
    t: Math.sign(chosenBy[k]) * tested[k],
    along: {
      linear: columnMeans(contrast(rows.linear, dOut, selection), dOut),
      interaction: columnMeans(contrast(rows.interaction, dOut, selection), dOut),
    },
  };
}

/**
 * The replication where labels mean nothing: in every frame the levels of each factor are exchanged by
 * chance, which changes the sign of the interaction where one of the two is.
 */
function permutedReplications(
  { pooled, K }: NfmRows,
  selection: readonly number[],
  confirmation: readonly number[],
  permutations: number,
  seed: number,
): Float64Array {
  const [chosenOn, testedOn] = [selection, confirmation]
    .map((frames) => contrastRows(takeRows(pooled, K, frames), K).interaction);
  const rng = new Rng(seed, "permuted labels");
  const signs = (frames: readonly number[]) =>
    Int8Array.from(frames, () => rng.integer(2) === rng.integer(2) ? 1 : -1);
  return Float64Array.from({ length: permutations }, () => {
    const chosenBy = tOfColumns(chosenOn, K, signs(selection));
    const k = strongest(chosenBy);
    return Math.sign(chosenBy[k]) * tOfColumns(testedOn, K, signs(confirmation))[k];
  });
}

function vectorTest(
  matrix: Float32Array,
  width: number,
  tests: { draws: number; seed: number },
): VectorTest {
  const frames = Array.from({ length: matrix.length / width / 4 }, (_, i) => `${i}`);
  return vectorContrast(vectorCellsOf({ name: "vectors", frames }, matrix, width), {
    ...tests,
    width,
  });
}
