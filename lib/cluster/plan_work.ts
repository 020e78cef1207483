/**
 * How much a step does: operations of its matrix products, bytes that its other operations move, and
 * memory. Pure arithmetic from sizes; what an operation or a byte costs is measured, see `costs.ts`.
 *
 * Operations count a multiplication and an addition as two. Bytes count passes over arrays of float32.
 * What runs in one thread counts as more passes, as many as it took beside the others in steps of 14
 * sizes on two cores.
 *
 * @module
 */
import { bytesPerToken } from "../activations/shard_writer.ts";
import type { StoreDtype } from "../activations/mod.ts";
import { saeParameterCount } from "../evaluation/mod.ts";
import { nfmCost, type NfmParts, parameterCount } from "../interaction/mod.ts";
import type { ModelConfig } from "../model/mod.ts";
import type { StepWork } from "./costs.ts";

/** Bytes of a float32. */
const FLOAT = 4;
/** Adam reads a parameter, its gradient and two moments and writes all but the gradient. */
const ADAM_BYTES = 7 * FLOAT;
/** Passes over `[tokens, dSae]` to find the largest, in one thread. */
const LARGEST = 16;
/** Passes over `[tokens, l0, dIn]` to scatter gradients, in one thread. */
const SCATTER = 12;
/** What a process holds before it has a model. */
export const RUNTIME_BYTES = 0.5e9;

/** Sizes of a language model that decide a harvest. */
export interface ModelSize extends
  Pick<
    ModelConfig,
    "name" | "dModel" | "nHeads" | "nKvHeads" | "dHead" | "dMlp" | "vocabSize"
  > {
  /** Blocks that run: those before the hook point. */
  readonly blocks: number;
}

/** Sizes of a dictionary's step. */
export interface SaeSizes {
  readonly architecture: "topk" | "standard";
  /** Width of the activations. */
  readonly dIn: number;
  readonly dSae: number;
  /** Active features a token, in the mean. */
  readonly l0: number;
  /** Tokens of a batch. */
  readonly batch: number;
}

/** Sizes of a factorization machine's step, on the codes of a dictionary. */
export interface NfmSizes extends SaeSizes {
  readonly parts: NfmParts;
  readonly head: "linear" | "relu";
  readonly K: number;
}

/** Parameters of a model up to its hook point: embedding and the blocks that run. */
export function modelParameters(
  { dModel, nHeads, nKvHeads, dHead, dMlp, vocabSize, blocks }: ModelSize,
): number {
  return vocabSize * dModel +
    blocks * (2 * dModel * dHead * (nHeads + nKvHeads) + 3 * dModel * dMlp);
}

/** A batch of sequences: its products and attention; the bytes are those that are stored. */
export function harvestWork(
  model: ModelSize,
  { batch, contextLength, dtype }: { batch: number; contextLength: number; dtype: StoreDtype },
): StepWork {
  const { dModel, nHeads, nKvHeads, dHead, dMlp, blocks } = model;
  const products = 2 * (2 * dModel * dHead * (nHeads + nKvHeads) + 3 * dModel * dMlp);
  const attention = 4 * nHeads * dHead * contextLength;
  return {
    flops: batch * contextLength * blocks * (products + attention),
    // The beginning of a sequence is not stored.
    bytes: batch * (contextLength - 1) * bytesPerToken(dModel, dtype),
  };
}

/** Whether weight gradients of a TopK dictionary are scattered; see `topkLoss`. */
const scatters = ({ architecture, dSae, l0 }: SaeSizes) =>
  architecture === "topk" && dSae > 100 * l0;

/** A step of training a dictionary, Adam included, without features that are revived. */
export function saeWork(sizes: SaeSizes): StepWork {
  const { architecture, dIn, dSae, l0, batch } = sizes;
  const parameters = saeParameterCount(sizes);
  const dense = 2 * batch * dIn * dSae;
  const codes = FLOAT * batch * dSae;
  if (architecture === "standard") {
    // Encoder and decoder, forward and twice backward, less the gradient of x.
    return { flops: 5 * dense, bytes: ADAM_BYTES * parameters + 8 * codes };
  }
  const scattered = scatters(sizes);
  return {
    flops: dense * (scattered ? 1 : 3),
    // Gradients are made, added up and transposed before Adam reads them.
    bytes: (ADAM_BYTES + 4 * FLOAT) * parameters + LARGEST * codes +
      (scattered ? SCATTER : 1) * FLOAT * batch * l0 * dIn,
  };
}

