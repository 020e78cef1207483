/**
 * How far a long run is: one line that is rewritten in place, in a notebook and in a terminal.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { escapeHtml } from "./escape.ts";
import { formatNumber, formatSeconds, groupThousands } from "./format.ts";
import { inJupyter, type MimeBundle, sendDisplay } from "./jupyter.ts";

/** What a progress line counts. */
export interface ProgressOptions {
  /** How many units make the whole, at least 1. */
  total: number;
  /** Name of a unit, in the plural. Default "steps". */
  unit?: string;
}

/** How far a run is, in numbers. */
export interface ProgressState {
  /** What is running. */
  readonly label: string;
  /** Units done so far. */
  readonly done: number;
  /** Units that make the whole. */
  readonly total: number;
  /** Name of a unit, in the plural. */
  readonly unit: string;
}

/** Where progress is written, and the clock that it reads; `progress` chooses them. */
export interface ProgressOutput {
  /**
   * Shows a state.
   *
   * @param text The line.
   * @param fraction How much is done, 0 to 1; undefined in the last call, when `text` is the summary.
   * @param state The same in numbers.
   */
  write(text: string, fraction: number | undefined, state: ProgressState): void;
  /** Least time between two states, in milliseconds. */
  interval: number;
  /** Time in milliseconds. */
  now(): number;
}

// Rate and time left follow the last 40 shown states, some ten seconds in a notebook.
const WINDOW = 40;

/**
 * A progress line; made by `progress`.
 *
 * ```ts
 * import { assert } from "@std/assert";
 * import { Progress } from "interlens";
 *
 * const lines: string[] = [];
 * const output = { write: (text: string) => void lines.push(text), interval: 0, now: () => 0 };
 * const line = new Progress("Counting", { total: 2, unit: "sheep" }, output);
 * line.update(2);
 * line.finish();
 * assert(lines.at(-1)!.startsWith("Counting"));
 * ```
 */
export class Progress {
  readonly #label: string;
  #total: number;
  readonly #unit: string;
  readonly #output: ProgressOutput;
  readonly #start: number;
  readonly #shown: { time: number; done: number }[] = [];
  #first: { time: number; done: number } | undefined;
  #lastShown = -Infinity;
  #done = 0;
  #values: Record<string, number> = {};
  #ended = false;

  /**
   * @param label What is running, as "Training the SAE".
   * @param options What is counted.
   * @param output Where to write.
   * @throws {RangeError} If the total is not a number from 1 on.
   */
  constructor(label: string, options: ProgressOptions, output: ProgressOutput) {
    this.#label = label;
    this.#total = this.#checked(options.total);
    this.#unit = options.unit ?? "steps";
    this.#output = output;
    this.#start = output.now();
    output.write(`${label}: starting`, 0, this.#numbers());
  }

  /** How many units make the whole; it may be set when it turns out to be another number. */
  get total(): number {
    return this.#total;
  }

  set total(total: number) {
    this.#total = this.#checked(total);
  }

  #checked(total: number): number {
    if (total >= 1 && Number.isFinite(total)) return total;
    throw new RangeError(
      `Cannot show the progress of "${this.#label}" towards ${total}: expected a total of at least 1`,
    );
  }

