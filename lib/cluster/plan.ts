/**
 * What a large run will take: time, device hours, storage, memory and traffic, and what gives out
 * first. Pure arithmetic on sizes and unit costs.
 *
 * One accelerator holds each model that the study needs, so what is spread over nodes are parts of the
 * text and independent trainings; a training itself is not made shorter by more nodes.
 *
 * @module
 */
import { bytesPerToken } from "../activations/shard_writer.ts";
import { saeParameterCount } from "../evaluation/mod.ts";
import { type NodeSize, stepSeconds, type StepWork, type UnitCosts } from "./costs.ts";
import { assumptions } from "./plan_assumptions.ts";
import { exceeded, slowest } from "./plan_limits.ts";
import { type PlanRequest, type ResolvedPlanRequest, resolvePlanRequest } from "./plan_request.ts";
import * as work from "./plan_work.ts";
import { Plan } from "./plan_view.ts";

/** What holds a run back. */
export type Bottleneck =
  /** Arithmetic takes most of the time. */
  | "compute"
  /** Reading from the storage or writing to it takes most of the time. */
  | "storage bandwidth"
  /** Starting units, loading models and reading text takes most of the time, or lists grow too long. */
  | "planning"
  /** The storage is too small. */
  | "storage size"
  /** What a process keeps of every token or document does not fit into its memory. */
  | "host memory"
  /** A model with its step does not fit into an accelerator's memory. */
  | "device memory";

/** Seconds of a unit, by what they are spent on. */
export interface PlanSeconds {
  /** Starting a process, loading the language model, reading and planning text, the driver. */
  readonly planning: number;
  /** Computing. */
  readonly compute: number;
  /** Moving bytes from and to the storage; it happens while the unit computes. */
  readonly storage: number;
  /** Until the unit is done: planning, and the longer one of the other two. */
  readonly total: number;
}

/** Units of one kind. */
export interface PlanStage {
  /** What they do. */
  readonly name: string;
  /** What can run at the same time has the same phase. */
  readonly phase: number;
  readonly units: number;
  /** Of one unit. */
  readonly seconds: PlanSeconds;
  /** Numbers that a unit trains. */
  readonly parameters: number;
  /** Memory of one unit's process on the host, bytes. */
  readonly hostBytes: number;
  /** Of `hostBytes`: strings and objects that grow with tokens or documents. */
  readonly heapBytes: number;
  /** Memory of one unit on the accelerator, bytes; on the host where that computes. */
  readonly deviceBytes: number;
  /** Of `deviceBytes`: parameters and moments of Adam. */
  readonly stateBytes: number;
  /** Bytes that all units read from the text. */
  readonly textBytes: number;
  /** Bytes that all units read from the storage. */
  readonly readBytes: number;
  /** Bytes that all units write to the storage and that stay there. */
  readonly writtenBytes: number;
}

/** What is asked of a plan, summed over its stages. */
export interface PlanTotals {
  readonly units: number;
  /** Seconds from the first unit to the last. */
  readonly seconds: number;
  /** The same, by what they are spent on, along the longest node of each phase. */
  readonly spent: Omit<PlanSeconds, "total">;
  /** Hours that devices are held while a unit runs on them. */
  readonly deviceHours: number;
  /** Bytes in the storage at the end: activations and trained models. */
  readonly storageBytes: number;
  /** Bytes of activations among them. */
  readonly activationBytes: number;
  readonly textBytes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** The most that a process holds on a host. */
  readonly hostBytes: number;
  /** The most that a unit holds on a device. */
  readonly deviceBytes: number;
}

/** A prediction as plain data; see {@linkcode Plan}. */
export interface PlanResult {
  /** What was asked, defaults included. */
  readonly request: ResolvedPlanRequest;
  /** What units cost, and where that is known from. */
  readonly costs: UnitCosts;
  /** What a node has. */
  readonly node: NodeSize;
  /** Parts of the harvest. */
  readonly shards: number;
  readonly stages: readonly PlanStage[];
  /** Seconds from the first to the last unit of each phase. */
  readonly phases: readonly PlanSeconds[];
  readonly totals: PlanTotals;
  /** What gives out first, or takes most of the time. */
  readonly bottleneck: {
    readonly name: Bottleneck;
    /** Why, with its numbers. */
    readonly why: string;
  };
  /** All that does not fit, in the order of the run. */
  readonly exceeded: readonly { readonly name: Bottleneck; readonly why: string }[];
  /** What was assumed. */
  readonly assumptions: readonly string[];
}

