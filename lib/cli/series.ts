/**
 * The notebook series: which notebooks there are, and running them one after another.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { jupyterEnvironment, VENV_PYTHON } from "./environment.ts";
import { dependenciesOf, lastSeconds, NEVER, recordExecution, staleness } from "./executed.ts";
import { lines } from "./lines.ts";
import { duration, Ticker } from "./ticker.ts";
import { ROOT } from "../files/mod.ts";
import type { Profile } from "../study/mod.ts";

/** All profiles, from minutes on any machine to hours on a GPU. */
export const PROFILES: readonly Profile[] = ["quick", "full", "paper"];

/** How to run notebooks. */
export interface SeriesOptions {
  /** Passed to the notebooks as `INTERLENS_PROFILE`. */
  profile: Profile;
  /** Folder of the executed notebooks. Default: each replaces the notebook it was made from. */
  out?: string;
  /** Longest time for one cell, in seconds. Default: 0, no limit. */
  timeout?: number;
  /**
   * True passes over a notebook that would give what it gave before: its cells, its profile, the library
   * and its inputs are unchanged. So a series goes on where it stopped. False runs all. Default: runs
   * all, and does not remember it.
   */
  resume?: boolean;
}

/** What became of a notebook. */
export interface NotebookResult {
  /** Its name without folder and ending. */
  readonly name: string;
  /** Where the executed notebook lies, if it ran to its end. */
  readonly output?: string;
  /** What went wrong, with the number of the cell. */
  readonly failure?: { cell: number; message: string };
  /** Time that it took; 0 if it was passed over. */
  readonly seconds: number;
}

/** What execute_notebook.py says; the fields depend on the event. */
interface Event {
  event: "notebook" | "cell" | "text" | "executed" | "retry" | "failed" | "finished";
  cells: number;
  cell: number;
  title: string;
  text: string;
  seconds: number;
  reason: string;
  message: string;
}

/**
 * Notebooks of a folder in reading order, all of them or those that the names choose.
 *
 * ```ts
 * import { assertEquals, assertRejects } from "@std/assert";
 * import { findNotebooks } from "./series.ts";
 *
 * const folder = await Deno.makeTempDir();
 * for (const name of ["01_second", "00_first"]) {
 *   await Deno.writeTextFile(`${folder}/${name}.ipynb`, "{}");
 * }
 * assertEquals(await findNotebooks(folder, ["01"]), [`${folder}/01_second.ipynb`]);
 * assertEquals((await findNotebooks(folder)).length, 2);
 * await assertRejects(() => findNotebooks(folder, ["7"]), RangeError, "00_first, 01_second");
 * await Deno.remove(folder, { recursive: true });
 * ```
 *
 * @param folder Where the notebooks lie.
 * @param names Beginnings of names, such as `00` or `02_sae`.
 * @throws {RangeError} If a name chooses nothing.
 */
