/**
 * `deno task notebooks`: executes the series without a browser, telling what runs.
 *
 * A notebook that runs to its end is written at once and whole. The first cell that fails ends the
 * series; nothing is written for its notebook. Run again, the series goes on there: a notebook whose
 * cells, profile, library and inputs are those of its last execution is passed over, unless `--fresh`.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { NOTEBOOKS, OUT, program } from "./environment.ts";
import { findNotebooks, PROFILES, runSeries, type SeriesOptions } from "./series.ts";
import { setup } from "./setup.ts";
import type { Profile } from "../study/mod.ts";

/** What the command line asks for. */
export interface Request extends SeriesOptions {
  /** Beginnings of names of notebooks; none means all. */
  names: string[];
}

/**
 * Reads the command line.
 *
 * ```ts
 * import { assertEquals, assertThrows } from "@std/assert";
 * import { parseRequest } from "./notebooks.ts";
 *
 * const { profile, names, out } = parseRequest(["--profile", "full", "--in-place", "00"]);
 * assertEquals([profile, names, out], ["full", ["00"], undefined]);
 * assertThrows(() => parseRequest(["--profile", "huge"]), RangeError, "quick, full, paper");
 * ```
 *
 * @throws {RangeError} If the profile is unknown or the time limit is no number of seconds.
 */
export function parseRequest(args: string[]): Request {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      profile: { type: "string", default: Deno.env.get("INTERLENS_PROFILE") || "quick" },
      out: { type: "string", default: join(OUT, "notebooks") },
      "in-place": { type: "boolean", default: false },
      timeout: { type: "string", default: "0" },
      fresh: { type: "boolean", default: false },
    },
  });
  if (!PROFILES.includes(values.profile as Profile)) {
    throw new RangeError(
      `There is no profile "${values.profile}": expected one of ${PROFILES.join(", ")}`,
    );
  }
  const timeout = Number(values.timeout);
  if (!(timeout >= 0)) {
    throw new RangeError(
      `A cell cannot have "${values.timeout}" s: --timeout takes seconds, 0 for no limit`,
    );
  }
  return {
    profile: values.profile as Profile,
    out: values["in-place"] ? undefined : resolve(values.out),
    timeout,
    resume: !values.fresh,
    names: positionals,
  };
}

/**
 * Refuses to go on where notebooks cannot be executed.
 *
 * @throws {Error} If set-up could not install Jupyter.
 */
export async function requireJupyter(): Promise<void> {
  if (await Deno.stat(program("jupyter-lab")).catch(() => undefined)) return;
  throw new Error(
    "Notebooks need Jupyter, which needs Python: `deno task setup` says how to get it",
  );
}

if (import.meta.main) {
  try {
    const { names, ...options } = parseRequest(Deno.args);
    const notebooks = await findNotebooks(NOTEBOOKS, names);
    await setup({ quiet: true });
    await requireJupyter();
    console.log(`Executing ${notebooks.length} notebooks in the ${options.profile} profile`);
    const results = await runSeries(notebooks, options);
    const executed = results.filter(({ failure }) => !failure);
    const now = executed.filter(({ seconds }) => seconds > 0).length;
    console.log(
      `${now} executed, ${executed.length - now} unchanged, of ${notebooks.length}: ` +
        `${options.out ?? NOTEBOOKS}`,
    );
    if (executed.length < notebooks.length) Deno.exit(1);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