/** Codes and residual of a batch. */
export function encodeWork({ architecture, dIn, dSae, l0, batch }: SaeSizes): StepWork {
  const dense = 2 * batch * dIn * dSae;
  return {
    flops: architecture === "topk" ? dense : 2 * dense,
    bytes: LARGEST * FLOAT * batch * dSae + 3 * FLOAT * batch * l0 * dIn,
  };
}

/** Rows of a machine that a step updates; all of them where a batch would use half or more. */
function updatedRows({ dSae, l0, batch }: NfmSizes): number {
  const inUse = 1 - (1 - l0 / dSae) ** batch;
  return dSae > 40 * l0 && inUse < 0.5 ? dSae * inUse : dSae;
}

/** Predictions of a machine for a batch, codes included. */
export function nfmForwardWork(sizes: NfmSizes): StepWork {
  const { dIn, l0, batch, K, parts, head } = sizes;
  const encode = encodeWork(sizes);
  const pairs = parts === "linear" ? 0 : K;
  return {
    flops: encode.flops + 2 * batch * pairs * (dIn + (head === "relu" ? K : 0)),
    bytes: encode.bytes + FLOAT * batch * (l0 * pairs + 3 * pairs + 2 * dIn),
  };
}

/** A step of training a machine: codes, forward, backward, Adam. */
export function nfmWork(sizes: NfmSizes): StepWork {
  const { dIn, l0, batch, K, parts, head } = sizes;
  const encode = encodeWork(sizes);
  const pairs = parts === "linear" ? 0 : K;
  const linear = parts === "interaction" ? 0 : dIn;
  const rows = updatedRows(sizes);
  const { head: headCount } = parameterCount({ parts, head, K, dSae: sizes.dSae, dOut: dIn });
  const updated = rows * (pairs + linear) + headCount;
  return {
    flops: encode.flops + 6 * batch * pairs * (dIn + (head === "relu" ? K : 0)),
    bytes: encode.bytes + ADAM_BYTES * updated +
      FLOAT * batch * (2 * l0 * pairs + 6 * pairs + 4 * dIn),
  };
}

/** Memory of a training: what stays, and what a step adds. */
export interface TrainingMemory {
  /** Numbers that are learnt. */
  readonly parameters: number;
  /** Bytes of parameters and both moments of Adam, and of a dictionary that stands under it. */
  readonly stateBytes: number;
  /** Bytes of gradients and activations of a step, at the worst moment. */
  readonly stepBytes: number;
}

/** Measured peaks of whole trainings, in parameters of float32: 8.4 and 12.9 GB at 320 M. */
const SAE_PEAK = { standard: 6, topk: 9 };
/** Measured peaks of a machine's steps, by their prediction. */
const NFM_PEAK = 1.3;

/** Memory of training a dictionary. */
export function saeMemory(sizes: SaeSizes): TrainingMemory {
  const parameters = saeParameterCount(sizes);
  const stateBytes = 3 * FLOAT * parameters;
  const { batch, dSae, dIn, architecture } = sizes;
  return {
    parameters,
    stateBytes,
    stepBytes: SAE_PEAK[architecture] * FLOAT * parameters - stateBytes +
      3 * FLOAT * batch * dSae + 4 * FLOAT * batch * dIn,
  };
}

/**
 * Memory of training a machine, beside the dictionary's weights.
 *
 * @param gathers Whether rows are gathered, `[tokens, l0, K]`, as on an accelerator; a CPU copies none.
 */
export function nfmMemory(sizes: NfmSizes, gathers = false): TrainingMemory {
  const { parts, head, K, dSae, dIn, l0, batch } = sizes;
  const shape = { parts, head, K, dSae, dOut: dIn, topN: l0 };
  const { stateBytes, stepBytes } = nfmCost(shape, { tokens: batch, used: updatedRows(sizes) });
  const dictionary = FLOAT * saeParameterCount(sizes);
  return {
    parameters: parameterCount(shape).total,
    stateBytes: stateBytes + dictionary,
    stepBytes: NFM_PEAK * (stateBytes + stepBytes) - stateBytes + 2 * FLOAT * batch * dSae +
      // The rows, their squares and their gradient.
      (gathers ? 3 * FLOAT * batch * l0 * K : 0),
  };
}
