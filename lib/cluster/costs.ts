/**
 * What a unit of work costs on a machine: measured there, measured on another one, or scaled from the
 * published peaks of an accelerator.
 *
 * Every step is taken to cost a fixed time, a time for each floating point operation of its matrix
 * products, and a time for each byte that its other operations move.
 *
 * @module
 */
import { cacheDir, writeFileAtomic } from "../files/mod.ts";

/** What a step of `plan` does. */
export interface StepWork {
  /** Floating point operations of its matrix products, a multiplication and an addition being two. */
  readonly flops: number;
  /** Bytes that its other operations read and write. */
  readonly bytes: number;
}

/** Seconds of a step: `fixed + perFlop · operations + perByte · bytes`. */
export interface StepCost {
  /** Seconds, whatever its size. */
  readonly fixed: number;
  /** Seconds for a floating point operation of a matrix product. */
  readonly perFlop: number;
  /** Seconds for a byte that other operations read or write. */
  readonly perByte: number;
}

/** What a node has. */
export interface NodeSize {
  /** Bytes of the host's memory. */
  readonly hostBytes: number;
  /** Bytes of the accelerator's memory; absent where the host computes. */
  readonly deviceBytes?: number;
}

/** What units cost on a machine. */
export interface UnitCosts {
  /** What computes: a device in words, or the name of an accelerator. */
  readonly name: string;
  /**
   * `"measured"`: on this machine. `"reference"`: on another machine, by the same code.
   * `"extrapolated"`: from published peaks and assumed efficiencies; it was not measured.
   */
  readonly basis: "measured" | "reference" | "extrapolated";
  /** Where the numbers come from, in a sentence. */
  readonly statement: string;
  /** A step is a batch of sequences; its bytes are those of the stored rows, on the host. */
  readonly harvest: StepCost;
  /** A step of training a ReLU dictionary. */
  readonly standard: StepCost;
  /** A step of training a TopK dictionary. */
  readonly topk: StepCost;
  /** A step of training a factorization machine, the dictionary's codes included. */
  readonly nfm: StepCost;
  /** Seconds to draw, keep and write a parameter of something that is trained. */
  readonly parameterSeconds: number;
  /** Seconds from the start of a unit's process until it computes. */
  readonly startSeconds: number;
  /** Seconds to load a language model, for each of its parameters. */
  readonly loadSeconds: number;
  /** Seconds to make a token of text, in one thread. */
  readonly tokeniseSeconds: number;
  /** Seconds to read a byte of text and find its document, in one thread. */
  readonly textSeconds: number;
  /** A node. */
  readonly node: NodeSize;
  /** What was measured, where something was. */
  readonly measurements?: readonly Measurement[];
}

/** One measurement behind unit costs. */
export interface Measurement {
  /** What was done. */
  readonly work: string;
  /** Seconds: least, median and most of some repetitions. */
  readonly seconds: readonly [number, number, number];
  /** What the fitted costs say. */
  readonly fitted: number;
}

/** A measured step. */
export interface MeasuredStep {
  readonly work: StepWork;
  readonly seconds: number;
}

/** Seconds of a step of this work. */
export function stepSeconds(
  { fixed, perFlop, perByte }: StepCost,
  { flops, bytes }: StepWork,
): number {
  return fixed + perFlop * flops + perByte * bytes;
}

/**
 * The costs, none of them negative, that come nearest to measured steps: the sum of squared relative
 * errors is least. With few steps some costs are 0: what they would explain, others explain.
 *
 * @param steps At least one, of different sizes.
 * @throws {RangeError} If there is none, or a time is not above 0.
 */
export function fitStepCost(steps: readonly MeasuredStep[]): StepCost {
  if (steps.length === 0) {
    throw new RangeError("Cannot fit the cost of a step to no measurements: give at least one");
  }
  for (const { seconds } of steps) {
    if (!(seconds > 0 && Number.isFinite(seconds))) {
      throw new RangeError(`Cannot fit the cost of a step of ${seconds} s: expected more than 0`);
    }
  }
  const rows = steps.map(({ work: { flops, bytes }, seconds }) =>
    [1, flops, bytes].map((x) => x / seconds)
  );
  let best = { error: Infinity, costs: [0, 0, 0] };
  // With three columns every set of them can be tried.
  for (let set = 1; set < 8; set++) {
    const columns = [0, 1, 2].filter((column) => set >> column & 1);
    const solved = leastSquares(rows.map((row) => columns.map((column) => row[column])));
    if (!solved || solved.some((cost) => !(cost >= 0))) continue;
    const costs = [0, 0, 0];
    columns.forEach((column, i) => costs[column] = solved[i]);
    const error = rows.reduce(
      (sum, row) => sum + (row.reduce((t, x, i) => t + x * costs[i], 0) - 1) ** 2,
      0,
    );
    // A cost more has to earn its place beyond rounding.
    if (error < best.error - 1e-12) best = { error, costs };
  }
  const [fixed, perFlop, perByte] = best.costs;
  return { fixed, perFlop, perByte };
}