/** A part of the harvest should not take longer, so that little is lost with a node. */
const SHARD_SECONDS = 4 * 3600;
/** Tokens of an evaluation's batch. */
const EVALUATED = 1024;
/** Training tokens from which the scales of codes and residuals are measured. */
const SCALED = 16_384;
/** What a harvest holds beside its model: a file for each split, and a batch. */
const HARVEST_BUFFERS = 0.4e9;
/** Bytes of a planned sequence of 128 tokens, measured: on V8's heap, and of its ids beside it. */
const [SEQUENCE_HEAP, SEQUENCE_IDS] = [237, 508];
/** Bytes of a document's id in a set. */
const ID_BYTES = 100;

/**
 * Predicts a run: a harvest in parts, a dictionary, a secondary one and a machine of each K for each
 * seed, and an evaluation of each seed. Where the documents of a harvest cannot all be held and the
 * request does not say whether they stream, that is the first bottleneck, and they stream: the other
 * numbers are those of streamed ones.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { plan, unitCosts } from "interlens";
 *
 * const study = { tokens: 1e9, features: 50_000, K: [150, 10_000], nodes: 8, seeds: 5 };
 * const { stages, totals, bottleneck } = plan({ ...study, dtype: "float16" }, unitCosts("h100"));
 * assertEquals(stages.map(({ name, units }) => `${units} × ${name}`), [
 *   `${stages[0].units} × harvest`,
 *   "1 × merge",
 *   "5 × dictionary",
 *   "5 × secondary dictionary",
 *   "5 × NFM, K = 150",
 *   "5 × NFM, K = 10000",
 *   "5 × evaluation",
 * ]);
 * // 6,412 bytes a token, with those of validation and test.
 * assertEquals(totals.activationBytes, (1e9 + 600_000) * (2 * 3200 + 12));
 * // One accelerator holds each model with its optimiser.
 * assert(stages.every(({ stateBytes }) => stateBytes < 16e9));
 * console.log(bottleneck.name, bottleneck.why);
 * ```
 *
 * @param request What is to be done.
 * @param costs What units cost; see `unitCosts` and `readCosts`.
 * @throws {RangeError} If the request names something that cannot be.
 */
export function plan(request: PlanRequest, costs: UnitCosts): Plan {
  const planned = planOf(request, costs);
  const [first] = planned.exceeded;
  if (request.streamed !== undefined || first?.name !== "host memory") return planned;
  const streamed = planOf({ ...request, streamed: true }, costs);
  // Memory that another stage lacks is not won by streaming.
  if (streamed.exceeded.some(({ why }) => why === first.why)) return planned;
  return new Plan({ ...streamed, bottleneck: first, exceeded: [first, ...streamed.exceeded] });
}

function planOf(request: PlanRequest, costs: UnitCosts): Plan {
  const asked = resolvePlanRequest(request);
  const node: NodeSize = { ...costs.node, ...asked.node };
  const shards = asked.shards ?? shardsFor(asked, costs);
  const stages = [
    harvestStage(asked, costs, shards),
    mergeStage(asked, costs),
    ...trainingStages(asked, costs),
    evaluationStage(asked, costs),
  ];
  const phases = [...new Set(stages.map(({ phase }) => phase))].map((phase) =>
    phaseSeconds(stages.filter((stage) => stage.phase === phase), asked.nodes)
  );
  const totals = sum(stages, phases);
  const unfit = exceeded({ request: asked, node, stages, totals });
  return new Plan({
    request: asked,
    costs,
    node,
    shards,
    stages,
    phases,
    totals,
    bottleneck: unfit[0] ?? slowest(totals),
    exceeded: unfit,
    assumptions: assumptions(asked, costs, shards),
  });
}

/** Tokens of all splits. */
export function allTokens({ tokens, heldOut }: ResolvedPlanRequest): number {
  return tokens + heldOut.validation + heldOut.test;
}

/** Bytes a second that a node gets while `busy` of them read or write. */
function bandwidth({ storage }: ResolvedPlanRequest, busy: number): number {
  return Math.min(storage.nodeBandwidth, storage.bandwidth / busy);
}

