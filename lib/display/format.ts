/**
 * Numbers and times as people read them.
 *
 * @module
 */

/**
 * A number with at most `digits` significant digits; digits before the point are all kept and
 * grouped from 10,000 on.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { formatNumber } from "interlens";
 *
 * assertEquals(formatNumber(0.123456), "0.1235");
 * assertEquals(formatNumber(1_234_567.8), "1,234,568");
 * assertEquals(formatNumber(0.0000123), "1.23e-5");
 * ```
 *
 * @param value Number to show; NaN and infinities keep their names.
 * @param digits Significant digits, 1 to 15.
 */
export function formatNumber(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) {
    return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  const before = size < 1 ? 0 : Math.floor(Math.log10(size)) + 1;
  const rounded = Number(value.toFixed(Math.min(15, Math.max(0, digits - before))));
  return groupThousands(String(Number(rounded.toPrecision(Math.max(digits, before)))));
}

/** Separates thousands by commas in a decimal number from 10,000 on. */
export function groupThousands(decimal: string): string {
  const [whole, fraction] = decimal.split(".");
  const grouped = /\d{5}/.test(whole) ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/**
 * A duration in the two largest units.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { formatSeconds } from "interlens";
 *
 * assertEquals(formatSeconds(0.25), "0.3 s");
 * assertEquals(formatSeconds(75), "1 min 15 s");
 * assertEquals(formatSeconds(7260), "2 h 1 min");
 * ```
 *
 * @param seconds Duration in seconds, at least 0.
 */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
