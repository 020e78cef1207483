/**
 * Stimuli of a 2×2 design: one sentence frame in four versions, two levels of each of two factors.
 *
 * The frame is the unit of every test on them, since what two of its versions share (length, topic,
 * syntax) cancels in their difference.
 *
 * @module
 */
import { basename, extname, isAbsolute, join, resolve } from "node:path";
import type { DataFrame } from "nodejs-polars";
import { ROOT } from "../files/mod.ts";
import { Rng } from "../tensor/mod.ts";
import { scanCsv } from "./csv_records.ts";

/** One version of a frame. */
export interface Stimulus {
  /** Name of the design. */
  readonly design: string;
  /** Name of the sentence that its four versions share. */
  readonly frame: string;
  /** Level of the first factor: 1 is high. */
  readonly a: 0 | 1;
  /** Level of the second factor: 1 is high. */
  readonly b: 0 | 1;
  readonly text: string;
  /** Part of the text whose last token is measured; it occurs once. */
  readonly targetSpan: string;
  /** Row of the file, as a spreadsheet counts: the header is row 1. */
  readonly row: number;
}

/** The stimuli of one file. */
export interface StimulusDesign {
  readonly name: string;
  /** The file, for messages. */
  readonly path: string;
  /** Names of the levels, high before low. */
  readonly levels: {
    readonly a: readonly [high: string, low: string];
    readonly b: readonly [high: string, low: string];
  };
  /** Frames in the order of the file. */
  readonly frames: readonly string[];
  /** By frame, and in a frame in the order of {@linkcode CELLS}. */
  readonly stimuli: readonly Stimulus[];
}

/** Frames to choose features and measures with, and frames to test what was chosen. */
export interface FrameSplit {
  readonly selection: StimulusDesign;
  readonly confirmation: StimulusDesign;
}

/**
 * Levels `[a, b]` of the four cells, in the order in which a frame's stimuli stand.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { CELLS, loadStimuli } from "interlens";
 *
 * const { stimuli } = await loadStimuli("paris_folk");
 * assertEquals(stimuli.slice(0, 4).map(({ a, b }) => [a, b] as const), [...CELLS]);
 * ```
 */
export const CELLS: readonly (readonly [a: 0 | 1, b: 0 | 1])[] = [[1, 1], [1, 0], [0, 1], [0, 0]];

/** Columns that a file of stimuli must have. */
const COLUMNS = ["design", "frame", "factor_a", "factor_b", "text", "target_span"] as const;

/**
 * Reads the stimuli of a design from CSV with the columns `design`, `frame`, `factor_a`, `factor_b`,
 * `text` and `target_span`. The factors hold names of levels, and the level of the first row is the
 * high one. Every frame has one row for each of the four combinations.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadStimuli } from "interlens";
 *
 * const design = await loadStimuli("paris_folk");
 * assertEquals(design.levels, { a: ["Paris", "other city"], b: ["folk", "other genre"] });
 * assertEquals(design.stimuli.length, 4 * design.frames.length);
 * ```
 *
 * @param nameOrPath Name of a file of `data/stimuli`, without `.csv`, or the path of a file of yours.
 * @throws {Error} Naming file, row and column: if the file or a column is missing, a field is empty, a
 * factor has not two levels, a frame lacks a combination or has one twice, or the target span is not
 * in its text exactly once.
 */
export async function loadStimuli(nameOrPath: string): Promise<StimulusDesign> {
  const path = isPath(nameOrPath)
    ? resolve(nameOrPath)
    : join(ROOT, "data", "stimuli", `${nameOrPath}.csv`);
  const [{ csvColumns }, bytes] = await Promise.all([
    import("./polars.ts"),
    read(path, nameOrPath),
  ]);
  let rows: (string | null)[][];
  try {
    const { header, problem } = scanCsv(bytes);
    csvColumns(header, COLUMNS); // A missing column explains more than the rows below it.
    if (problem) throw new Error(`row ${problem.row}: ${problem.reason}`);
    rows = csvColumns(bytes, COLUMNS);
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(`Cannot read the stimuli in "${path}": ${reason}`, { cause: error });
  }
  return designOf(path, rows);
}

/** True for a path, false for the name of a design that comes with the library. */
function isPath(nameOrPath: string): boolean {
  return isAbsolute(nameOrPath) || extname(nameOrPath) !== "" || /[/\\]/.test(nameOrPath);
}

async function read(path: string, given: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const names: string[] = [];
    for await (const { name } of Deno.readDir(join(ROOT, "data", "stimuli"))) {
      if (name.endsWith(".csv")) names.push(`"${basename(name, ".csv")}"`);
    }
    throw new Error(
      `Cannot read the stimuli "${given}": there is no file "${path}"; give the path of a CSV file, ` +
        `or one of ${names.sort().join(", ")}`,
      { cause: error },
    );
  }
}