function harvestSeconds(asked: ResolvedPlanRequest, costs: UnitCosts, shards: number): PlanSeconds {
  const { contextLength, dtype, model, sequences: batch, overhead, textTokens, textBytes } = asked;
  const tokens = allTokens(asked);
  // The first batch of all says what a sink is; every part runs it.
  const steps = tokens / shards / (batch * (contextLength - 1)) + (1 - 1 / shards);
  const step = work.harvestWork(model, { batch, contextLength, dtype });
  const bytes = tokens * bytesPerToken(model.dModel, dtype) / shards;
  // Every part reads the whole text.
  const text = textBytes * textTokens *
    Math.max(costs.textSeconds, 1 / bandwidth(asked, Math.min(asked.nodes, shards)));
  return seconds({
    planning: overhead + costs.startSeconds + costs.loadSeconds * work.modelParameters(model) +
      text + costs.tokeniseSeconds * plannedTokens(asked),
    compute: steps * stepSeconds(costs.harvest, step) +
      (asked.streamed ? costs.tokeniseSeconds * tokens / shards : 0),
    storage: bytes / bandwidth(asked, Math.min(asked.nodes, shards)),
  });
}

/** Tokens that a part makes before it starts: of every document that a sequence is drawn from. */
function plannedTokens(asked: ResolvedPlanRequest): number {
  const { streamed, textTokens, documentTokens, contextLength } = asked;
  if (streamed) return 0;
  return Math.min(textTokens, allTokens(asked) / (contextLength - 1) * documentTokens);
}

const seconds = (parts: Omit<PlanSeconds, "total">): PlanSeconds => ({
  ...parts,
  total: parts.planning + Math.max(parts.compute, parts.storage),
});

function shardsFor(asked: ResolvedPlanRequest, costs: UnitCosts): number {
  const { compute, storage } = harvestSeconds(asked, costs, asked.nodes);
  const batches = Math.ceil(allTokens(asked) / (asked.sequences * (asked.contextLength - 1)));
  const wanted = asked.nodes * Math.max(1, Math.ceil(Math.max(compute, storage) / SHARD_SECONDS));
  return Math.min(wanted, batches);
}

function harvestStage(
  asked: ResolvedPlanRequest,
  costs: UnitCosts,
  shards: number,
): PlanStage {
  const { model, dtype, textTokens, textBytes, streamed, documentTokens, contextLength } = asked;
  const tokens = allTokens(asked);
  const weights = 4 * work.modelParameters(model);
  // Six arrays of the width of a block, and one of its MLP's, of a batch; scores of one block.
  const batch = 4 * asked.sequences * contextLength *
    (6 * model.dModel + 3 * model.dMlp + 2 * model.nHeads * contextLength);
  // Planned: the text and what describes a sequence, and beside the heap the ids of its tokens.
  // Streamed: the ids of the documents.
  const sequences = tokens / (contextLength - 1);
  const heapBytes = streamed
    ? ID_BYTES * textTokens / documentTokens
    : textBytes * textTokens + SEQUENCE_HEAP * sequences;
  const ids = streamed
    ? 0
    : SEQUENCE_IDS * sequences * contextLength / 128 + 4 * plannedTokens(asked);
  return {
    name: "harvest",
    phase: 0,
    units: shards,
    seconds: harvestSeconds(asked, costs, shards),
    parameters: 0,
    hostBytes: work.RUNTIME_BYTES + HARVEST_BUFFERS + heapBytes + ids +
      (costs.node.deviceBytes === undefined ? weights + batch : 0),
    heapBytes,
    deviceBytes: weights + batch,
    stateBytes: weights,
    textBytes: textBytes * textTokens * shards,
    readBytes: 0,
    writtenBytes: tokens * bytesPerToken(model.dModel, dtype),
  };
}

/** One store of all parts: their records are read, and a manifest is written. */
function mergeStage(asked: ResolvedPlanRequest, costs: UnitCosts): PlanStage {
  return {
    name: "merge",
    phase: 1,
    units: 1,
    seconds: seconds({ planning: asked.overhead + costs.startSeconds, compute: 0, storage: 0 }),
    ...{
      parameters: 0,
      hostBytes: work.RUNTIME_BYTES,
      heapBytes: 0,
      deviceBytes: 0,
      stateBytes: 0,
    },
    ...{ textBytes: 0, readBytes: 0, writtenBytes: 0 },
  };
}

