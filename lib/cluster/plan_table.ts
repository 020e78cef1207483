/**
 * The same run at many scales.
 *
 * @module
 */
import { type Table, table } from "../display/mod.ts";
import type { UnitCosts } from "./costs.ts";
import { type Bottleneck, plan } from "./plan.ts";
import { formatBytes, formatCount, formatDuration } from "./plan_format.ts";
import { slowest } from "./plan_limits.ts";
import type { PlanRequest } from "./plan_request.ts";

/** A run at one scale. */
export interface PlanRow {
  readonly tokens: number;
  /** From the first unit to the last. */
  readonly seconds: number;
  readonly deviceHours: number;
  /** Bytes in the storage at the end. */
  readonly storageBytes: number;
  /** Bytes that trainings and evaluations read from it. */
  readonly readBytes: number;
  /** The most that a process holds on a host. */
  readonly hostBytes: number;
  /** What gives out first, or takes most of the time. */
  readonly bottleneck: Bottleneck;
  readonly why: string;
  /** What else does not fit once that is lifted, in the order of the run; then what takes most time. */
  readonly then: readonly Bottleneck[];
}

/** Tokens of the published table. */
const SCALES: readonly number[] = Array.from({ length: 8 }, (_, i) => 10 ** (i + 5));

/**
 * A run at scales from 10⁵ to 10¹² tokens, one epoch of each, and what gives out first; see `plan`.
 *
 * ```ts
 * import { assert, assertEquals } from "@std/assert";
 * import { planScales, unitCosts } from "interlens";
 *
 * const request = { features: 50_000, K: [150], nodes: 8 };
 * const rows = planScales(request, unitCosts("h100"));
 * assertEquals(rows.map(({ tokens }) => tokens)[0], 1e5);
 * assert(rows.every(({ seconds }, i) => i === 0 || seconds > rows[i - 1].seconds));
 * ```
 *
 * @param request The run; steps, where they are given, stay the same at every scale.
 * @param costs What units cost.
 * @param scales Training tokens.
 * @throws As `plan`.
 */
export function planScales(
  request: Omit<PlanRequest, "tokens">,
  costs: UnitCosts,
  scales: readonly number[] = SCALES,
): PlanRow[] {
  return scales.map((tokens) => {
    const { exceeded, totals, bottleneck } = plan({ ...request, tokens }, costs);
    const [name, ...then] = new Set([...exceeded, slowest(totals)].map(({ name }) => name));
    const { seconds, deviceHours, storageBytes, readBytes, hostBytes } = totals;
    return {
      ...{ tokens, seconds, deviceHours, storageBytes, readBytes, hostBytes },
      bottleneck: name,
      why: bottleneck.why,
      then,
    };
  });
}

/**
 * {@linkcode planScales} as a table.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { planTable, unitCosts } from "interlens";
 *
 * const { cells } = planTable({ features: 50_000, K: [150] }, unitCosts("h100"), [1e5, 1e9]);
 * assertEquals(cells.map(([tokens]) => tokens), ["10⁵", "10⁹"]);
 * ```
 */
export function planTable(
  request: Omit<PlanRequest, "tokens">,
  costs: UnitCosts,
  scales: readonly number[] = SCALES,
): Table {
  const rows = planScales(request, costs, scales).map((row) => ({
    tokens: formatCount(row.tokens),
    time: formatDuration(row.seconds),
    "device hours": row.deviceHours,
    storage: formatBytes(row.storageBytes),
    "read back": formatBytes(row.readBytes),
    "a host": formatBytes(row.hostBytes),
    "first bottleneck": row.bottleneck,
    why: row.why,
    then: row.then.join(", "),
  }));
  return table(rows, {
    caption: `By number of tokens, on ${request.nodes ?? 1} × ${costs.name} (${costs.basis})`,
    maxRows: rows.length,
  });
}