  /**
   * Says how far the run is; shown at most four times a second, so call it as often as you like.
   *
   * @param done Units done so far, in all; a part of one moves the bar. A resumed run starts at what
   * it had.
   * @param values Numbers to show beside, as the loss.
   */
  update(done: number, values?: Record<string, number>): void {
    if (this.#ended) return;
    const time = this.#output.now();
    this.#first ??= { time, done };
    this.#done = done;
    if (values) this.#values = values;
    if (time - this.#lastShown < this.#output.interval) return;
    this.#lastShown = time;
    this.#shown.push({ time, done });
    if (this.#shown.length > WINDOW) this.#shown.shift();
    this.#output.write(
      `${this.#label}: ${this.#state(this.#shown[0])}`,
      Math.min(1, Math.max(0, done / this.#total)),
      this.#numbers(),
    );
  }

  /**
   * Ends with a one-line summary, which is what a saved notebook shows.
   *
   * @param summary What came out. Default: units, time, rate and the last values.
   */
  finish(summary?: string): void {
    this.#end(summary ?? `${this.#count()} in ${this.#elapsed()}${this.#average()}`);
  }

  /**
   * Ends before the total was reached.
   *
   * @param reason Why, as "stopped by the user".
   */
  stop(reason: string): void {
    this.#end(`${reason} at ${this.#count()} after ${this.#elapsed()}${this.#average()}`);
  }

  #end(text: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#output.write(`${this.#label}: ${text}`, undefined, this.#numbers());
  }

  #numbers(): ProgressState {
    return { label: this.#label, done: this.#done, total: this.#total, unit: this.#unit };
  }

  #count(): string {
    const done = groupThousands(String(Math.floor(this.#done)));
    const total = groupThousands(String(this.#total));
    return this.#done === this.#total
      ? `${total} ${this.#unit}`
      : `${done} of ${total} ${this.#unit}`;
  }

  #elapsed(): string {
    return formatSeconds((this.#output.now() - this.#start) / 1000);
  }

  #listed(): string {
    return Object.entries(this.#values)
      .map(([name, value]) => `, ${name} ${formatNumber(value)}`).join("");
  }

  #rate(since: { time: number; done: number } | undefined): number | undefined {
    if (!since) return undefined;
    const seconds = (this.#output.now() - since.time) / 1000;
    return this.#done > since.done && seconds > 0 ? (this.#done - since.done) / seconds : undefined;
  }

  #average(): string {
    const rate = this.#rate(this.#first);
    return (rate ? `, ${formatNumber(rate, 3)} ${this.#unit}/s` : "") + this.#listed();
  }

  #state(since: { time: number; done: number }): string {
    const rate = this.#rate(since);
    const left = rate && this.#done < this.#total
      ? `, ${formatSeconds((this.#total - this.#done) / rate)} left`
      : "";
    return this.#count() + (rate ? `, ${formatNumber(rate, 3)} ${this.#unit}/s` : "") + left +
      this.#listed();
  }
}

/**
 * Opens a progress line: one display in a notebook, one line on the standard error in a terminal,
 * a line every ten seconds where that is a file.
 *
 * With `INTERLENS_PROGRESS=json` in the environment every state is a line of JSON on the standard
 * error, at most one a second, for a program that watches: `{"interlens":"progress","label":"Training",
 * "done":200,"total":1000,"unit":"steps"}`.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { progress } from "interlens";
 *
 * const line = progress("Counting", { total: 3, unit: "sheep" });
 * for (let done = 1; done <= 3; done++) line.update(done, { loss: 1 / done });
 * line.finish();
 * assertThrows(() => progress("Counting", { total: 0, unit: "sheep" }), RangeError);
 * ```
 *
 * @param label What is running.
 * @param options What is counted.
 * @throws {RangeError} If the total is not a number from 1 on.
 */
export function progress(label: string, options: ProgressOptions): Progress {
  const output = hidden.getStore()
    ? NO_OUTPUT
    : Deno.env.get("INTERLENS_PROGRESS") === "json"
    ? jsonOutput()
    : inJupyter()
    ? notebookOutput()
    : terminalOutput();
  return new Progress(label, options, output);
}

/** True in work whose progress is not shown. */
const hidden = new AsyncLocalStorage<boolean>();
const NO_OUTPUT: ProgressOutput = { write: () => {}, interval: Infinity, now: () => 0 };

/**
 * Does work without showing its progress: many short runs, whose progress one line of the caller shows.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { progress, withoutProgress } from "interlens";
 *
 * const line = progress("Squaring", { total: 3, unit: "numbers" });
 * const squares: number[] = [];
 * for (const number of [1, 2, 3]) {
 *   squares.push(
 *     await withoutProgress(() => {
 *       progress("One number", { total: 1 }).finish(); // is not shown
 *       return Promise.resolve(number ** 2);
 *     }),
 *   );
 *   line.update(squares.length);
 * }
 * line.finish();
 * assertEquals(squares, [1, 4, 9]);
 * ```
 */
export function withoutProgress<T>(work: () => Promise<T>): Promise<T> {
  return hidden.run(true, work);
}

/**
 * Progress for a program that watches: a line of JSON for each state.
 *
 * @param write Is given the lines, each with its end. Default: the standard error.
 */
export function jsonOutput(write: (line: string) => void = writeStderr): ProgressOutput {
  return {
    interval: 1000,
    now: () => performance.now(),
    write: (_, __, state) => write(JSON.stringify({ interlens: "progress", ...state }) + "\n"),
  };
}

function writeStderr(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

/**
 * A progress state as Jupyter output: a bar with its line while it runs, the line alone at the end.
 *
 * @param text The line.
 * @param fraction How much is done, 0 to 1; undefined at the end.
 */
export function progressBundle(text: string, fraction?: number): MimeBundle {
  const line = escapeHtml(text);
  const bar = fraction === undefined
    ? ""
    : `<progress max="1" value="${fraction.toFixed(4)}" aria-label="${line}" ` +
      `style="width: 12em; vertical-align: middle"></progress> `;
  return {
    "text/html": `<div class="il-progress" style="font-variant-numeric: tabular-nums">` +
      `${bar}<span>${line}</span></div>`,
    "text/plain": text,
  };
}

function notebookOutput(): ProgressOutput {
  const id = crypto.randomUUID();
  let sent = false;
  return {
    interval: 250,
    now: () => performance.now(),
    write(text, fraction) {
      // A display that a kernel on its way down refuses must not end the run.
      void sendDisplay(progressBundle(text, fraction), id, sent).catch(() => {});
      sent = true;
    },
  };
}

function terminalOutput(): ProgressOutput {
  const live = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  return {
    interval: live ? 250 : 10_000,
    now: () => performance.now(),
    write(text, fraction) {
      const ended = fraction === undefined;
      // A file gets neither the start, which says nothing yet, nor control characters.
      if (!live && fraction === 0) return;
      const columns = live ? Math.max(20, columnsOf() - 1) : Infinity;
      const shown = !ended && text.length > columns ? `${text.slice(0, columns - 1)}…` : text;
      Deno.stderr.writeSync(
        encoder.encode(live ? `\r\x1b[K${shown}${ended ? "\n" : ""}` : `${shown}\n`),
      );
    },
  };
}

function columnsOf(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}