/** Bytes that all trainings of a kind read, each node keeping what fits. */
function trainingReads(asked: ResolvedPlanRequest, units: number, steps: number): number {
  const { tokens, batch, nodes, cacheBytes, model, dtype } = asked;
  const store = tokens * bytesPerToken(model.dModel, dtype);
  if (store <= cacheBytes) return Math.min(units, nodes) * store;
  return units * steps * batch * bytesPerToken(model.dModel, dtype);
}

interface Training {
  readonly name: string;
  readonly phase: 2 | 3;
  readonly steps: number;
  readonly stepSeconds: number;
  readonly memory: work.TrainingMemory;
}

function trainingStages(asked: ResolvedPlanRequest, costs: UnitCosts): PlanStage[] {
  const { features, secondaryFeatures, K, architecture, l0, batch, parts, head, model } = asked;
  const sizes = { architecture, dIn: model.dModel, dSae: features, l0, batch };
  const cost = costs[architecture];
  const trainings: Training[] = [{
    name: "dictionary",
    phase: 2,
    steps: asked.steps,
    stepSeconds: stepSeconds(cost, work.saeWork(sizes)),
    memory: work.saeMemory(sizes),
  }];
  if (secondaryFeatures > 0) {
    const second = { ...sizes, dSae: secondaryFeatures };
    const memory = work.saeMemory(second);
    trainings.push({
      name: "secondary dictionary",
      phase: 3,
      steps: asked.secondarySteps,
      // The first dictionary's residual is computed when it is read.
      stepSeconds: stepSeconds(cost, added(work.saeWork(second), work.encodeWork(sizes))),
      memory: { ...memory, stateBytes: memory.stateBytes + 4 * saeParameterCount(sizes) },
    });
  }
  for (const width of K) {
    const nfm = { ...sizes, K: width, parts, head };
    trainings.push({
      name: `NFM, K = ${width}`,
      phase: 3,
      steps: asked.nfmSteps,
      stepSeconds: stepSeconds(costs.nfm, work.nfmWork(nfm)),
      memory: work.nfmMemory(nfm, costs.node.deviceBytes !== undefined),
    });
  }
  const together = asked.seeds * (trainings.length - 1);
  return trainings.map((training) =>
    trainingStage(training, asked, costs, training.phase === 2 ? asked.seeds : together)
  );
}

/** @param together Units of its phase. */
function trainingStage(
  { name, phase, steps, stepSeconds: step, memory }: Training,
  asked: ResolvedPlanRequest,
  costs: UnitCosts,
  together: number,
): PlanStage {
  const units = asked.seeds;
  const { parameters, stateBytes, stepBytes } = memory;
  const reads = trainingReads(asked, units, steps);
  const encode = work.encodeWork({
    ...{ architecture: asked.architecture, dIn: asked.model.dModel, dSae: asked.features },
    ...{ l0: asked.l0, batch: EVALUATED },
  });
  // Before and after the steps; a model of another's error measures its scales first.
  const passes = asked.heldOut.validation + (phase === 3 ? Math.min(asked.tokens, SCALED) : 0);
  const beside = passes / EVALUATED * stepSeconds(costs.nfm, encode);
  const onHost = costs.node.deviceBytes === undefined;
  return {
    name,
    phase,
    units,
    seconds: seconds({
      planning: asked.overhead + costs.startSeconds + costs.parameterSeconds * parameters,
      compute: steps * step + beside,
      storage: (reads / units + 4 * parameters) /
        bandwidth(asked, Math.min(asked.nodes, together)),
    }),
    parameters,
    // What is drawn at the start and kept while it is trained passes through the host.
    hostBytes: work.RUNTIME_BYTES + (onHost ? stateBytes + stepBytes : 12 * parameters),
    heapBytes: 0,
    deviceBytes: stateBytes + stepBytes,
    stateBytes,
    textBytes: 0,
    readBytes: reads,
    writtenBytes: 4 * parameters * units,
  };
}

