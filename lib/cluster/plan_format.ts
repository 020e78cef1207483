/**
 * Sizes and times of a plan as people read them.
 *
 * @module
 */
import { formatNumber, formatSeconds } from "../display/mod.ts";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** Bytes in decimal units with three digits. */
export function formatBytes(bytes: number): string {
  // 999.6 would be rounded up to a thousand of its unit.
  const power = Math.min(
    UNITS.length - 1,
    bytes < 999.5 ? 0 : Math.floor(Math.log10(bytes * 1.0005) / 3),
  );
  return `${formatNumber(bytes / 1000 ** power, 3)} ${UNITS[power]}`;
}

/** Seconds in the two largest units, days and years among them. */
export function formatDuration(seconds: number): string {
  const days = seconds / 86_400;
  if (days < 2) return formatSeconds(seconds);
  if (days < 730) return `${Math.floor(days)} d ${Math.round(24 * (days % 1))} h`;
  return `${formatNumber(days / 365.25, 3)} years`;
}

/** A count as a power of ten where it is one, such as 10⁹; else with its thousands grouped. */
export function formatCount(count: number): string {
  const power = Math.round(Math.log10(count));
  if (count < 1e5 || Math.abs(count / 10 ** power - 1) > 1e-9) return formatNumber(count, 15);
  return `10${[...String(power)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("")}`;
}