/** Checks rows and puts them into order. */
function designOf(path: string, rows: (string | null)[][]): StimulusDesign {
  const fail = (row: number, column: string, problem: string): never => {
    throw new Error(
      `Cannot use the stimuli in "${path}": row ${row}, column "${column}": ${problem}`,
    );
  };
  const read: Stimulus[] = [];
  const levels: [string[], string[]] = [[], []];
  for (const [i, fields] of rows.entries()) {
    if (fields.every((field) => !field?.trim())) continue; // A blank line.
    const row = i + 2;
    const [design, frame, levelA, levelB, text, targetSpan] = COLUMNS.map((column, j) => {
      const field = fields[j];
      if (!field?.trim()) return fail(row, column, "it is empty");
      // A space that nobody sees would be a level of its own.
      return column === "text" ? field : field.trim();
    });
    if (read.length > 0 && design !== read[0].design) {
      fail(
        row,
        "design",
        `"${design}" is another design than "${read[0].design}"; one file, one design`,
      );
    }
    const [a, b] = [levelA, levelB].map((level, factor) => {
      const known = levels[factor];
      if (!known.includes(level)) known.push(level);
      if (known.length > 2) {
        const names = known.map((name) => `"${name}"`).join(", ");
        fail(row, factor === 0 ? "factor_a" : "factor_b", `a third level: ${names}; expected two`);
      }
      return known[0] === level ? 1 : 0;
    }) as (0 | 1)[];
    const first = text.indexOf(targetSpan);
    if (first === -1) {
      fail(row, "target_span", `"${targetSpan}" is not in the text "${text}"`);
    }
    if (text.indexOf(targetSpan, first + 1) !== -1) {
      fail(
        row,
        "target_span",
        `"${targetSpan}" is in the text "${text}" more than once; give a longer span`,
      );
    }
    read.push({ design, frame, a, b, text, targetSpan, row });
  }
  if (read.length === 0) fail(2, COLUMNS[0], "there are no rows; expected four for every frame");
  levels.forEach((known, factor) => {
    if (known.length === 2) return;
    const column = factor === 0 ? "factor_a" : "factor_b";
    fail(read[0].row, column, `all rows have the level "${known[0]}"; expected two levels`);
  });

  const frames = Map.groupBy(read, ({ frame }) => frame);
  const stimuli = [...frames].flatMap(([frame, versions]) =>
    CELLS.map(([a, b]) => {
      const [one, two] = versions.filter((version) => version.a === a && version.b === b);
      const cell = `factor_a "${levels[0][1 - a]}" and factor_b "${levels[1][1 - b]}"`;
      if (!one) {
        fail(
          versions[0].row,
          "frame",
          `frame "${frame}", which begins here, has no row with ${cell}; expected all four combinations`,
        );
      }
      if (two) {
        fail(two.row, "frame", `frame "${frame}" has ${cell} in row ${one.row} already`);
      }
      return one;
    })
  );
  return {
    name: read[0].design,
    path,
    levels: { a: [levels[0][0], levels[0][1]], b: [levels[1][0], levels[1][1]] },
    frames: [...frames.keys()],
    stimuli,
  };
}

/**
 * Splits a design by frame at random: what is chosen on one part is tested on the other.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadStimuli, splitFrames } from "interlens";
 *
 * const design = await loadStimuli("paris_folk");
 * const { selection, confirmation } = splitFrames(design, { seed: 0 });
 * assertEquals(selection.frames.length + confirmation.frames.length, design.frames.length);
 * assertEquals(confirmation.frames.filter((frame) => selection.frames.includes(frame)), []);
 * ```
 *
 * @param options.seed Decides which frames go where; default 0.
 * @param options.share Share of the frames for selection, between 0 and 1; default 0.5.
 * @throws {RangeError} If the share is no number between 0 and 1, or leaves one part empty.
 */
export function splitFrames(
  design: StimulusDesign,
  { seed = 0, share = 0.5 }: { seed?: number; share?: number } = {},
): FrameSplit {
  const count = Math.round(share * design.frames.length);
  if (!(share > 0 && share < 1) || count === 0 || count === design.frames.length) {
    throw new RangeError(
      `Cannot split ${design.frames.length} frames with a share of ${share} for selection: expected a ` +
        `share between 0 and 1 that leaves frames in both parts`,
    );
  }
  const order = new Rng(seed, "frames", design.name).shuffle([...design.frames]);
  const chosen = new Set(order.slice(0, count));
  const part = (inSelection: boolean): StimulusDesign => ({
    ...design,
    frames: design.frames.filter((frame) => chosen.has(frame) === inSelection),
    stimuli: design.stimuli.filter(({ frame }) => chosen.has(frame) === inSelection),
  });
  return { selection: part(true), confirmation: part(false) };
}

/**
 * The stimuli as a polars frame, to look at in a notebook: `row`, `frame`, `factor_a`, `factor_b` (names
 * of levels), `text`, `target_span`, one row a stimulus in the order of the design.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { loadStimuli, stimulusTable } from "interlens";
 *
 * const frame = await stimulusTable(await loadStimuli("paris_folk"));
 * assertEquals(frame.columns, ["row", "frame", "factor_a", "factor_b", "text", "target_span"]);
 * ```
 */
export async function stimulusTable(design: StimulusDesign): Promise<DataFrame> {
  const { frameOf } = await import("./polars.ts");
  const { stimuli, levels } = design;
  return frameOf({
    row: stimuli.map(({ row }) => row),
    frame: stimuli.map(({ frame }) => frame),
    factor_a: stimuli.map(({ a }) => levels.a[1 - a]),
    factor_b: stimuli.map(({ b }) => levels.b[1 - b]),
    text: stimuli.map(({ text }) => text),
    target_span: stimuli.map(({ targetSpan }) => targetSpan),
  });
}