function evaluationStage(asked: ResolvedPlanRequest, costs: UnitCosts): PlanStage {
  const { architecture, model, features, secondaryFeatures, l0, K, parts, head, seeds } = asked;
  const sizes = { architecture, dIn: model.dModel, dSae: features, l0, batch: EVALUATED };
  const machines = K.map((width) => ({ ...sizes, K: width, parts, head }));
  const step = [
    work.encodeWork(sizes),
    ...secondaryFeatures > 0 ? [work.encodeWork({ ...sizes, dSae: secondaryFeatures })] : [],
    ...machines.map(work.nfmForwardWork),
  ].reduce(added);
  const { test } = asked.heldOut;
  const parameters =
    [sizes, ...secondaryFeatures > 0 ? [{ ...sizes, dSae: secondaryFeatures }] : []]
      .reduce((sum, shape) => sum + saeParameterCount(shape), 0) +
    machines.reduce((sum, shape) => sum + work.nfmMemory(shape).parameters, 0);
  const reads = seeds * (test * bytesPerToken(model.dModel, asked.dtype) + 4 * parameters);
  // One after the other: the first dictionary and the largest of the others.
  const held = 4 * saeParameterCount(sizes) +
    Math.max(...machines.map((shape) => 4 * work.nfmMemory(shape).parameters)) +
    3 * 4 * EVALUATED * features;
  const onHost = costs.node.deviceBytes === undefined;
  return {
    name: "evaluation",
    phase: 4,
    units: seeds,
    seconds: seconds({
      planning: asked.overhead + costs.startSeconds,
      compute: test / EVALUATED * stepSeconds(costs.nfm, step),
      storage: reads / seeds / bandwidth(asked, Math.min(asked.nodes, seeds)),
    }),
    parameters: 0,
    // The document of each token is held.
    hostBytes: work.RUNTIME_BYTES + 4 * test + (onHost ? held : 0),
    heapBytes: 0,
    deviceBytes: held,
    stateBytes: held,
    textBytes: 0,
    readBytes: reads,
    writtenBytes: 0,
  };
}

function added(a: StepWork, b: StepWork): StepWork {
  return { flops: a.flops + b.flops, bytes: a.bytes + b.bytes };
}

/** Longest first, each to the node that is free first. */
function phaseSeconds(stages: readonly PlanStage[], nodes: number): PlanSeconds {
  const free = Array.from({ length: nodes }, () => ({
    planning: 0,
    compute: 0,
    storage: 0,
    total: 0,
  }));
  for (const stage of stages.toSorted((a, b) => b.seconds.total - a.seconds.total)) {
    const { planning, compute, storage, total } = stage.seconds;
    // As many for each node as there are of one kind; what is left goes where it ends first.
    const each = Math.floor(stage.units / nodes);
    const left = stage.units - each * nodes;
    const order = free.toSorted((a, b) => a.total - b.total);
    for (const [i, node] of order.entries()) {
      const many = each + (i < left ? 1 : 0);
      node.planning += many * planning;
      // The shorter one of the two is hidden behind the longer one.
      if (compute >= storage) node.compute += many * compute;
      else node.storage += many * storage;
      node.total += many * total;
    }
  }
  return free.reduce((longest, node) => node.total > longest.total ? node : longest);
}

function sum(stages: readonly PlanStage[], phases: readonly PlanSeconds[]): PlanTotals {
  const total = (of: (stage: PlanStage) => number) =>
    stages.reduce((sum, stage) => sum + of(stage), 0);
  const spent = (what: "planning" | "compute" | "storage") =>
    phases.reduce((sum, phase) => sum + phase[what], 0);
  const activationBytes = stages[0].writtenBytes;
  return {
    units: total(({ units }) => units),
    seconds: phases.reduce((sum, phase) => sum + phase.total, 0),
    spent: { planning: spent("planning"), compute: spent("compute"), storage: spent("storage") },
    deviceHours: total(({ units, seconds }) => units * seconds.total) / 3600,
    storageBytes: total(({ writtenBytes }) => writtenBytes),
    activationBytes,
    textBytes: total(({ textBytes }) => textBytes),
    readBytes: total(({ readBytes }) => readBytes),
    writtenBytes: total(({ writtenBytes }) => writtenBytes),
    hostBytes: Math.max(...stages.map(({ hostBytes }) => hostBytes)),
    deviceBytes: Math.max(...stages.map(({ deviceBytes }) => deviceBytes)),
  };
}
