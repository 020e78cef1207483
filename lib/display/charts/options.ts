/**
 * What all charts are told, and what they share.
 *
 * @module
 */
import type { Layout } from "plotly.js";
import { wrap } from "../figure.ts";

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
