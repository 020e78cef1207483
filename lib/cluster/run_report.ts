/**
 * What became of the units of a run.
 *
 * @module
 */
import {
  type Displayable,
  escapeHtml,
  formatNumber,
  formatSeconds,
  JUPYTER_DISPLAY,
  type MimeBundle,
} from "../display/mod.ts";
import type { Unit } from "./unit.ts";

/** A unit that failed as often as it was allowed to. */
export interface FailedUnit {
  readonly unit: Unit;
  /** Its name for people. */
  readonly name: string;
  /** How often it was tried. */
  readonly attempts: number;
  /** Why the last attempt failed. */
  readonly message: string;
  /** Where it failed, as far as the engine tells. */
  readonly nodes: readonly string[];
  /** End of what its last attempt printed; empty after the first hundred failed units of a run. */
  readonly log: string;
}

/** A unit that was not tried, because one that it needs failed. */
export interface SkippedUnit {
  readonly unit: Unit;
  /** Its name for people. */
  readonly name: string;
  /** Name of the failed unit that it needs, itself or through others. */
  readonly because: string;
}

/** Numbers and lists of a report. */
export interface RunCounts {
  readonly done: number;
  readonly loaded: number;
  readonly failed: readonly FailedUnit[];
  readonly skipped: readonly SkippedUnit[];
  readonly stopped: boolean;
  readonly seconds: number;
}

/** How many units of a list are shown. */
const SHOWN = 10;

/**
 * What became of the units of a run; renders in a notebook and prints in a terminal.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { RunReport } from "interlens";
 *
 * const report = new RunReport({
 *   ...{ done: 3, loaded: 1, failed: [], skipped: [], stopped: false, seconds: 75 },
 * });
 * assertEquals(report.complete, true);
 * assertEquals(`${report}`, "3 units done and 1 loaded in 1 min 15 s");
 * ```
 */
export class RunReport implements Displayable, RunCounts {
  /** Units whose work ended in this run, each counted once. */
  readonly done: number;
  /** Units whose results were there when their turn came. */
  readonly loaded: number;
  /** Units that failed as often as they were allowed to. */
  readonly failed: readonly FailedUnit[];
  /** Units that were not tried, because one that they need failed. */
  readonly skipped: readonly SkippedUnit[];
  /** Whether the run was stopped before its end: the same call again goes on. */
  readonly stopped: boolean;
  /** How long the run took. */
  readonly seconds: number;

  /** @param counts What happened. */
  constructor(counts: RunCounts) {
    this.done = counts.done;
    this.loaded = counts.loaded;
    this.failed = counts.failed;
    this.skipped = counts.skipped;
    this.stopped = counts.stopped;
    this.seconds = counts.seconds;
  }

  /** Whether every unit has its result. */
  get complete(): boolean {
    return !this.stopped && this.failed.length === 0 && this.skipped.length === 0;
  }

  /**
   * The report itself, where only a complete run is of use.
   *
   * @throws {Error} If the run was stopped, or if a unit failed or was skipped, saying which.
   */
  orThrow(): this {
    if (this.complete) return this;
    throw new Error(`The run is not complete: ${this}`);
  }

  /** The report as text. */
  toString(): string {
    return [this.#summary(), ...this.#lists().flatMap(({ title, lines }) => ["", title, ...lines])]
      .join("\n");
  }

  /** The report as Jupyter output. */
  [JUPYTER_DISPLAY](): MimeBundle {
    const lists = this.#lists().map(({ title, lines }) =>
      `<p><strong>${escapeHtml(title)}</strong></p><ul>${
        lines.map((line) => `<li>${escapeHtml(line)}</li>`).join("")
      }</ul>`
    );
    return {
      "text/html": `<div class="il-report"><p>${escapeHtml(this.#summary())}</p>${
        lists.join("")
      }</div>`,
      "text/plain": this.toString(),
    };
  }

  /** What `console.log` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }

  #summary(): string {
    const units = (count: number) => formatNumber(count);
    const parts = [`${units(this.done)} unit${this.done === 1 ? "" : "s"} done`];
    if (this.loaded > 0) parts.push(`${units(this.loaded)} loaded`);
    if (this.failed.length > 0) parts.push(`${units(this.failed.length)} failed`);
    if (this.skipped.length > 0) parts.push(`${units(this.skipped.length)} skipped`);
    const last = parts.length > 1 ? ` and ${parts.pop()}` : "";
    return `${this.stopped ? "Stopped: " : ""}${parts.join(", ")}${last} in ${
      formatSeconds(this.seconds)
    }`;
  }

  #lists(): { title: string; lines: string[] }[] {
    const short = <T>(items: readonly T[], line: (item: T) => string): string[] => [
      ...items.slice(0, SHOWN).map(line),
      ...items.length > SHOWN ? [`and ${formatNumber(items.length - SHOWN)} more`] : [],
    ];
    return [
      {
        title: "Failed; the results of the others are kept, and the same call tries these again:",
        lines: short(
          this.failed,
          ({ name, attempts, message, nodes }) =>
            `${name}, ${attempts} attempt${attempts === 1 ? "" : "s"}${
              nodes.length > 0 ? ` on ${[...new Set(nodes)].join(", ")}` : ""
            }: ${message}`,
        ),
      },
      {
        title: "Skipped, because a unit that they need failed:",
        lines: short(this.skipped, ({ name, because }) => `${name}, needs ${because}`),
      },
    ].filter(({ lines }) => lines.length > 0);
  }
}
