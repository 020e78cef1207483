/**
 * What all charts are told, and what they share.
 *
 * @module
 */
import type { Layout, LayoutAxis } from "plotly.js";
import { wrap } from "../figure.ts";
import { formatNumber } from "../format.ts";

/** What a chart says in words. */
export interface ChartOptions {
  /** The finding, as a sentence: "Pairs explain a fifth of what the dictionary leaves". */
  title: string;
  /** What is seen and on what data it was measured. */
  caption: string;
  /** The figure in words, for those who cannot see it. Default: title and caption. */
  alt?: string;
  /** Label of the horizontal axis, with its unit. */
  x?: string;
  /** Label of the vertical axis, with its unit. */
  y?: string;
  /** Height without the caption, in pixels. */
  height?: number;
}

/** An empty chart is a mistake upstream; saying so beats an empty frame. */
export function refuseEmpty(kind: string, count: number): void {
  if (count === 0) {
    throw new RangeError(`Cannot draw ${kind} of nothing: expected at least one row`);
  }
}

/** Title of a chart, broken so that it fits a page of 900 pixels, and the room that it takes. */
export function titled(options: ChartOptions, legend: boolean): Partial<Layout> {
  const lines = wrap(options.title, 88);
  return {
    title: { text: lines.join("\n") },
    margin: { t: 34 + 21 * lines.length + (legend ? 26 : 0) },
  };
}

/** Width of the longest of some labels at the size of the theme, in pixels. */
export function labelWidth(labels: readonly string[]): number {
  return Math.min(280, 7.2 * Math.max(0, ...labels.map((label) => label.length)));
}

/** A label cut so that it does not push the chart off the page. */
export function shortened(label: string, characters = 38): string {
  const shown = Array.from(label);
  return shown.length <= characters ? label : `${shown.slice(0, characters - 1).join("")}…`;
}

/**
 * A logarithmic axis with round ticks written out in full; plotly.js writes "2" where 20 is meant.
 *
 * @param values What stands on the axis; what is not positive is left out.
 * @param own Whether the values themselves make the ticks, where they are few and apart.
 */
export function logAxis(values: readonly number[], own = false): Partial<LayoutAxis> {
  const shown = [...new Set(values)].filter((v) => v > 0 && Number.isFinite(v))
    .sort((a, b) => a - b);
  if (shown.length === 0) return { type: "log" };
  if (own && shown.length <= 10 && shown.every((v, i) => i === 0 || v >= 1.3 * shown[i - 1])) {
    return { type: "log", tickvals: shown, ticktext: shown.map((v) => formatNumber(v)) };
  }
  const low = shown[0] * 0.95;
  const high = shown[shown.length - 1] * 1.05;
  for (const digits of [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]]) {
    const ticks: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      // Through a decimal, so that 3 · 10⁻¹ is 0.3.
      for (const digit of digits) ticks.push(Number(`${digit}e${power}`));
    }
    const inside = ticks.filter((tick) => tick >= low && tick <= high);
    if (inside.length < 3) continue;
    const kept = inside.filter((_, i) => i % Math.ceil(inside.length / 9) === 0);
    return { type: "log", tickvals: kept, ticktext: kept.map((tick) => formatNumber(tick)) };
  }
  // Less than a factor of two: what plotly.js chooses by itself can be read.
  return { type: "log" };
}
