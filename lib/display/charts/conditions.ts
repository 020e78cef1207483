/**
 * Measures in the four conditions of a 2×2 design: what the panels of such a design share.
 *
 * @module
 */
import { formatNumber } from "../format.ts";
import type { ChartOptions } from "./options.ts";

/** Values in the four conditions; the same index of each is the same frame. */
export interface ConditionCells {
  /** Both factors high. */
  a1b1: ArrayLike<number>;
  /** A high, B low. */
  a1b0: ArrayLike<number>;
  /** A low, B high. */
  a0b1: ArrayLike<number>;
  /** Both low. */
  a0b0: ArrayLike<number>;
}

/** What a test says of the interaction; `factorialTest` gives it. */
export interface ConditionTest {
  /** The contrast m11 − m10 − m01 + m00. */
  interaction: { estimate: number; low?: number; high?: number; p?: number };
  /** `"none"`, `"removable"`, `"robust"`, `"crossover"` or `"not manipulated"`. */
  kind?: string;
}

/** One measure of all frames of a design. */
export interface ConditionMeasure {
  /** What was measured. */
  name: string;
  /** Its unit, for the axis. */
  unit?: string;
  /** Its values. */
  cells: ConditionCells;
  /** The test of its contrast, shown in the panel's title. */
  test?: ConditionTest;
}

/** How the panels of a design are drawn. */
export interface ConditionOptions extends ChartOptions {
  /** Names of the levels, high then low, as a `StimulusDesign` has them. */
  levels: { a: readonly [string, string]; b: readonly [string, string] };
  /** What the factors are called. Default `["A", "B"]`. */
  factors?: readonly [string, string];
  /**
   * A measure whose range is below this share of its largest value is float noise, not an effect: it
   * is marked "does not vary" and drawn on an axis from zero. Default 1e-4.
   */
  noiseFloor?: number;
}

/** Names of the cells in the order in which they are drawn. */
export const CELLS = ["a1b1", "a1b0", "a0b1", "a0b0"] as const;

/** Refuses cells of unequal or no frames. */
export function framesOf({ name, cells }: ConditionMeasure): number {
  const counts = CELLS.map((cell) => cells[cell].length);
  if (counts[0] === 0 || counts.some((count) => count !== counts[0])) {
    throw new RangeError(
      `Cannot draw "${name}" of [${counts}] values in the conditions ${CELLS.join(", ")}: ` +
        "expected the same frames in each, at least one",
    );
  }
  return counts[0];
}

/** The range of the values, and whether it is more than float noise. */
export function rangeOf({ cells }: ConditionMeasure, noiseFloor: number) {
  const values = CELLS.flatMap((cell) => Array.from(cells[cell])).filter(Number.isFinite);
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const size = Math.max(Math.abs(low), Math.abs(high));
  return { low, high, varies: high - low > noiseFloor * size };
}

/** The axis of a measure: about its values where it varies, from zero where it does not. */
export function axisOf(measure: ConditionMeasure, noiseFloor: number) {
  const { low, high, varies } = rangeOf(measure, noiseFloor);
  const title = { text: measure.unit ? `${measure.name} (${measure.unit})` : measure.name };
  const margin = 0.06 * (high - low);
  if (varies) return { title, zeroline: true, range: [low - margin, high + margin] };
  const end = 1.3 * (high + low) / 2 || 1;
  return { title, zeroline: true, range: end > 0 ? [0, end] : [end, 0] };
}

/** Second line of a panel's title: the contrast with its interval and p, and what is wrong with it. */
export function contrastText(measure: ConditionMeasure, noiseFloor: number): string {
  if (!rangeOf(measure, noiseFloor).varies) return "does not vary: not manipulated";
  if (!measure.test) return "";
  const { interaction: { estimate, low, high, p }, kind } = measure.test;
  // Significant digits: formatNumber counts those behind the point, and leaves 0.0021 one of them.
  const number = (value: number) =>
    `${value < 0 ? "−" : "+"}${formatNumber(Number(Math.abs(value).toPrecision(3)), 6)}`;
  if (kind === "not manipulated") return `not manipulated (contrast ${number(estimate)})`;
  const interval = low === undefined || high === undefined
    ? ""
    : ` [${number(low)},\u00a0${number(high)}]`;
  // Spaces that do not break: a title may need two lines.
  const tested = p === undefined ? "" : `, ${pText(p).replaceAll(" ", "\u00a0")}`;
  return `contrast ${number(estimate)}${interval}${tested}` +
    (kind && kind !== "none" ? `, ${kind}` : "");
}

/** A p value in words: `p = 0.03`, `p < 0.001`. */
export function pText(p: number): string {
  return p < 0.001 ? "p < 0.001" : `p = ${formatNumber(Number(p.toPrecision(2)), 4)}`;
}
