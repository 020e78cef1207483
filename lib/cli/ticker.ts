/**
 * What happens now, for somebody who watches: one line that changes in a terminal, and in a log a
 * line only now and then.
 *
 * @module
 */

const LOG_INTERVAL_MS = 15_000;

/** A status line on standard output. */
export class Ticker {
  readonly #terminal = Deno.stdout.isTerminal();
  #shown = "";
  #logged = performance.now();

  /** Says what happens now; replaces what it said before. */
  now(text: string): void {
    if (this.#terminal) {
      const width = columns();
      const line = text.length < width ? text : text.slice(0, width - 2) + "…";
      if (line !== this.#shown) write(`\r\x1b[2K${line}`);
      this.#shown = line;
    } else if (performance.now() - this.#logged >= LOG_INTERVAL_MS) {
      this.line(text);
    }
  }

  /** Says something that stays. */
  line(text: string): void {
    if (this.#shown) write("\r\x1b[2K");
    this.#shown = "";
    this.#logged = performance.now();
    console.log(text);
  }
}

function write(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

function columns(): number {
  try {
    // Some terminals say 0.
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}

/**
 * A duration as people write it.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { duration } from "./ticker.ts";
 *
 * assertEquals(duration(4.25), "4.3 s");
 * assertEquals(duration(754), "12 min 34 s");
 * ```
 *
 * @param seconds At least 0.
 */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