export async function findNotebooks(folder: string, names: string[] = []): Promise<string[]> {
  const files: string[] = [];
  try {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (isFile && name.endsWith(".ipynb")) files.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  files.sort();
  const wanted = names.map((name) => basename(name, ".ipynb"));
  for (const name of wanted) {
    if (!files.some((file) => file.startsWith(name))) {
      const known = files.map((file) => basename(file, ".ipynb")).join(", ") || "none";
      throw new RangeError(`There is no notebook "${name}" in "${folder}": there are ${known}`);
    }
  }
  return files
    .filter((file) => wanted.length === 0 || wanted.some((name) => file.startsWith(name)))
    .map((file) => join(folder, file));
}

/**
 * Executes notebooks one after another, up to the first that fails.
 *
 * Each runs in a kernel of its own, in the notebook's folder, with `INTERLENS_PROFILE` and
 * `INTERLENS_NOTEBOOK` (its name) in the environment.
 *
 * @returns What became of every notebook that was started or passed over.
 */
export async function runSeries(
  notebooks: string[],
  options: SeriesOptions,
): Promise<NotebookResult[]> {
  const ticker = new Ticker();
  const results: NotebookResult[] = [];
  const { profile, resume } = options;
  const outputs = notebooks.map((path) => outputOf(path, options));
  const clock = new SeriesClock(
    await Promise.all(outputs.map((output) => lastSeconds(output, profile))),
  );
  for (const [i, path] of notebooks.entries()) {
    const position = `[${i + 1}/${notebooks.length}] ${basename(path, ".ipynb")}`;
    const dependencies = await dependenciesOf(path, profile);
    const stale = resume ? await staleness(outputs[i], dependencies) : "";
    if (stale === undefined) {
      ticker.line(`${position}: unchanged, not run again`);
      results.push({ name: basename(path, ".ipynb"), output: outputs[i], seconds: 0 });
      clock.pass();
      continue;
    }
    if (stale && stale !== NEVER) ticker.line(`${position}: runs again, ${stale}`);
    const where = { position, ticker, left: () => clock.left(i) };
    const result = await runNotebook(path, options, where);
    results.push(result);
    clock.pass();
    if (result.failure) {
      const { cell, message } = result.failure;
      ticker.line(`${position}: failed at cell ${cell}`);
      ticker.line(message.trimEnd().replace(/^/gm, "    "));
      if (notebooks.length > 1 && resume) {
        ticker.line("The same command goes on here; --fresh begins again");
      }
      break;
    }
    if (resume !== undefined) await recordExecution(outputs[i], dependencies, result.seconds);
    ticker.line(`${position}: done in ${duration(result.seconds)}${clock.left(i + 1)}`);
  }
  return results;
}

function outputOf(path: string, { out }: SeriesOptions): string {
  return out ? join(out, basename(path)) : path;
}

/**
 * How far a series is, by what its notebooks took before; one that never ran is taken for an average
 * one.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { SeriesClock } from "./series.ts";
 *
 * let time = 0;
 * const clock = new SeriesClock([60, 180, undefined], () => time);
 * clock.pass();
 * time = 30_000;
 * assertEquals(clock.left(1), ", series 25 %, 4 min 30 s left");
 * assertEquals(new SeriesClock([undefined]).left(0), "");
 * ```
 */
export class SeriesClock {
  readonly #expected: number[];
  readonly #now: () => number;
  #since: number;

  /**
   * @param seconds What each notebook took before.
   * @param now Time in milliseconds.
   */
  constructor(seconds: (number | undefined)[], now: () => number = () => performance.now()) {
    const known = seconds.filter((value) => value !== undefined);
    const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
    this.#expected = known.length === 0 ? [] : seconds.map((value) => value ?? mean);
    this.#now = now;
    this.#since = now();
  }

  /** A notebook has ended; the next one begins. */
  pass(): void {
    this.#since = this.#now();
  }

  /** How far the series is while a notebook runs, as the end of a sentence; empty if unknown. */
  left(notebook: number): string {
    const all = this.#expected.reduce((sum, value) => sum + value, 0);
    if (all === 0 || notebook >= this.#expected.length) return "";
    const before = this.#expected.slice(0, notebook).reduce((sum, value) => sum + value, 0);
    const here = Math.min((this.#now() - this.#since) / 1000, this.#expected[notebook]);
    const share = Math.floor(100 * (before + here) / all);
    return `, series ${share} %, ${duration(all - before - here)} left`;
  }
}

async function runNotebook(
  path: string,
  options: SeriesOptions,
  { position, ticker, left }: { position: string; ticker: Ticker; left: () => string },
): Promise<NotebookResult> {
  const { profile, timeout = 0 } = options;
  const name = basename(path, ".ipynb");
  const output = outputOf(path, options);
  const start = performance.now();
  const child = new Deno.Command(VENV_PYTHON, {
    args: [
      join(import.meta.dirname!, "execute_notebook.py"),
      ...[path, output, "--cwd", dirname(path), "--root", ROOT, "--timeout", `${timeout}`],
    ],
    env: { ...jupyterEnvironment(), INTERLENS_PROFILE: profile, INTERLENS_NOTEBOOK: name },
    // Held open and never written to: its end tells the driver that we are gone.
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const complaints = new Response(child.stderr).text();

  let where = "";
  let text = "";
  let cell = 0;
  let cells = 0;
  let since = performance.now();
  let failure: NotebookResult["failure"];
  const show = () => {
    const elapsed = duration((performance.now() - since) / 1000);
    ticker.now([where || position, elapsed + left(), text].filter(Boolean).join("  "));
  };
  const clock = setInterval(show, 500);
  try {
    for await (const line of lines(child.stdout)) {
      const event = parseEvent(line);
      if (event?.event === "notebook") {
        cells = event.cells;
        ticker.line(`${position}: ${cells} cells`);
      } else if (event?.event === "cell") {
        [cell, text, since] = [event.cell, event.title, performance.now()];
        where = `${position}  cell ${cell}/${cells}`;
      } else if (event?.event === "text" && event.cell === cell) {
        text = event.text;
      } else if (event?.event === "executed" && event.seconds >= 1) {
        ticker.line(`${where}  ${duration(event.seconds)}  ${text}`);
      } else if (event?.event === "retry") {
        ticker.line(`${position}: the kernel did not start, once more (${event.reason})`);
      } else if (event?.event === "failed") {
        failure = { cell: event.cell, message: event.message };
      }
      show();
    }
    const { success, code } = await child.status;
    if (!success && !failure) {
      const end = (await complaints).trim().split("\n").slice(-8).join("\n");
      failure = { cell, message: `The driver of notebooks ended with ${code}:\n${end}` };
    }
  } finally {
    clearInterval(clock);
    await child.stdin.close().catch(() => {});
  }
  const seconds = (performance.now() - start) / 1000;
  return failure ? { name, failure, seconds } : { name, output, seconds };
}

function parseEvent(line: string): Event | undefined {
  try {
    return JSON.parse(line);
  } catch {
    // Some library printed: nothing that concerns the run.
    return undefined;
  }
}