/** The x for which `A x` is nearest to ones; undefined where that is not one x. */
function leastSquares(A: readonly (readonly number[])[]): number[] | undefined {
  const n = A[0].length;
  // Columns of one size keep the normal equations well posed: they differ by ten powers of ten.
  const sizes = Array.from(
    { length: n },
    (_, j) => Math.sqrt(A.reduce((sum, row) => sum + row[j] ** 2, 0)),
  );
  if (sizes.some((size) => size === 0) || A.length < n) return undefined;
  const M = Array.from({ length: n }, (_, i) => [
    ...Array.from(
      { length: n },
      (_, j) => A.reduce((sum, row) => sum + row[i] * row[j], 0) / sizes[i] / sizes[j],
    ),
    A.reduce((sum, row) => sum + row[i], 0) / sizes[i],
  ]);
  for (let i = 0; i < n; i++) {
    if (!(Math.abs(M[i][i]) > 1e-9)) return undefined;
    for (let r = 0; r < n; r++) {
      if (r === i) continue;
      const factor = M[r][i] / M[i][i];
      for (let c = i; c <= n; c++) M[r][c] -= factor * M[i][c];
    }
  }
  return sizes.map((size, i) => M[i][n] / M[i][i] / size);
}

/** A machine, and the threads that a unit computes with there. */
export interface MeasuredMachine {
  /** Name of the machine. Default: this one's. */
  readonly machine?: string;
  /** Threads. Default: as many as there are processors. */
  readonly threads?: number;
}

/** File of a machine's costs. */
function fileOf(
  { machine = Deno.hostname(), threads = navigator.hardwareConcurrency }: MeasuredMachine,
): string {
  return cacheDir("plan", `${machine.replaceAll(/[^A-Za-z0-9._-]+/g, "-")}-${threads}.json`);
}

/**
 * The costs that `deno task plan --measure` found on a machine; undefined if it did not run there.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { readCosts } from "interlens";
 *
 * assertEquals(await readCosts({ machine: "one that nobody has measured" }), undefined);
 * ```
 *
 * @param of Which machine, and with how many threads.
 * @throws {Error} If the file of measurements cannot be read.
 */
export async function readCosts(of: MeasuredMachine = {}): Promise<UnitCosts | undefined> {
  const path = fileOf(of);
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  try {
    return checkCosts(JSON.parse(text));
  } catch (cause) {
    throw new Error(
      `Cannot read the measured costs in "${path}": run \`deno task plan --measure\` again`,
      { cause },
    );
  }
}

/** Keeps measured costs of a machine. */
export async function writeCosts(costs: UnitCosts, of: MeasuredMachine = {}): Promise<void> {
  await writeFileAtomic(fileOf(of), JSON.stringify(checkCosts(costs), null, 2) + "\n");
}

/** @throws {RangeError} If a cost is missing or negative, naming it. */
export function checkCosts(costs: UnitCosts): UnitCosts {
  const { harvest, standard, topk, nfm, node } = costs;
  const numbers: Record<string, number | undefined> = { hostBytes: node?.hostBytes };
  for (const [name, step] of Object.entries({ harvest, standard, topk, nfm })) {
    for (const part of ["fixed", "perFlop", "perByte"] as const) {
      numbers[`${name}.${part}`] = step?.[part];
    }
  }
  for (
    const part of [
      ...["parameterSeconds", "startSeconds", "loadSeconds"] as const,
      ...["tokeniseSeconds", "textSeconds"] as const,
    ]
  ) numbers[part] = costs[part];
  for (const [name, value] of Object.entries(numbers)) {
    if (!(typeof value === "number" && value >= 0 && Number.isFinite(value))) {
      throw new RangeError(`Cannot plan with the cost ${name} = ${value}: expected 0 or more`);
    }
  }
  return costs;
}
