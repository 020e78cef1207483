/**
 * Costs of machines that are not here: a two-core reference that was measured, and accelerators
 * scaled from what their makers publish.
 *
 * @module
 */
import type { StepCost, UnitCosts } from "./costs.ts";

/** Published peaks of an accelerator. */
interface Peaks {
  readonly title: string;
  /** Dense matrix products of float32 operands as TensorFlow runs them (TF32 where there is it). */
  readonly flops: number;
  /** Bytes a second of its memory. */
  readonly bandwidth: number;
  readonly deviceBytes: number;
  /** Memory of the host beside it, assumed. */
  readonly hostBytes: number;
}

const PEAKS: Readonly<Record<string, Peaks>> = {
  h200: { title: "NVIDIA H200", ...peaks(494, 4800, 141, 256) },
  h100: { title: "NVIDIA H100 SXM", ...peaks(494, 3350, 80, 256) },
  a100: { title: "NVIDIA A100 SXM 80 GB", ...peaks(156, 2039, 80, 256) },
  l4: { title: "NVIDIA L4", ...peaks(60, 300, 24, 64) },
  rtx4090: { title: "NVIDIA RTX 4090", ...peaks(82.6, 1008, 24, 64) },
  rtx3090: { title: "NVIDIA RTX 3090", ...peaks(35.6, 936, 24, 64) },
};

function peaks(teraflops: number, gigabytes: number, device: number, host: number) {
  return {
    flops: 1e12 * teraflops,
    bandwidth: 1e9 * gigabytes,
    deviceBytes: 1e9 * device,
    hostBytes: 1e9 * host,
  };
}

/** Shares of the published peaks that are taken to be reached. */
export interface Efficiency {
  /** Of matrix products, 0 to 1. Default 0.3. */
  readonly compute?: number;
  /** Of the memory's bandwidth, 0 to 1. Default 0.5. */
  readonly bandwidth?: number;
}

/** Seconds of a step for starting its operations one by one from JavaScript, assumed. */
const LAUNCH = 0.01;
/** Seconds more until a process computes: the accelerator's libraries, assumed. */
const ACCELERATOR_START = 15;

/** Two cores of a shared server, measured by `deno task plan --measure` while little else ran. */
const REFERENCE: UnitCosts = {
  name: "cpu-2",
  basis: "reference",
  statement: "two cores of a shared server (TensorFlow 2.21 on CPU), measured by `deno task plan " +
    "--measure` while little else ran; another machine differs",
  harvest: { fixed: 0.002, perFlop: 5.6e-12, perByte: 4.5e-9 },
  standard: { fixed: 0.0012, perFlop: 5.0e-12, perByte: 5.9e-11 },
  topk: { fixed: 0.0057, perFlop: 8.1e-12, perByte: 5.6e-11 },
  nfm: { fixed: 0.0015, perFlop: 3.6e-12, perByte: 7.7e-11 },
  parameterSeconds: 5.8e-8,
  startSeconds: 0.6,
  loadSeconds: 6.6e-9,
  tokeniseSeconds: 2.0e-6,
  textSeconds: 2.3e-9,
  node: { hostBytes: 24e9 },
};

/**
 * Names that {@linkcode unitCosts} knows.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { costNames } from "interlens";
 *
 * assert(costNames().includes("h100"));
 * ```
 */
export function costNames(): string[] {
  return [REFERENCE.name, ...Object.keys(PEAKS)];
}

/**
 * What units cost on a machine that is not here.
 *
 * `"cpu-2"` was measured on another machine. Accelerators are extrapolated: their published peaks times
 * an efficiency that is assumed, and the reference's costs for what the host does.
 *
 * ```ts
 * import { assertAlmostEquals, assertEquals } from "@std/assert";
 * import { unitCosts } from "interlens";
 *
 * const { basis, topk } = unitCosts("h100", { compute: 0.5 });
 * assertEquals(basis, "extrapolated");
 * assertAlmostEquals(1 / topk.perFlop, 0.5 * 494e12, 1e6);
 * ```
 *
 * @param name One of {@linkcode costNames}.
 * @param efficiency Shares of the peaks.
 * @throws {RangeError} If there is no such name, or an efficiency is not in 0 to 1.
 */
export function unitCosts(name: string, efficiency: Efficiency = {}): UnitCosts {
  if (name === REFERENCE.name) return REFERENCE;
  const found = Object.hasOwn(PEAKS, name) ? PEAKS[name] : undefined;
  if (!found) {
    throw new RangeError(
      `There are no costs of "${name}": expected one of ${costNames().join(", ")}, or "measured" ` +
        "after `deno task plan --measure`",
    );
  }
  const { compute = 0.3, bandwidth = 0.5 } = efficiency;
  for (const [what, share] of Object.entries({ compute, bandwidth })) {
    if (!(share > 0 && share <= 1)) {
      throw new RangeError(
        `Cannot reach a share of ${share} of the peak (${what}): expected more than 0, at most 1`,
      );
    }
  }
  const step: StepCost = {
    fixed: LAUNCH,
    perFlop: 1 / (compute * found.flops),
    perByte: 1 / (bandwidth * found.bandwidth),
  };
  const { flops, deviceBytes, hostBytes, title } = found;
  return {
    ...REFERENCE,
    name,
    basis: "extrapolated",
    statement: `extrapolated, not measured: ${title}, ${100 * compute} % of its published ` +
      `${flops / 1e12} TFLOP/s (dense, TF32) and ${100 * bandwidth} % of its ` +
      `${found.bandwidth / 1e12} TB/s; work of the host as on two cores of a shared server`,
    // Rows leave the accelerator and are written by the host.
    harvest: { ...step, perByte: REFERENCE.harvest.perByte },
    standard: step,
    topk: step,
    nfm: step,
    startSeconds: REFERENCE.startSeconds + ACCELERATOR_START,
    node: { hostBytes, deviceBytes },
  };
}
