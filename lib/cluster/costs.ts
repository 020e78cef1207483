/**
 * What a unit of work costs on a machine: measured there, measured on another one, or scaled from the
 * published peaks of an accelerator.
 *
 * Every step is taken to cost a fixed time, a time for each floating point operation of its matrix
 * products, and a time for each byte that its other operations move.
 *
 * @module
 */

/** Seconds of a step: `fixed + perFlop · operations + perByte · bytes`. */
export interface StepCost {
  /** Seconds, whatever its size. */
  readonly fixed: number;
  /** Seconds for a floating point operation of a matrix product. */
  readonly perFlop: number;
  /** Seconds for a byte that other operations read or write. */
  readonly perByte: number;
}

/** What a step does; see `plan`'s module for how it is counted. */
export interface StepWork {
  /** Floating point operations of its matrix products. */
  readonly flops: number;
  /** Bytes of its other operations. */
  readonly bytes: number;
}

/** Seconds of a step of each kind, and what else a unit costs. */
export interface UnitCosts {
  /** What computes: a device in words, or the name of an accelerator. */
  readonly name: string;
  /**
   * `"measured"`: on this machine. `"reference"`: on another machine, by the same code.
   * `"extrapolated"`: from published peaks and assumed efficiencies; nothing of it was measured.
   */
  readonly basis: "measured" | "reference" | "extrapolated";
  /** Where the numbers come from, in a sentence. */
  readonly statement: string;
  /** A step is a batch of sequences; bytes are those of the stored rows, on the host. */
  readonly harvest: StepCost;
  /** A step of training a ReLU dictionary. */
  readonly standard: StepCost;
  /** A step of training a TopK dictionary. */
  readonly topk: StepCost;
  /** A step of training a factorization machine, the dictionary's codes included. */
  readonly nfm: StepCost;
  /** Seconds from the start of a unit's process until it computes. */
  readonly startSeconds: number;
  /** Seconds to load a model, for each of its parameters. */
  readonly loadSecondsPerParameter: number;
  /** Seconds to turn text into a token id. */
  readonly tokeniseSeconds: number;
  /** A node. */
  readonly node: NodeSize;
}

/** What a node has. */
export interface NodeSize {
  /** Bytes of the host's memory. */
  readonly hostBytes: number;
  /** Bytes of the accelerator's memory; undefined where the host computes. */
  readonly deviceBytes?: number;
}
