/**
 * A plan as people read it: a sentence, a table, its assumptions; and a table over scales.
 *
 * @module
 */
import {
  type Displayable,
  escapeHtml,
  formatNumber,
  JUPYTER_DISPLAY,
  type MimeBundle,
  type Table,
  table,
} from "../display/mod.ts";
import type { NodeSize, UnitCosts } from "./costs.ts";
import type { Bottleneck, PlanResult, PlanSeconds, PlanStage, PlanTotals } from "./plan.ts";
import { formatBytes, formatCount, formatDuration } from "./plan_format.ts";
import type { ResolvedPlanRequest } from "./plan_request.ts";

/**
 * A prediction; made by `plan`. It is plain data that prints in a terminal and renders in Jupyter.
 *
 * ```ts
 * import { assertEquals, assertStringIncludes } from "@std/assert";
 * import { Plan, plan, unitCosts } from "interlens";
 *
 * const small = plan({ tokens: 1e6, features: 4096, K: [64] }, unitCosts("cpu-2"));
 * assertEquals(new Plan(JSON.parse(JSON.stringify(small))), small);
 * assertStringIncludes(String(small), "NFM, K = 64");
 * ```
 */
export class Plan implements PlanResult, Displayable {
  readonly request: ResolvedPlanRequest;
  readonly costs: UnitCosts;
  readonly node: NodeSize;
  readonly shards: number;
  readonly stages: readonly PlanStage[];
  readonly phases: readonly PlanSeconds[];
  readonly totals: PlanTotals;
  readonly bottleneck: { readonly name: Bottleneck; readonly why: string };
  readonly exceeded: readonly { readonly name: Bottleneck; readonly why: string }[];
  readonly assumptions: readonly string[];

  /** @param result What `plan` gave, or what was read from its JSON. */
  constructor(result: PlanResult) {
    this.request = result.request;
    this.costs = result.costs;
    this.node = result.node;
    this.shards = result.shards;
    this.stages = result.stages;
    this.phases = result.phases;
    this.totals = result.totals;
    this.bottleneck = result.bottleneck;
    this.exceeded = result.exceeded;
    this.assumptions = result.assumptions;
  }

  /** What the run takes, in a sentence. */
  get summary(): string {
    const { seconds, deviceHours, storageBytes, units } = this.totals;
    const { tokens, features, K, nodes, seeds } = this.request;
    const { name, basis } = this.costs;
    return `${formatCount(tokens)} tokens, ${formatNumber(features, 15)} features, K = ` +
      `${K.map((k) => formatNumber(k, 15)).join(", ")}, ${
        seeds === 1 ? "one seed" : `${seeds} seeds`
      }, on ` +
      `${nodes} × ${name} (${basis}): ${formatDuration(seconds)}, ` +
      `${formatNumber(deviceHours, 3)} device hours in ${formatNumber(units, 15)} units, ` +
      `${formatBytes(storageBytes)} in the storage`;
  }

  /** Whether a device holds each of the models, with numbers. */
  get fits(): string {
    const models = this.stages.filter(({ parameters }) => parameters > 0);
    const all = models.map(({ name, parameters, stateBytes, deviceBytes }) =>
      `${name} ${formatNumber(parameters / 1e6, 3)} M parameters, ${
        formatBytes(stateBytes)
      } with ` +
      `Adam, ${formatBytes(deviceBytes)} with a step`
    );
    const limit = this.node.deviceBytes ?? this.node.hostBytes;
    const most = Math.max(...models.map(({ deviceBytes }) => deviceBytes));
    return (most <= limit
      ? `One device (${
        formatBytes(limit)
      }) holds each model, so parts of the text and trainings are ` +
        "what is spread: "
      : `One device (${formatBytes(limit)}) does not hold every model: `) + all.join("; ");
  }

  /** A row for each kind of units. */
  get table(): Table {
    const rows = this.stages.map((stage) => {
      const { name, units, seconds, hostBytes, deviceBytes } = stage;
      return {
        what: name,
        units,
        "a unit": formatDuration(seconds.total),
        "on its node": seconds.planning > Math.max(seconds.compute, seconds.storage)
          ? "starts"
          : seconds.storage > seconds.compute
          ? "waits for bytes"
          : "computes",
        "device hours": units * seconds.total / 3600,
        device: formatBytes(deviceBytes),
        host: formatBytes(hostBytes),
        "text in": formatBytes(stage.textBytes),
        "read back": formatBytes(stage.readBytes),
        "written, kept": formatBytes(stage.writtenBytes),
      };
    });
    return table(rows, { caption: this.summary, maxRows: rows.length });
  }

  /** HTML, and the same as text. */
  [JUPYTER_DISPLAY](): MimeBundle {
    const html = this.table[JUPYTER_DISPLAY]()["text/html"];
    const lines = this.#lines().map((line) => `<li>${escapeHtml(line)}</li>`).join("");
    return { "text/html": `${html}<ul>${lines}</ul>`, "text/plain": this.toString() };
  }

  /** The table and the assumptions as text. */
  toString(): string {
    return [String(this.table), ...this.#lines().map((line) => `- ${line}`)].join("\n");
  }

  /** What `console.log` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  #lines(): string[] {
    const { name, why } = this.bottleneck;
    const further = this.exceeded.slice(1);
    return [
      `First bottleneck: ${name}. ${why}`,
      ...further.map((other) => `Then ${other.name}. ${other.why}`),
      this.fits,
      ...this.assumptions.map((assumption) => `Assumed: ${assumption}`),
    ];
  }
}
